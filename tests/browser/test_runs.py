"""Runs: the list in the sidebar and the page of all runs, read and changed in a real browser."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from app.core.json_files import write_json
from app.core.workspace import local_workspace
from app.planning import links, presets
from app.runs import cleanup, store
from app.runs.store import Run
from app.setup.spec import Launch
from tests.browser.conftest import BrowserTab, Site
from tests.support import use_home

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror='window.hurt = 1'>${Object.assign(window,{hurt:2})}{{{value}}}"


def step_event(step: int) -> dict[str, Any]:
    return {"kind": "step", "step": step, "of": 120, "metrics": {"train/loss": 2 - step / 100}}


def eval_event(step: int, accuracy: float) -> dict[str, Any]:
    return {"kind": "eval", "step": step, "set": "holdout", "metrics": {"eval/correct": accuracy}}


STEP_EVENTS = [step_event(number) for number in range(1, 85)]
EVENTS_BY_TITLE = {
    "First tune": [eval_event(0, 0.0), *STEP_EVENTS, eval_event(120, 0.94), {"kind": "done", "why": "finished"}],
    "Maths drills": [*STEP_EVENTS, {"kind": "done", "why": "stopped"}],
    HOSTILE: [{"kind": "failed", "reason": "out_of_memory", "text": HOSTILE, "advice": HOSTILE}],
}


def create_run_with_events(title: str, events: list[dict[str, Any]]) -> Run:
    run = store.create_run(
        local_workspace(), presets.preset_spec("first_tune").model_copy(update={"title": title}), Launch()
    )
    lines = [json.dumps({"seq": seq, "attempt": 1, "time": 1.0} | event) + "\n" for seq, event in enumerate(events, 1)]
    run.events.write_text("".join(lines))
    (run.path / "log.txt").write_bytes(b"x" * 1_500_000)
    return run


@pytest.fixture(scope="module", autouse=True)
def only_runs_of_these_tests(site: Site) -> Iterator[None]:
    """Moves the runs of other tests out of the home while the tests of this module run."""
    runs_folder, backup_folder = site.home / "runs", site.home / "runs-aside"
    runs_folder.rename(backup_folder)
    try:
        yield
    finally:
        shutil.rmtree(runs_folder, ignore_errors=True)
        backup_folder.rename(runs_folder)


@pytest.fixture
def three_runs(site: Site, page: Page) -> Iterator[dict[str, Run]]:
    """The page of all runs with three runs on it, by title."""
    with use_home(site.home):
        try:
            runs = {title: create_run_with_events(title, events) for title, events in EVENTS_BY_TITLE.items()}
            page.evaluate("tunesmith.go('runs')")
            expect(page.locator("#all-runs > li")).to_have_count(3)
            yield runs
        finally:  # also where the set-up fails: the next test begins without runs
            for run in store.list_runs(local_workspace()):
                cleanup.delete_run(run)


def run_row(page: Page, title: str) -> Any:
    return page.locator("#all-runs > li").filter(has=page.get_by_role("link", name=title, exact=True))


def click_run_action(page: Page, title: str, action: str) -> None:
    run_row(page, title).get_by_text("More", exact=True).click()
    run_row(page, title).get_by_role("button", name=action).click()


@pytest.mark.full
def test_a_list_that_could_not_be_read_is_read_again_when_the_runs_change(page: Page, site: Site) -> None:
    page.route(re.compile("component_server"), lambda route: route.fulfill(status=500))
    page.evaluate("tunesmith.go('runs')")
    expect(page.locator("#runs-notice")).to_contain_text("does not answer")
    page.unroute(re.compile("component_server"))
    title, run_events = next(iter(EVENTS_BY_TITLE.items()))
    with use_home(site.home):
        run = create_run_with_events(title, run_events)
        try:
            expect(page.locator("#all-runs > li")).to_have_count(1)
        finally:
            cleanup.delete_run(run)


@pytest.mark.full
def test_everything_of_a_kind_is_deleted_together_after_a_yes(page: Page, three_runs: dict[str, Run]) -> None:
    block = page.locator("#storage")
    block.locator("summary").click()
    expect(block.locator("[data-count=runs]")).to_have_text("3")
    delete_button = block.get_by_role("button", name="Delete what is ticked")
    expect(delete_button).to_be_disabled()
    block.get_by_label("Runs", exact=True).check()
    delete_button.click()
    dialog = page.locator("#runs-dialog")
    expect(dialog).to_contain_text("Delete all runs?")
    dialog.get_by_role("button", name="Keep it").click()
    expect(page.locator("#all-runs > li")).to_have_count(3)
    delete_button.click()
    dialog.get_by_role("button", name="Delete", exact=True).click()
    expect(block.locator("[role=status]")).to_contain_text("Freed")
    expect(page.locator("#all-runs > li")).to_have_count(0)
    expect(block.locator("[data-count=runs]")).to_have_text("0")


def test_each_row_shows_the_state_result_size_and_loss_curve(page: Page, three_runs: dict[str, Run]) -> None:
    expect(run_row(page, "First tune")).to_contain_text("Finished, 0 % → 94 %")
    expect(run_row(page, "First tune")).to_contain_text("1.5 MB")
    expect(run_row(page, "Maths drills")).to_contain_text("Stopped at 84 of 120")
    expect(run_row(page, HOSTILE)).to_contain_text("Failed, out of memory")
    points = run_row(page, "First tune").locator("polyline").get_attribute("points").split()
    heights = [float(point.split(",")[1]) for point in points]
    assert len(heights) == 24
    assert heights == sorted(heights), "the loss must fall"
    expect(page.locator("#runs-count")).to_contain_text("3 runs, 4.")


def test_the_sidebar_lists_all_runs_and_links_to_each(page: Page, three_runs: dict[str, Run]) -> None:
    page.reload()
    sidebar = page.locator("#side-runs")
    expect(sidebar.get_by_role("link")).to_have_count(3)
    expect(sidebar.get_by_role("link", name="First tune Finished, 0 % → 94 %")).to_be_visible()
    sidebar.get_by_role("link", name=re.compile("Maths drills")).click()
    expect(page).to_have_url(re.compile(f"#watch/{three_runs['Maths drills'].id}$"))
    expect(sidebar.locator("[aria-current]")).to_contain_text("Maths drills")
    page.locator("#side-all").click()
    expect(page.locator("#view-runs")).to_be_visible()


def test_a_run_created_by_another_process_appears_without_reload(page: Page, three_runs: dict[str, Run]) -> None:
    create_run_with_events("From the terminal", STEP_EVENTS)
    expect(page.locator("#side-runs")).to_contain_text("From the terminal")
    expect(run_row(page, "From the terminal")).to_contain_text("Lost at 84 of 120")
    cleanup.delete_run(three_runs["Maths drills"])
    expect(page.locator("#side-runs")).not_to_contain_text("Maths drills")
    expect(page.locator("#all-runs > li")).to_have_count(3)


def test_titles_are_never_rendered_as_markup(page: Page, three_runs: dict[str, Run]) -> None:
    page.reload()
    expect(page.locator("#side-runs")).to_contain_text(HOSTILE)
    click_run_action(page, HOSTILE, "Delete")
    expect(page.locator("#runs-dialog h2")).to_contain_text(HOSTILE)
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("#runs-notice")).to_contain_text(HOSTILE)
    assert page.evaluate("window.hurt") is None


def test_a_run_can_be_renamed(page: Page, three_runs: dict[str, Run]) -> None:
    click_run_action(page, "Maths drills", "Rename")
    page.get_by_label("Title").fill("Sums")
    page.keyboard.press("Enter")
    expect(run_row(page, "Sums")).to_be_visible()
    assert three_runs["Maths drills"].spec.title == "Sums"
    expect(page.locator("#side-runs")).to_contain_text("Sums")


def test_a_run_is_deleted_only_after_confirmation_and_the_freed_size_is_shown(
    page: Page, three_runs: dict[str, Run]
) -> None:
    click_run_action(page, "Maths drills", "Delete")
    expect(page.get_by_role("dialog")).to_contain_text("stopped at 84 of 120. This frees 1.5 MB")
    page.keyboard.press("Enter")  # the cancel button has the focus
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert three_runs["Maths drills"].path.is_dir()
    click_run_action(page, "Maths drills", "Delete")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("#all-runs > li")).to_have_count(2)
    expect(page.locator("#runs-notice")).to_contain_text("“Maths drills” is deleted. Freed 1.5 MB.")
    assert not three_runs["Maths drills"].path.exists()


@pytest.mark.full
def test_all_but_the_best_and_last_checkpoint_are_removed_on_request(page: Page, three_runs: dict[str, Run]) -> None:
    removable_checkpoint = three_runs["First tune"].checkpoints / "checkpoint-7"
    removable_checkpoint.mkdir(parents=True)
    (removable_checkpoint / "weights").write_bytes(b"x" * 2_000_000)
    click_run_action(page, "First tune", "Keep only the best and the last checkpoint")
    expect(page.locator("#runs-notice")).to_contain_text("Freed 2.0 MB.")
    assert not removable_checkpoint.exists()


def test_a_setup_can_be_copied_as_a_link(page: Page, three_runs: dict[str, Run], site: Site) -> None:
    click_run_action(page, "First tune", "Copy a link")
    link_input = page.locator("#runs-address input")
    expect(link_input).to_be_visible()
    assert link_input.input_value().startswith(f"{site.entry_url}?setup=")
    assert links.decode_setup(link_input.input_value()) == three_runs["First tune"].spec


@pytest.mark.full
def test_a_setup_with_an_upload_gives_an_error_instead_of_a_link(page: Page, three_runs: dict[str, Run]) -> None:
    spec_fields = three_runs["First tune"].spec.to_dict() | {
        "data": [{"source": f"upload:{'a' * 64}.jsonl"}],
        "holdout": {},
    }
    write_json(three_runs["First tune"].path / "spec.json", spec_fields)
    click_run_action(page, "First tune", "Copy a link")
    expect(page.get_by_role("alert")).to_contain_text("lie on one machine, so a link cannot carry them")
    expect(page.locator("#runs-address")).to_be_hidden()


def test_the_setup_of_a_run_can_be_loaded_into_the_form(page: Page, three_runs: dict[str, Run]) -> None:
    spec_fields = three_runs["First tune"].spec.to_dict()
    write_json(
        three_runs["First tune"].path / "spec.json", spec_fields | {"knobs": spec_fields["knobs"] | {"epochs": 3.5}}
    )
    click_run_action(page, "First tune", "Use this setup again")
    expect(page.locator("#view-choose")).to_be_visible()
    expect(page.locator("#sft-epochs input").first).to_have_value("3.5")
    assert len(store.list_runs(local_workspace())) == 3, "no run may have been started"


def test_the_search_field_filters_runs_by_the_text_of_their_rows(page: Page, three_runs: dict[str, Run]) -> None:
    page.get_by_label("Find a run").fill("stopped")
    expect(page.locator("#all-runs > li")).to_have_count(1)
    expect(page.locator("#runs-count")).to_contain_text("1 of 3 runs")
    expect(run_row(page, "Maths drills")).to_be_visible()
    page.get_by_label("Find a run").fill("nowhere")
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("#all-runs > li")).to_have_count(3)


def test_the_empty_page_explains_how_to_start_a_run(page: Page) -> None:
    page.evaluate("tunesmith.go('runs')")
    expect(page.locator("#runs-none")).to_contain_text("takes about a minute")
    expect(page.locator("#side-empty")).to_be_visible()


def test_the_sidebar_is_collapsed_on_a_phone(tab: BrowserTab, site: Site) -> None:
    tab.page.set_viewport_size({"width": 390, "height": 800})
    page = tab.open(site.address)
    expect(page.locator("#side-fold:not([open])")).to_be_visible()
    expect(page.locator("#side-empty")).to_be_hidden()
    page.locator("#side-fold summary").click()
    expect(page.locator("#side-empty")).to_be_visible()


@pytest.mark.full
def test_three_thousand_runs_are_rendered_one_hundred_at_a_time(page: Page, site: Site) -> None:
    with use_home(site.home):
        original_run = create_run_with_events("First tune", EVENTS_BY_TITLE["First tune"])
        copies = [hard_link_run(original_run, number) for number in range(3_000)]
        page.evaluate("tunesmith.go('runs')")
        expect(page.locator("#runs-count")).to_contain_text("3,001 runs")
        expect(page.locator("#all-runs > li")).to_have_count(100)
        page.get_by_role("button", name="Show more").click()
        expect(page.locator("#all-runs > li")).to_have_count(200)
        for path in [*copies, original_run.path]:
            cleanup.delete_run(Run(path))


def hard_link_run(run: Run, number: int) -> Path:
    copy = run.path.with_name(f"20260101-000000-x-{number:04d}")
    copy.mkdir()
    for name in ("spec.json", "events.jsonl"):
        (copy / name).hardlink_to(run.path / name)
    return copy
