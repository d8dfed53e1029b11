"""Try: what base and tuned model answer, streaming side by side, and what is said where nothing can be asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from app.core.json_files import write_json
from app.core.workspace import local_workspace
from app.history import run_list
from app.hub.model_card import completions_by_prompt
from app.planning import preflight, presets
from app.runs import events, store
from app.runs.store import Run
from app.setup.spec import Launch
from backends import local
from components import chat
from tests.browser.conftest import Site
from tests.support import in_home, start, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

HOSTILE = "<img src=x onerror='window.hurt = 1'>${Object.assign(window,{hurt:2})}{{{value}}}"
SAID = "[...document.querySelectorAll('.words-said')].map(one => one.textContent)"


@pytest.fixture(autouse=True)
def at_home(site: Site, home: Path) -> Iterator[None]:
    """What a test does to runs, it does to those of the page."""
    with in_home(site.home):
        yield


@pytest.fixture
def tuned(site: Site, ready: Run) -> Run:
    return Run(site.home / "runs" / ready.id)


def go(page: Page, run: str) -> None:
    """Waits a moment, as a person does: Gradio's page closes its stream after an answer, and what is asked in that very moment is
    heard only with the next question."""
    page.evaluate("run => tunesmith.go('try', run)", run)
    page.wait_for_timeout(500)


def answered(page: Page) -> list[str]:
    expect(page.locator("#talk-status")).to_have_text("Both have answered.")
    return page.evaluate(SAID)


def test_both_answer_the_same_prompt_as_in_training(page: Page, tuned: Run) -> None:
    """The answers grow, and are those that the tests before and after the training heard."""
    samples = events.of_type(events.read_events(tuned.events), events.SampleEvent)
    before, after = completions_by_prompt(tuned, samples[0]), completions_by_prompt(tuned, samples[-1])
    go(page, tuned.id)
    prompt = tuned.spec.prompts[0]
    expect(page.get_by_role("button", name=prompt)).to_be_visible()
    page.evaluate(f"""window.grown = new Set();
      new MutationObserver(() => window.grown.add(JSON.stringify({SAID}))).observe(
        document.querySelector('#talk-answers'), {{ subtree: true, childList: true, characterData: true }})""")
    page.get_by_role("button", name=prompt).click()
    base, now = answered(page)
    assert (base, now) == (before[prompt], after[prompt])
    assert base != now
    steps = [json.loads(said) for said in page.evaluate("[...window.grown]")]
    parts = {said[1] for said in steps if said[1] and said[1] != now}
    assert parts, "the answer came in one piece"
    assert all(now.startswith(part) for part in parts)
    expect(page.locator("#talk-prompt textarea")).to_have_value(prompt)
    expect(page.locator(".said-by.tuned small")).to_contain_text("tokens in")


def test_a_prompt_of_ones_own_is_answered_and_stays_while_one_looks_elsewhere(page: Page, tuned: Run) -> None:
    go(page, tuned.id)
    asked = "Hello, this is Ida. My kettle arrived broken."
    page.locator("#talk-prompt textarea").fill(asked)
    page.keyboard.press("Enter")
    said = answered(page)
    page.locator("#talk-prompt textarea").fill("Another one")
    expect(page.locator("#talk-answers .question")).to_have_text(asked)
    page.get_by_role("button", name="Publish to the Hub").first.click()
    expect(page.locator("#view-publish")).to_be_visible()
    page.go_back()
    expect(page.locator("#view-try")).to_be_visible()
    page.wait_for_timeout(500)
    assert page.evaluate(SAID) == said


def test_the_held_out_score_stands_above(page: Page, tuned: Run) -> None:
    go(page, tuned.id)
    result = run_list.summarize_run(tuned, alive=False)["result"]
    expect(page.locator(".score")).to_contain_text(result.split(" → ")[1])
    expect(page.locator(".score")).to_contain_text(
        "“exactly the right answer” on examples it never saw, before and after"
    )


def test_it_can_be_taught_more_with_ones_own_examples(page: Page, tuned: Run) -> None:
    go(page, tuned.id)
    page.get_by_role("button", name="Teach it more").click()
    expect(page.locator("#source")).to_be_focused()
    assert page.evaluate("tunesmith.setup.setup.model.start_from") == f"run:{tuned.id}"
    expect(page.locator("#own-run option:checked")).to_contain_text("First tune · ")


def test_held_out_questions_are_a_click_away(page: Page, tuned: Run) -> None:
    go(page, tuned.id)
    shown = page.locator("#talk-prompts button")
    expect(shown).to_have_count(6)
    assert shown.all_inner_texts()[:2] == tuned.spec.prompts


def test_an_empty_prompt_is_refused_in_a_sentence(page: Page, tuned: Run) -> None:
    go(page, tuned.id)
    page.get_by_role("button", name="Ask both").click()
    expect(page.get_by_role("alert")).to_contain_text("There is nothing to ask yet")
    expect(page.get_by_role("alert")).to_be_in_viewport()
    expect(page.get_by_role("button", name="Ask both")).to_be_enabled()


def test_while_a_run_trains_the_answer_waits_says_so_and_can_be_stopped(page: Page, tuned: Run) -> None:
    spec = presets.preset_spec("first_tune")
    busy = start(
        preflight.check_spec(spec.model_copy(update={"title": "Busy one", "knobs": spec.knobs | {"epochs": 50.0}}))
    )
    try:
        until(lambda: store.run_state(busy, alive=True) == "training", run=busy)
        go(page, tuned.id)
        page.get_by_role("button", name=tuned.spec.prompts[0]).click()
        expect(page.locator("#talk-status")).to_contain_text("“Busy one” is using this machine")
        page.get_by_role("button", name="Stop", exact=True).click()
        expect(page.locator("#talk-status")).to_have_text("Stopped.")
        expect(page.get_by_role("button", name="Ask both")).to_be_enabled()
        page.get_by_role("button", name="Ask both").click()
        expect(page.locator("#talk-status")).to_contain_text("is using this machine")
    finally:
        local.stop(busy.handle)
    assert len(answered(page)) == 2, "once the run has ended"


def test_a_result_without_tests_is_tested_on_request(page: Page, tuned: Run) -> None:
    untested = copy_of(tuned, "20260101-000000-untested-aaaa")
    lines = tuned.events.read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["kind"] != "eval"]
    untested.events.write_text("".join(kept))
    go(page, untested.id)
    expect(page.locator(".score")).to_have_count(0)
    page.get_by_role("button", name="Test both on held-out examples").click()
    expect(page.locator(".score")).to_contain_text(
        "“exactly the right answer” on examples it never saw, before and after"
    )
    before, after = (int(part.rstrip(" %")) for part in page.locator(".score").inner_text().split("“")[0].split("→"))
    assert before < after
    expect(page.get_by_role("button", name="Test both")).to_be_hidden()


def copy_of(run: Run, name: str) -> Run:
    return Run(Path(shutil.copytree(run.path, run.path.with_name(name))))


def test_what_strangers_wrote_stays_text(page: Page, tuned: Run) -> None:
    spec = tuned.spec.to_dict() | {"title": HOSTILE, "prompts": [HOSTILE]}
    hostile = copy_of(tuned, "20260101-000000-hostile-aaaa")
    write_json(hostile.path / "spec.json", spec)
    go(page, hostile.id)
    expect(page.locator("#talk-head")).to_contain_text(HOSTILE)
    page.get_by_role("button", name=HOSTILE).click()
    answered(page)
    expect(page.locator("#talk-prompt textarea")).to_have_value(HOSTILE)
    assert page.evaluate("window.hurt") is None


def test_a_completion_is_text_whatever_it_says() -> None:
    ended = {"base": {"tokens": 1, "seconds": 0.1, "why": "longest"}}
    shown = (
        chat.render_answer_pair(
            {"base": HOSTILE, "tuned": HOSTILE}, ended, chat.ChatPrompt(HOSTILE, is_continuation=True)
        )
        + chat.render_prompt_suggestions([HOSTILE])
        + chat.render_score_change(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
    )
    assert "<img" not in shown
    assert shown.count("&lt;img") == 11


def test_a_run_without_a_result_says_what_to_do(page: Page) -> None:
    run = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
    go(page, run.id)
    expect(page.locator("#talk-head")).to_contain_text("“First tune” has no result")
    expect(page.get_by_role("button", name="Ask both")).to_be_hidden()
    go(page, "20260101-000000-gone-zzzz")
    expect(page.locator("#talk-head")).to_contain_text("Open a run from the list")
