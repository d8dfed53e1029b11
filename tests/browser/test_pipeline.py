"""Pipelines in the browser: their stages are listed, started, stopped, and compared when the pipeline has finished."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from app.core.json_files import write_json
from app.core.workspace import local_workspace
from app.pipelines import pipeline_run
from app.runs import store
from app.runs.store import Run
from tests.browser.conftest import Site
from tests.support import use_home, wait_until
from tests.test_pipeline_view import COMPARISON, create_pipeline_run_in_states

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

HOSTILE_HTML = "<img src=x onerror='window.hurt = 1'>${Object.assign(window,{hurt:2})}{{{value}}}"


@pytest.fixture(autouse=True)
def use_site_home(site: Site) -> Iterator[None]:
    with use_home(site.home):
        yield


def open_pipeline(page: Page, target_id: str) -> None:
    page.evaluate("name => tunesmith.go('journey', name)", target_id)


def expect_button(page: Page, label: str) -> object:
    return expect(page.get_by_role("button", name=label, exact=True))


def test_a_pipeline_card_lists_the_stages_and_only_the_start_button_runs_them(page: Page) -> None:
    run_count_before = len(pipeline_run.list_pipeline_runs(local_workspace()))
    page.locator("[data-chain=polite_pairs]").click()
    expect(page).to_have_url(re.compile("#journey/polite_pairs$"))
    expect(page.get_by_role("heading", name="Answers, then manners")).to_be_focused()
    expect(page.locator("#journey .lesson")).to_have_count(2)
    assert len(pipeline_run.list_pipeline_runs(local_workspace())) == run_count_before

    page.get_by_role("button", name="Start the journey").click()
    expect(page).to_have_url(re.compile(r"#journey/\d{8}-"))
    first_stage = page.locator("#journey .lesson").first
    expect(first_stage).to_have_class(re.compile("alive"))
    expect(first_stage.locator(".far")).to_contain_text(re.compile(r"step [1-9]"))
    page.get_by_role("button", name="Stop and save").click()
    expect(page.locator("#journey .now")).to_contain_text("Stopped in lesson 1. What it learned is saved")
    expect_button(page, "Go on").to_be_visible()
    expect_button(page, "Stop and save").to_be_hidden()
    [started_pipeline] = [run for run in pipeline_run.list_pipeline_runs(local_workspace()) if run.id in page.url]
    wait_until(lambda: not started_pipeline.is_active)

    first_stage.get_by_role("link", name="Look at the lesson Imitate").click()
    expect(page.locator("#progress .run-title")).to_have_text("Answers, then manners: imitate")
    page.get_by_role("link", name="One of several lessons").click()
    expect(page).to_have_url(re.compile(f"#journey/{started_pipeline.id}$"))


def test_a_finished_pipeline_compares_its_results_and_links_the_last_one_to_try(page: Page) -> None:
    finished_pipeline = create_pipeline_run_in_states("finished", "finished", comparison=COMPARISON)
    open_pipeline(page, finished_pipeline.id)
    expect(page.locator("#journey .now")).to_have_text("Finished. “Kind” rose from 0 % to 68 %.")
    expect(page.locator("#journey tbody tr")).to_have_count(3)
    expect(page.get_by_role("row", name="Prefer")).to_contain_text("68 %+68 points")
    expect_button(page, "Start the journey").to_be_hidden()
    href = page.get_by_role("link", name="Try the last result").get_attribute("href")
    last_run_id = finished_pipeline.stages["prefer"]
    assert href == f"#try/{last_run_id}"
    page.evaluate("tunesmith.go('runs')")
    page.locator("#view-runs .journeys a").first.click()
    expect(page).to_have_url(re.compile(f"#journey/{finished_pipeline.id}$"))

    page.get_by_role("button", name="Remove this journey").click()
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("button", name="Remove this journey")).to_be_focused()
    page.get_by_role("button", name="Remove this journey").click()
    page.get_by_role("button", name="Remove it", exact=True).click()
    expect(page).to_have_url(re.compile("#runs$"))
    assert not finished_pipeline.path.exists()
    assert store.get_run(local_workspace(), last_run_id).path.is_dir()


def test_a_stage_that_was_stopped_is_no_trouble(page: Page) -> None:
    stopped_pipeline = create_pipeline_run_in_states("stopped")
    open_pipeline(page, stopped_pipeline.id)
    marks = page.locator("#journey .lesson .mark")
    expect(marks.first).to_have_text("■")
    colors = marks.evaluate_all("marks => marks.slice(0, 2).map(mark => getComputedStyle(mark).color)")
    assert colors[0] == colors[1], "like a stage that has not begun"


def test_text_from_a_pipeline_is_never_rendered_as_html(page: Page) -> None:
    finished_pipeline = create_pipeline_run_in_states("finished", comparison=COMPARISON)
    pipeline_json = finished_pipeline.pipeline.model_dump(by_alias=True, exclude_none=True)
    pipeline_json |= {"title": HOSTILE_HTML, "sentence": HOSTILE_HTML}
    pipeline_json["stages"][0]["sentence"] = HOSTILE_HTML
    write_json(finished_pipeline.path / "chain.json", pipeline_json)
    (finished_pipeline.path / "log.txt").write_text(HOSTILE_HTML)
    open_pipeline(page, finished_pipeline.id)
    expect(page.locator("#journey h1")).to_have_text(HOSTILE_HTML)
    expect(page.locator("#journey .lesson p").first).to_have_text(HOSTILE_HTML)
    expect(page.locator("#journey .now")).to_contain_text(HOSTILE_HTML)
    page.evaluate("tunesmith.go('start')")
    expect(page.locator("#view-start .journeys a").first).to_have_text(HOSTILE_HTML)
    assert page.evaluate("window.hurt") is None


def test_an_unknown_pipeline_address_links_to_the_start_page(page: Page, finished_run: Run) -> None:
    open_pipeline(page, "20200101-000000-nobody-0000")
    expect(page.locator("#journey")).to_contain_text("There is no such journey here.")
    expect(page.get_by_role("link", name="Choose one on the first page")).to_be_visible()
    open_pipeline(page, finished_run.id)  # the id of a run, not of a pipeline run
    expect(page.locator("#journey")).to_contain_text("There is no such journey here.")
    page.get_by_role("link", name="Choose one on the first page").click()
    expect(page.locator("#view-start")).to_be_visible()
