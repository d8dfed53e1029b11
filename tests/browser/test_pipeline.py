"""Journey: several lessons on the page: shown before they begin, started, stopped, and compared at their end."""

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
from tests.support import in_home, until
from tests.test_pipeline_view import COMPARED, walked

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

HOSTILE = "<img src=x onerror='window.hurt = 1'>${Object.assign(window,{hurt:2})}{{{value}}}"


@pytest.fixture(autouse=True)
def at_home(site: Site) -> Iterator[None]:
    with in_home(site.home):
        yield


def go(page: Page, name: str) -> None:
    page.evaluate("name => tunesmith.go('journey', name)", name)


def deed(page: Page, name: str) -> object:
    return expect(page.get_by_role("button", name=name, exact=True))


def test_a_card_shows_the_lessons_and_only_a_button_starts_them(page: Page) -> None:
    before = len(pipeline_run.list_pipeline_runs(local_workspace()))
    page.locator("[data-chain=polite_pairs]").click()
    expect(page).to_have_url(re.compile("#journey/polite_pairs$"))
    expect(page.get_by_role("heading", name="Answers, then manners")).to_be_focused()
    expect(page.locator("#journey .lesson")).to_have_count(2)
    assert len(pipeline_run.list_pipeline_runs(local_workspace())) == before

    page.get_by_role("button", name="Start the journey").click()
    expect(page).to_have_url(re.compile(r"#journey/\d{8}-"))
    first = page.locator("#journey .lesson").first
    expect(first).to_have_class(re.compile("alive"))
    expect(first.locator(".far")).to_contain_text(re.compile(r"step [1-9]"))
    page.get_by_role("button", name="Stop and save").click()
    expect(page.locator("#journey .now")).to_contain_text("Stopped in lesson 1. What it learned is saved")
    deed(page, "Go on").to_be_visible()
    deed(page, "Stop and save").to_be_hidden()
    [journey] = [one for one in pipeline_run.list_pipeline_runs(local_workspace()) if one.id in page.url]
    until(lambda: not journey.is_active)

    first.get_by_role("link", name="Look at the lesson Imitate").click()
    expect(page.locator("#progress .run-title")).to_have_text("Answers, then manners: imitate")
    page.get_by_role("link", name="One of several lessons").click()
    expect(page).to_have_url(re.compile(f"#journey/{journey.id}$"))


def test_at_its_end_the_results_are_compared_and_the_last_can_be_tried(page: Page) -> None:
    journey = walked("finished", "finished", compared=COMPARED)
    go(page, journey.id)
    expect(page.locator("#journey .now")).to_have_text("Finished. “Kind” rose from 0 % to 68 %.")
    expect(page.locator("#journey tbody tr")).to_have_count(3)
    expect(page.get_by_role("row", name="Prefer")).to_contain_text("68 %+68 points")
    deed(page, "Start the journey").to_be_hidden()
    href = page.get_by_role("link", name="Try the last result").get_attribute("href")
    last = journey.stages["prefer"]
    assert href == f"#try/{last}"
    page.evaluate("tunesmith.go('runs')")
    page.locator("#view-runs .journeys a").first.click()
    expect(page).to_have_url(re.compile(f"#journey/{journey.id}$"))

    page.get_by_role("button", name="Remove this journey").click()
    expect(page.get_by_role("button", name="Keep it")).to_be_focused()
    page.get_by_role("button", name="Keep it").click()
    expect(page.get_by_role("button", name="Remove this journey")).to_be_focused()
    page.get_by_role("button", name="Remove this journey").click()
    page.get_by_role("button", name="Remove it", exact=True).click()
    expect(page).to_have_url(re.compile("#runs$"))
    assert not journey.path.exists()
    assert store.get_run(local_workspace(), last).path.is_dir()


def test_what_a_chain_says_stays_text(page: Page) -> None:
    journey = walked("finished", compared=COMPARED)
    told = journey.pipeline.model_dump(by_alias=True, exclude_none=True)
    told |= {"title": HOSTILE, "sentence": HOSTILE}
    told["stages"][0]["sentence"] = HOSTILE
    write_json(journey.path / "chain.json", told)
    (journey.path / "log.txt").write_text(HOSTILE)
    go(page, journey.id)
    expect(page.locator("#journey h1")).to_have_text(HOSTILE)
    expect(page.locator("#journey .lesson p").first).to_have_text(HOSTILE)
    expect(page.locator("#journey .now")).to_contain_text(HOSTILE)
    page.evaluate("tunesmith.go('start')")
    expect(page.locator("#view-start .journeys a").first).to_have_text(HOSTILE)
    assert page.evaluate("window.hurt") is None


def test_an_address_of_no_journey_says_how_to_come_by_one(page: Page, ready: Run) -> None:
    go(page, "20200101-000000-nobody-0000")
    expect(page.locator("#journey")).to_contain_text("There is no such journey here.")
    expect(page.get_by_role("link", name="Choose one on the first page")).to_be_visible()
    go(page, ready.id)  # a run is no journey
    expect(page.locator("#journey")).to_contain_text("There is no such journey here.")
    page.get_by_role("link", name="Choose one on the first page").click()
    expect(page.locator("#view-start")).to_be_visible()
