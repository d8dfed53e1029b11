"""Runs: the list in the side and the page of all runs, as a visitor sees and changes them."""

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
from tests.browser.conftest import Site, Visit
from tests.support import in_home

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror='window.hurt = 1'>${Object.assign(window,{hurt:2})}{{{value}}}"


def step(number: int) -> dict[str, Any]:
    return {"kind": "step", "step": number, "of": 120, "metrics": {"train/loss": 2 - number / 100}}


def measured(number: int, correct: float) -> dict[str, Any]:
    return {"kind": "eval", "step": number, "set": "holdout", "metrics": {"eval/correct": correct}}


STEPS = [step(number) for number in range(1, 85)]
STORIES = {
    "First tune": [measured(0, 0.0), *STEPS, measured(120, 0.94), {"kind": "done", "why": "finished"}],
    "Maths drills": [*STEPS, {"kind": "done", "why": "stopped"}],
    HOSTILE: [{"kind": "failed", "reason": "out_of_memory", "text": HOSTILE, "advice": HOSTILE}],
}


def made(title: str, story: list[dict[str, Any]]) -> Run:
    run = store.create_run(
        local_workspace(), presets.preset_spec("first_tune").model_copy(update={"title": title}), Launch()
    )
    lines = [json.dumps({"seq": seq, "attempt": 1, "time": 1.0} | event) + "\n" for seq, event in enumerate(story, 1)]
    run.events.write_text("".join(lines))
    (run.path / "log.txt").write_bytes(b"x" * 1_500_000)
    return run


@pytest.fixture(scope="module", autouse=True)
def shelf(site: Site) -> Iterator[None]:
    """No runs but those of these tests: the others are put aside meanwhile."""
    folder, aside = site.home / "runs", site.home / "runs-aside"
    folder.rename(aside)
    yield
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


@pytest.fixture
def three(site: Site, page: Page) -> Iterator[dict[str, Run]]:
    """The page of all runs, with three of them."""
    with in_home(site.home):
        found = {title: made(title, story) for title, story in STORIES.items()}
        page.evaluate("tunesmith.go('runs')")
        expect(page.locator("#all-runs > li")).to_have_count(3)
        yield found
        for run in store.list_runs(local_workspace()):
            cleanup.delete_run(run)


def row(page: Page, title: str) -> Any:
    return page.locator("#all-runs > li").filter(has=page.get_by_role("link", name=title, exact=True))


def choose(page: Page, title: str, deed: str) -> None:
    row(page, title).get_by_text("More", exact=True).click()
    row(page, title).get_by_role("button", name=deed).click()


def test_every_run_says_its_state_result_and_weight(page: Page, three: dict[str, Run]) -> None:
    expect(row(page, "First tune")).to_contain_text("Finished, 0 % → 94 %")
    expect(row(page, "First tune")).to_contain_text("1.5 MB")
    expect(row(page, "Maths drills")).to_contain_text("Stopped at 84 of 120")
    expect(row(page, HOSTILE)).to_contain_text("Failed, out of memory")
    points = row(page, "First tune").locator("polyline").get_attribute("points").split()
    heights = [float(point.split(",")[1]) for point in points]
    assert len(heights) == 24
    assert heights == sorted(heights), "the loss falls"
    expect(page.locator("#runs-count")).to_contain_text("3 runs, 4.")


def test_the_side_lists_them_too_and_leads_to_each(page: Page, three: dict[str, Run]) -> None:
    page.reload()
    side = page.locator("#side-runs")
    expect(side.get_by_role("link")).to_have_count(3)
    expect(side.get_by_role("link", name="First tune Finished, 0 % → 94 %")).to_be_visible()
    side.get_by_role("link", name=re.compile("Maths drills")).click()
    expect(page).to_have_url(re.compile(f"#watch/{three['Maths drills'].id}$"))
    expect(side.locator("[aria-current]")).to_contain_text("Maths drills")
    page.locator("#side-all").click()
    expect(page.locator("#view-runs")).to_be_visible()


def test_a_run_made_elsewhere_appears_by_itself(page: Page, three: dict[str, Run]) -> None:
    made("From the terminal", STEPS)
    expect(page.locator("#side-runs")).to_contain_text("From the terminal")
    expect(row(page, "From the terminal")).to_contain_text("Lost at 84 of 120")
    cleanup.delete_run(three["Maths drills"])
    expect(page.locator("#side-runs")).not_to_contain_text("Maths drills")
    expect(page.locator("#all-runs > li")).to_have_count(3)


def test_titles_stay_text(page: Page, three: dict[str, Run]) -> None:
    page.reload()
    expect(page.locator("#side-runs")).to_contain_text(HOSTILE)
    choose(page, HOSTILE, "Delete")
    expect(page.locator("#runs-dialog h2")).to_contain_text(HOSTILE)
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("#runs-notice")).to_contain_text(HOSTILE)
    assert page.evaluate("window.hurt") is None


def test_a_run_takes_another_title(page: Page, three: dict[str, Run]) -> None:
    choose(page, "Maths drills", "Rename")
    page.get_by_label("Title").fill("Sums")
    page.keyboard.press("Enter")
    expect(row(page, "Sums")).to_be_visible()
    assert three["Maths drills"].spec.title == "Sums"
    expect(page.locator("#side-runs")).to_contain_text("Sums")


def test_a_run_is_deleted_only_when_asked_twice_and_says_what_that_frees(page: Page, three: dict[str, Run]) -> None:
    choose(page, "Maths drills", "Delete")
    expect(page.get_by_role("dialog")).to_contain_text("stopped at 84 of 120. This frees 1.5 MB")
    page.keyboard.press("Enter")  # the careful answer has the focus
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert three["Maths drills"].path.is_dir()
    choose(page, "Maths drills", "Delete")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.locator("#all-runs > li")).to_have_count(2)
    expect(page.locator("#runs-notice")).to_contain_text("“Maths drills” is deleted. Freed 1.5 MB.")
    assert not three["Maths drills"].path.exists()


def test_spare_checkpoints_are_removed_on_request(page: Page, three: dict[str, Run]) -> None:
    half = three["First tune"].checkpoints / "checkpoint-7"
    half.mkdir(parents=True)
    (half / "weights").write_bytes(b"x" * 2_000_000)
    choose(page, "First tune", "Keep only the best and the last checkpoint")
    expect(page.locator("#runs-notice")).to_contain_text("Freed 2.0 MB.")
    assert not half.exists()


def test_a_setup_is_shared_by_a_link(page: Page, three: dict[str, Run], site: Site) -> None:
    choose(page, "First tune", "Copy a link")
    field = page.locator("#runs-address input")
    expect(field).to_be_visible()
    assert field.input_value().startswith(f"{site.plain}?setup=")
    assert links.decode_setup(field.input_value()) == three["First tune"].spec


def test_a_setup_that_no_link_can_carry_says_why(page: Page, three: dict[str, Run]) -> None:
    data = three["First tune"].spec.to_dict() | {"data": [{"source": f"upload:{'a' * 64}.jsonl"}], "holdout": {}}
    write_json(three["First tune"].path / "spec.json", data)
    choose(page, "First tune", "Copy a link")
    expect(page.get_by_role("alert")).to_contain_text("lie on one machine, so a link cannot carry them")
    expect(page.locator("#runs-address")).to_be_hidden()


def test_a_run_can_be_started_again_from_its_setup(page: Page, three: dict[str, Run]) -> None:
    data = three["First tune"].spec.to_dict()
    write_json(three["First tune"].path / "spec.json", data | {"knobs": data["knobs"] | {"epochs": 3.5}})
    choose(page, "First tune", "Use this setup again")
    expect(page.locator("#view-choose")).to_be_visible()
    expect(page.locator("#sft-epochs input").first).to_have_value("3.5")
    assert len(store.list_runs(local_workspace())) == 3, "nothing has started"


def test_a_run_is_found_by_its_words(page: Page, three: dict[str, Run]) -> None:
    page.get_by_label("Find a run").fill("stopped")
    expect(page.locator("#all-runs > li")).to_have_count(1)
    expect(page.locator("#runs-count")).to_contain_text("1 of 3 runs")
    expect(row(page, "Maths drills")).to_be_visible()
    page.get_by_label("Find a run").fill("nowhere")
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("#all-runs > li")).to_have_count(3)


def test_with_no_runs_the_page_says_how_to_begin(page: Page) -> None:
    page.evaluate("tunesmith.go('runs')")
    expect(page.locator("#runs-none")).to_contain_text("takes about a minute")
    expect(page.locator("#side-empty")).to_be_visible()


def test_on_a_phone_the_side_is_folded(visit: Visit, site: Site) -> None:
    visit.page.set_viewport_size({"width": 390, "height": 800})
    page = visit.open(site.address)
    expect(page.locator("#side-fold:not([open])")).to_be_visible()
    expect(page.locator("#side-empty")).to_be_hidden()
    page.locator("#side-fold summary").click()
    expect(page.locator("#side-empty")).to_be_visible()


def test_thousands_of_runs_are_drawn_in_parts(page: Page, site: Site) -> None:
    with in_home(site.home):
        one = made("First tune", STORIES["First tune"])
        copies = [copy_of(one, number) for number in range(3_000)]
        page.evaluate("tunesmith.go('runs')")
        expect(page.locator("#runs-count")).to_contain_text("3,001 runs")
        expect(page.locator("#all-runs > li")).to_have_count(100)
        page.get_by_role("button", name="Show more").click()
        expect(page.locator("#all-runs > li")).to_have_count(200)
        for path in [*copies, one.path]:
            cleanup.delete_run(Run(path))


def copy_of(run: Run, number: int) -> Path:
    copy = run.path.with_name(f"20260101-000000-x-{number:04d}")
    copy.mkdir()
    for name in ("spec.json", "events.jsonl"):
        (copy / name).hardlink_to(run.path / name)
    return copy
