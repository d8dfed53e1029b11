"""The Try view: completions of base and tuned model stream side by side, and messages explain why a prompt cannot run."""

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
from tests.support import start_run, use_home, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

HOSTILE_HTML = "<img src=x onerror='window.hurt = 1'>${Object.assign(window,{hurt:2})}{{{value}}}"
COMPLETION_TEXTS_JS = "[...document.querySelectorAll('.words-said')].map(one => one.textContent)"


@pytest.fixture(autouse=True)
def use_site_home(site: Site, home: Path) -> Iterator[None]:
    """Uses the home folder of the site under test, so that runs changed by a test are those that the page shows."""
    with use_home(site.home):
        yield


@pytest.fixture
def tuned_run(site: Site, finished_run: Run) -> Run:
    return Run(site.home / "runs" / finished_run.id)


def open_try_view(page: Page, run_id: str) -> None:
    """Opens the view and waits 0.5 s: Gradio's client closes its event stream after each response, and a request sent at
    that moment is only processed together with the next one."""
    page.evaluate("run => tunesmith.go('try', run)", run_id)
    page.wait_for_timeout(500)


def wait_for_completions(page: Page) -> list[str]:
    expect(page.locator("#talk-status")).to_have_text("Both have answered.")
    return page.evaluate(COMPLETION_TEXTS_JS)


def test_both_models_stream_the_completions_logged_during_training(page: Page, tuned_run: Run) -> None:
    """The completions arrive in several updates and equal those of the evaluations before and after training."""
    sample_events = events.of_type(events.read_events(tuned_run.events), events.SampleEvent)
    completions_before, completions_after = (
        completions_by_prompt(tuned_run, sample_events[0]),
        completions_by_prompt(tuned_run, sample_events[-1]),
    )
    open_try_view(page, tuned_run.id)
    prompt = tuned_run.spec.prompts[0]
    expect(page.get_by_role("button", name=prompt)).to_be_visible()
    page.evaluate(f"""window.grown = new Set();
      new MutationObserver(() => window.grown.add(JSON.stringify({COMPLETION_TEXTS_JS}))).observe(
        document.querySelector('#talk-answers'), {{ subtree: true, childList: true, characterData: true }})""")
    page.get_by_role("button", name=prompt).click()
    base_completion, tuned_completion = wait_for_completions(page)
    assert (base_completion, tuned_completion) == (completions_before[prompt], completions_after[prompt])
    assert base_completion != tuned_completion
    snapshots = [json.loads(snapshot) for snapshot in page.evaluate("[...window.grown]")]
    partial_completions = {snapshot[1] for snapshot in snapshots if snapshot[1] and snapshot[1] != tuned_completion}
    assert partial_completions, "the completion arrived in a single update"
    assert all(tuned_completion.startswith(partial) for partial in partial_completions)
    expect(page.locator("#talk-prompt textarea")).to_have_value(prompt)
    expect(page.locator(".said-by.tuned small")).to_contain_text("tokens in")


def test_a_custom_prompt_is_answered_and_the_completions_survive_a_change_of_view(page: Page, tuned_run: Run) -> None:
    open_try_view(page, tuned_run.id)
    prompt = "Hello, this is Ida. My kettle arrived broken."
    page.locator("#talk-prompt textarea").fill(prompt)
    page.keyboard.press("Enter")
    completions = wait_for_completions(page)
    page.locator("#talk-prompt textarea").fill("Another one")
    expect(page.locator("#talk-answers .question")).to_have_text(prompt)
    page.get_by_role("button", name="Publish to the Hub").first.click()
    expect(page.locator("#view-publish")).to_be_visible()
    page.go_back()
    expect(page.locator("#view-try")).to_be_visible()
    page.wait_for_timeout(500)
    assert page.evaluate(COMPLETION_TEXTS_JS) == completions


@pytest.mark.full
def test_the_held_out_score_is_shown_above_the_chat(page: Page, tuned_run: Run) -> None:
    open_try_view(page, tuned_run.id)
    score_change = run_list.summarize_run(tuned_run, alive=False)["result"]
    expect(page.locator(".score")).to_contain_text(score_change.split(" → ")[1])
    expect(page.locator(".score")).to_contain_text(
        "“exactly the right answer” on examples it never saw, before and after"
    )


def test_teach_it_more_opens_a_setup_that_continues_this_run(page: Page, tuned_run: Run) -> None:
    open_try_view(page, tuned_run.id)
    page.get_by_role("button", name="Teach it more").click()
    expect(page.locator("#source")).to_be_focused()
    assert page.evaluate("tunesmith.setup.setup.model.start_from") == f"run:{tuned_run.id}"
    expect(page.locator("#own-run option:checked")).to_contain_text("First tune · ")


def test_held_out_prompts_are_offered_as_buttons(page: Page, tuned_run: Run) -> None:
    open_try_view(page, tuned_run.id)
    prompt_buttons = page.locator("#talk-prompts button")
    expect(prompt_buttons).to_have_count(6)
    assert prompt_buttons.all_inner_texts()[:2] == tuned_run.spec.prompts


def test_an_empty_prompt_shows_an_alert(page: Page, tuned_run: Run) -> None:
    open_try_view(page, tuned_run.id)
    page.get_by_role("button", name="Ask both").click()
    expect(page.get_by_role("alert")).to_contain_text("There is nothing to ask yet")
    expect(page.get_by_role("alert")).to_be_in_viewport()
    expect(page.get_by_role("button", name="Ask both")).to_be_enabled()


@pytest.mark.full
def test_a_prompt_waits_for_the_device_while_a_run_trains_and_can_be_stopped(page: Page, tuned_run: Run) -> None:
    spec = presets.preset_spec("first_tune")
    training_run = start_run(
        preflight.check_spec(spec.model_copy(update={"title": "Busy one", "knobs": spec.knobs | {"epochs": 50.0}}))
    )
    try:
        wait_until(lambda: store.run_state(training_run, alive=True) == "training", run=training_run)
        open_try_view(page, tuned_run.id)
        page.get_by_role("button", name=tuned_run.spec.prompts[0]).click()
        expect(page.locator("#talk-status")).to_contain_text("“Busy one” is using this machine")
        page.get_by_role("button", name="Stop", exact=True).click()
        expect(page.locator("#talk-status")).to_have_text("Stopped.")
        expect(page.get_by_role("button", name="Ask both")).to_be_enabled()
        page.get_by_role("button", name="Ask both").click()
        expect(page.locator("#talk-status")).to_contain_text("is using this machine")
    finally:
        local.stop(training_run.handle)
    assert len(wait_for_completions(page)) == 2, "the prompt is answered once the run has ended"


@pytest.mark.full
def test_a_run_without_evaluations_is_evaluated_on_request(page: Page, tuned_run: Run) -> None:
    run_without_evals = copy_run(tuned_run, "20260101-000000-untested-aaaa")
    event_lines = tuned_run.events.read_text().splitlines(keepends=True)
    lines_without_evals = [line for line in event_lines if json.loads(line)["kind"] != "eval"]
    run_without_evals.events.write_text("".join(lines_without_evals))
    open_try_view(page, run_without_evals.id)
    expect(page.locator(".score")).to_have_count(0)
    page.get_by_role("button", name="Test both on held-out examples").click()
    expect(page.locator(".score")).to_contain_text(
        "“exactly the right answer” on examples it never saw, before and after"
    )
    score_before, score_after = (
        int(part.rstrip(" %")) for part in page.locator(".score").inner_text().split("“")[0].split("→")
    )
    assert score_before < score_after
    expect(page.get_by_role("button", name="Test both")).to_be_hidden()


def copy_run(run: Run, copy_id: str) -> Run:
    return Run(Path(shutil.copytree(run.path, run.path.with_name(copy_id))))


def test_text_from_a_foreign_spec_is_never_rendered_as_html(page: Page, tuned_run: Run) -> None:
    spec_json = tuned_run.spec.to_dict() | {"title": HOSTILE_HTML, "prompts": [HOSTILE_HTML]}
    hostile_run = copy_run(tuned_run, "20260101-000000-hostile-aaaa")
    write_json(hostile_run.path / "spec.json", spec_json)
    open_try_view(page, hostile_run.id)
    expect(page.locator("#talk-head")).to_contain_text(HOSTILE_HTML)
    page.get_by_role("button", name=HOSTILE_HTML).click()
    wait_for_completions(page)
    expect(page.locator("#talk-prompt textarea")).to_have_value(HOSTILE_HTML)
    assert page.evaluate("window.hurt") is None


def test_completions_prompts_and_scores_are_escaped_as_html() -> None:
    generation_stats = {"base": {"tokens": 1, "seconds": 0.1, "why": "longest"}}
    html = (
        chat.render_answer_pair(
            {"base": HOSTILE_HTML, "tuned": HOSTILE_HTML},
            generation_stats,
            chat.ChatPrompt(HOSTILE_HTML, is_continuation=True),
        )
        + chat.render_prompt_suggestions([HOSTILE_HTML])
        + chat.render_score_change(HOSTILE_HTML, HOSTILE_HTML, HOSTILE_HTML, HOSTILE_HTML)
    )
    assert "<img" not in html
    assert html.count("&lt;img") == 11


def test_a_run_without_a_result_says_what_to_do(page: Page) -> None:
    run = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
    open_try_view(page, run.id)
    expect(page.locator("#talk-head")).to_contain_text("“First tune” has no result")
    expect(page.get_by_role("button", name="Ask both")).to_be_hidden()
    open_try_view(page, "20260101-000000-gone-zzzz")
    expect(page.locator("#talk-head")).to_contain_text("Open a run from the list")
