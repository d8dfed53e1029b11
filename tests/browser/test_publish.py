"""Publish: a result goes to a Hub that speaks the real protocol; whatever stands in its way is said in a sentence."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from app.core.json_files import write_json
from app.core.workspace import local_workspace
from app.hub.publish_job import PUBLICATION_FILE
from app.planning import presets
from app.runs import store
from app.runs.store import Run
from app.setup.spec import Launch
from tests.browser.conftest import Site, Visit, serving
from tests.hub import LocalHub
from tests.support import in_home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

HOSTILE = "<img src=x onerror='window.hurt = 1'>${Object.assign(window,{hurt:2})}{{{value}}}"


@pytest.fixture(scope="module")
def site(signed_in: Site) -> Site:
    return signed_in


@pytest.fixture(scope="module")
def tuned(ready: Run, site: Site) -> Run:
    return Run(site.home / "runs" / ready.id)


@pytest.fixture(autouse=True)
def at_home(tuned: Run, home: Path) -> Iterator[None]:
    with in_home(tuned.path.parent.parent):
        yield


def go(page: Page, run: Run) -> None:
    page.evaluate("run => tunesmith.go('publish', run)", run.id)


def ready(page: Page, run: Run) -> None:
    go(page, run)
    expect(page.locator("#publish-who")).to_contain_text("Signed in to the Hub as alice")
    expect(page.locator("#publish-push")).to_be_enabled()


def test_a_result_is_published_and_remembered(page: Page, tuned: Run, hub: LocalHub) -> None:
    ready(page, tuned)
    expect(page.locator("#publish-name input, #publish-name textarea")).to_have_value("first-tune")
    expect(page.get_by_role("checkbox", name=re.compile("Private"))).to_be_checked()
    page.locator("#publish-push").click()
    done = page.locator("#publish-done")
    expect(done).to_contain_text("Published at alice/first-tune")
    expect(done).to_contain_text("only you and whom you let in can see it")
    expect(done.locator("pre")).to_contain_text('AutoPeftModelForCausalLM.from_pretrained("alice/first-tune"')
    assert done.get_by_role("link").get_attribute("href") == f"{hub.address}/alice/first-tune"
    there = hub.files("alice/first-tune")
    assert there["adapter_model.safetensors"] == (tuned.adapter / "adapter_model.safetensors").read_bytes()
    assert b"# First tune" in there["README.md"]

    page.reload()
    expect(done).to_contain_text("Published at alice/first-tune")
    expect(page.locator("#publish-push")).to_have_text("Publish again")
    assert set(json.loads((tuned.path / PUBLICATION_FILE).read_text())) == {"repo", "address", "private", "time"}
    written = [path for path in tuned.path.parent.parent.rglob("*") if path.is_file()]
    assert not [path for path in written if b"hf_alice" in path.read_bytes()], "a token was written"
    assert "hf_alice" not in page.content()


def test_a_push_goes_on_without_the_page_and_is_found_again(
    page: Page, visit: Visit, tuned: Run, hub: LocalHub
) -> None:
    ready(page, tuned)
    page.locator("#publish-name input, #publish-name textarea").fill("second")
    page.locator("#publish-push").click()
    expect(page.locator("#publish-push")).to_be_disabled()  # the server has taken it
    page.goto("about:blank")
    page.go_back()
    page.wait_for_function("window.tunesmith?.mounted")
    go(page, tuned)
    expect(page.locator("#publish-done")).to_contain_text("Published at alice/second")


def test_an_organisation_can_own_it_and_it_can_be_public(page: Page, tuned: Run, hub: LocalHub) -> None:
    ready(page, tuned)
    page.locator("#publish-owner input").click()
    page.get_by_role("option", name="workshop").click()
    page.locator("#publish-name input, #publish-name textarea").fill("shared-tune")
    page.get_by_role("checkbox", name=re.compile("Private")).uncheck()
    page.locator("#publish-push").click()
    expect(page.locator("#publish-done")).to_contain_text("Published at workshop/shared-tune")
    expect(page.locator("#publish-done")).to_contain_text("everybody can see it")


def test_a_name_with_spaces_is_refused_and_mended_by_a_click(page: Page, tuned: Run) -> None:
    ready(page, tuned)
    field = page.locator("#publish-name input, #publish-name textarea")
    field.fill("my first tune")
    page.locator("#publish-push").click()
    expect(page.get_by_role("alert")).to_contain_text("my first tune” is not a name on the Hub")
    page.get_by_role("button", name="Use “my-first-tune”").click()
    expect(field).to_have_value("my-first-tune")
    expect(page.locator("#publish-push")).to_be_enabled()


def test_the_card_is_shown_before_it_is_sent_and_is_text(page: Page, tuned: Run) -> None:
    before = tuned.spec
    write_json(tuned.path / "spec.json", before.to_dict() | {"title": HOSTILE})
    try:
        ready(page, tuned)
        page.get_by_role("button", name="The card that goes with it").click()
        expect(page.locator("#publish-card pre")).to_contain_text("library_name: peft")
        expect(page.locator("#publish-title")).to_contain_text(HOSTILE)
        assert page.evaluate("window.hurt") is None
    finally:
        write_json(tuned.path / "spec.json", before.to_dict())


def test_a_run_without_a_result_says_what_to_do(page: Page) -> None:
    run = store.create_run(
        local_workspace(), presets.preset_spec("first_tune").model_copy(update={"title": "Unfinished"}), Launch()
    )
    go(page, run)
    expect(page.locator("#publish-title")).to_contain_text("“Unfinished” has no result")
    expect(page.locator("#publish-push")).to_be_hidden()


@pytest.fixture
def token(site: Site) -> Iterator[Path]:
    """The file with the token of who is signed in."""
    file = site.cache / "token"
    yield file
    file.write_text("hf_alice")


@pytest.mark.parametrize(("whose", "words", "next_step"), [
    ("hf_alice_reads", "with a token that can only read", "Make one that can write"),
    ("hf_nobody_has_this", "The Hub does not accept this sign-in", "HF_TOKEN"),
    ("", "You are not signed in to the Hub", "hf auth login"),
])  # fmt: skip
def test_what_stands_in_the_way_is_said_in_a_sentence(
    whose: str, words: str, next_step: str, page: Page, tuned: Run, token: Path
) -> None:
    token.write_text(whose)
    go(page, tuned)
    who = page.locator("#publish-who")
    expect(who).to_contain_text(words)
    expect(who).to_contain_text(next_step)
    expect(page.locator("#publish-push")).to_be_disabled()
    if not whose:
        page.locator("#publish-again").click()
        expect(who).to_contain_text(re.compile(r"still not signed in to the Hub \(\d\d:\d\d\)"))
        expect(who).to_contain_text(str(tuned.adapter))
    token.write_text("hf_alice")
    page.locator("#publish-again").click()
    expect(who).to_contain_text("Signed in to the Hub as alice")
    expect(page.locator("#publish-push")).to_be_enabled()


def test_a_hub_that_is_away_is_named_and_asked_again(chromium: Browser, tuned: Run, hub: LocalHub, tmp_path: Path) -> None:  # fmt: skip
    """A home has one page at a time: this one is a copy."""
    nowhere = hub.environment(tmp_path / "cache") | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    shutil.copytree(tuned.path, tmp_path / "home" / "runs" / tuned.id)
    with serving(tmp_path / "home", **nowhere) as site, chromium.new_context() as context:
        page = Visit(context).open(site.address)
        go(page, tuned)
        expect(page.locator("#publish-who")).to_contain_text("could not be reached")
        expect(page.locator("#publish-push")).to_be_disabled()
        page.locator("#publish-again").click()
        expect(page.locator("#publish-who")).to_contain_text("Looked at")
