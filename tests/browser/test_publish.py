"""The publish view in a real browser, with a local Hub that speaks the real protocol: uploads, and what prevents them."""

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
from tests.browser.conftest import BrowserTab, Site, serve_site
from tests.hub import LocalHub
from tests.support import use_home

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

HOSTILE_TEXT = "<img src=x onerror='window.hurt = 1'>${Object.assign(window,{hurt:2})}{{{value}}}"


@pytest.fixture(scope="module")
def site(signed_in_site: Site) -> Site:
    return signed_in_site


@pytest.fixture(scope="module")
def site_run(finished_run: Run, site: Site) -> Run:
    return Run(site.home / "runs" / finished_run.id)


@pytest.fixture(autouse=True)
def use_home_of_site_run(site_run: Run, home: Path) -> Iterator[None]:
    with use_home(site_run.path.parent.parent):
        yield


def open_publish_view(page: Page, run: Run) -> None:
    page.evaluate("run => tunesmith.go('publish', run)", run.id)


def open_signed_in_publish_view(page: Page, run: Run) -> None:
    open_publish_view(page, run)
    expect(page.locator("#publish-who")).to_contain_text("Signed in to the Hub as alice")
    expect(page.locator("#publish-push")).to_be_enabled()


def test_a_result_is_published_and_shown_as_published_after_a_reload(page: Page, site_run: Run, hub: LocalHub) -> None:
    open_signed_in_publish_view(page, site_run)
    expect(page.locator("#publish-name input, #publish-name textarea")).to_have_value("first-tune")
    expect(page.get_by_role("checkbox", name=re.compile("Private"))).to_be_checked()
    page.locator("#publish-push").click()
    publication = page.locator("#publish-done")
    expect(publication).to_contain_text("Published at alice/first-tune")
    expect(publication).to_contain_text("only you and whom you let in can see it")
    expect(publication.locator("pre")).to_contain_text('AutoPeftModelForCausalLM.from_pretrained("alice/first-tune"')
    assert publication.get_by_role("link").get_attribute("href") == f"{hub.address}/alice/first-tune"
    published_files = hub.files("alice/first-tune")
    assert published_files["adapter_model.safetensors"] == (site_run.adapter / "adapter_model.safetensors").read_bytes()
    assert b"# First tune" in published_files["README.md"]

    page.reload()
    expect(publication).to_contain_text("Published at alice/first-tune")
    expect(page.locator("#publish-push")).to_have_text("Publish again")
    assert set(json.loads((site_run.path / PUBLICATION_FILE).read_text())) == {
        "v",
        "repo",
        "address",
        "private",
        "time",
    }
    home_files = [path for path in site_run.path.parent.parent.rglob("*") if path.is_file()]
    assert not [path for path in home_files if b"hf_alice" in path.read_bytes()], "a file in the home holds the token"
    assert "hf_alice" not in page.content()


@pytest.mark.full
def test_an_upload_continues_after_the_page_is_left_and_its_result_is_shown_on_return(
    page: Page, tab: BrowserTab, site_run: Run, hub: LocalHub
) -> None:
    open_signed_in_publish_view(page, site_run)
    page.locator("#publish-name input, #publish-name textarea").fill("second")
    page.locator("#publish-push").click()
    expect(page.locator("#publish-push")).to_be_disabled()  # the server has accepted the upload
    page.goto("about:blank")
    page.go_back()
    page.wait_for_function("window.tunesmith?.mounted")
    open_publish_view(page, site_run)
    expect(page.locator("#publish-done")).to_contain_text("Published at alice/second")


@pytest.mark.full
def test_a_public_repo_is_published_under_an_organisation(page: Page, site_run: Run, hub: LocalHub) -> None:
    open_signed_in_publish_view(page, site_run)
    page.locator("#publish-owner input").click()
    page.get_by_role("option", name="workshop").click()
    page.locator("#publish-name input, #publish-name textarea").fill("shared-tune")
    page.get_by_role("checkbox", name=re.compile("Private")).uncheck()
    page.locator("#publish-push").click()
    expect(page.locator("#publish-done")).to_contain_text("Published at workshop/shared-tune")
    expect(page.locator("#publish-done")).to_contain_text("everybody can see it")


def test_a_repo_name_with_spaces_is_refused_and_fixed_by_a_click(page: Page, site_run: Run) -> None:
    open_signed_in_publish_view(page, site_run)
    name_input = page.locator("#publish-name input, #publish-name textarea")
    name_input.fill("my first tune")
    offer = page.get_by_role("button", name="Use “my-first-tune”")
    expect(offer).to_be_visible()
    page.locator("#publish-push").click(delay=500)  # a press as slow as a person's: nothing moves meanwhile
    refusal = page.get_by_role("alert")
    expect(refusal).to_contain_text("my first tune” is not a name on the Hub")
    page.get_by_role("checkbox", name=re.compile("Private")).uncheck()
    expect(page.locator("#publish-plan")).to_contain_text("Everybody will see them")
    expect(page.locator("#publish-plan")).to_contain_text(
        "alice/my-first-tune"
    )  # nothing is planned under a refused name
    expect(refusal).to_contain_text("my first tune” is not a name on the Hub")  # the new plan left the reason standing
    name_input.press_sequentially("!")
    expect(refusal).to_have_count(0)
    offer.click()
    expect(name_input).to_have_value("my-first-tune")
    expect(offer).to_have_count(0)
    expect(page.locator("#publish-push")).to_be_enabled()


def test_the_model_card_is_previewed_and_html_in_the_title_is_escaped(page: Page, site_run: Run) -> None:
    original_spec = site_run.spec
    write_json(site_run.path / "spec.json", original_spec.to_dict() | {"title": HOSTILE_TEXT})
    try:
        open_signed_in_publish_view(page, site_run)
        page.get_by_role("button", name="The card that goes with it").click()
        expect(page.locator("#publish-card pre")).to_contain_text("library_name: peft")
        expect(page.locator("#publish-title")).to_contain_text(HOSTILE_TEXT)
        assert page.evaluate("window.hurt") is None
    finally:
        write_json(site_run.path / "spec.json", original_spec.to_dict())


def test_a_run_without_a_result_cannot_be_published(page: Page) -> None:
    run = store.create_run(
        local_workspace(), presets.preset_spec("first_tune").model_copy(update={"title": "Unfinished"}), Launch()
    )
    open_publish_view(page, run)
    expect(page.locator("#publish-title")).to_contain_text("“Unfinished” has no result")
    expect(page.locator("#publish-push")).to_be_hidden()


@pytest.fixture
def token_file(site: Site) -> Iterator[Path]:
    """The file with the Hub token of the signed-in user."""
    token_file_path = site.cache / "token"
    yield token_file_path
    token_file_path.write_text("hf_alice")


@pytest.mark.parametrize(("token_text", "reason", "advice"), [
    ("hf_alice_reads", "with a token that can only read", "Make one that can write"),
    ("hf_nobody_has_this", "The Hub does not accept this sign-in", "HF_TOKEN"),
    ("", "You are not signed in to the Hub", "hf auth login"),
])  # fmt: skip
def test_a_sign_in_that_cannot_publish_is_explained(
    token_text: str, reason: str, advice: str, page: Page, site_run: Run, token_file: Path
) -> None:
    token_file.write_text(token_text)
    open_publish_view(page, site_run)
    account_status = page.locator("#publish-who")
    expect(account_status).to_contain_text(reason)
    expect(account_status).to_contain_text(advice)
    expect(page.locator("#publish-push")).to_be_disabled()
    if not token_text:
        page.locator("#publish-again").click()
        expect(account_status).to_contain_text(re.compile(r"still not signed in to the Hub \(\d\d:\d\d\)"))
        expect(account_status).to_contain_text(str(site_run.adapter))
    token_file.write_text("hf_alice")
    page.locator("#publish-again").click()
    expect(account_status).to_contain_text("Signed in to the Hub as alice")
    expect(page.locator("#publish-push")).to_be_enabled()


@pytest.mark.full
def test_an_unreachable_hub_is_reported_and_the_check_can_be_repeated(chromium: Browser, site_run: Run, hub: LocalHub, tmp_path: Path) -> None:  # fmt: skip
    """Only one server may use a home at a time, so this test serves a copy of the run in another home."""
    unreachable_hub_environment = hub.environment(tmp_path / "cache") | {"HF_ENDPOINT": "http://127.0.0.1:9"}
    shutil.copytree(site_run.path, tmp_path / "home" / "runs" / site_run.id)
    with serve_site(tmp_path / "home", **unreachable_hub_environment) as site, chromium.new_context() as context:
        page = BrowserTab(context).open(site.address)
        open_publish_view(page, site_run)
        expect(page.locator("#publish-who")).to_contain_text("could not be reached")
        expect(page.locator("#publish-push")).to_be_disabled()
        page.locator("#publish-again").click()
        expect(page.locator("#publish-who")).to_contain_text("Looked at")
