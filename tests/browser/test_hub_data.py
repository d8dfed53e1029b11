"""Hub datasets in a real browser: chosen by name, config and split, mapped and previewed; an unreadable dataset gives the reason."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.browser.test_choose import HOSTILE_TEXT, current_setup, expand_sections, open_view
from tests.hub import LocalHub
from tests.test_hub_datasets import DATASET_CARD

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def json_lines(word: str, count: int) -> str:
    return "".join(
        json.dumps({"frage": f"{word} {i}", "antwort": str(i), "note": HOSTILE_TEXT}) + "\n" for i in range(count)
    )


@pytest.fixture(scope="module")
def site(signed_in_site: Site, hub: LocalHub) -> Site:
    """The page of alice, who may read carol's datasets except the gated one."""
    hub.add_files("carol/parts", {"README.md": DATASET_CARD, "sums/train.jsonl": json_lines("sum", 30), "sums/test.jsonl": json_lines("test", 7), "words/train.jsonl": json_lines("word", 5)})  # fmt: skip
    hub.add_files("carol/gated", {"train.jsonl": json_lines("secret", 3)}, gated="auto")
    hub.add_files("carol/program", {"program.py": "raise SystemExit('ran')"})
    return signed_in_site


def request_dataset(page: Page, name: str) -> None:
    page.locator("#hub-box").evaluate("box => { box.open = true; }")
    page.locator("#hub-data").fill(name)
    page.get_by_role("button", name="See what it holds").click()
    expect(page.locator("#hub-data-note")).not_to_have_text(re.compile("Asking"))


def test_a_dataset_with_several_configs_asks_for_one_then_maps_and_previews_it(page: Page) -> None:
    open_view(page, "choose")
    expand_sections(page)
    request_dataset(page, "carol/parts")
    note = page.locator("#hub-data-note")
    expect(note).to_have_text("carol/parts has 2 parts: sums and words. Which one should be read? Choose it below.")
    assert current_setup(page)["data"][0]["source"] == "sample:tickets", "no config is selected yet"
    page.get_by_label("Part", exact=True).select_option("sums")
    expect(note).to_have_text("carol/parts, part sums: its split train is read. It also has test.")
    expect(page.locator(".mapping table.rows")).to_contain_text("sum 0")
    page.get_by_label("Split", exact=True).select_option("test")
    expect(page.locator(".mapping table.rows")).to_contain_text("test 0")
    page.get_by_label("What the column frage is").select_option(label="The question")
    page.get_by_label("What the column antwort is").select_option(label="The answer")
    page.locator("#slice-box").evaluate("box => { box.open = true; }")
    page.get_by_label("From row", exact=True).fill("3")
    expect(page.locator(".becomes")).to_contain_text("test 2")
    source_settings = {
        key: current_setup(page)["data"][0].get(key) for key in ("source", "config", "split", "start", "mapping")
    }
    assert source_settings == {"source": "hub:carol/parts", "config": "sums", "split": "test", "start": 2, "mapping": {"prompt": "frage", "completion": "antwort"}}  # fmt: skip

    page.get_by_role("button", name="Check the examples").click()
    expect(page.locator("#example")).to_contain_text("test 2")
    assert page.evaluate("window.hurt") is None


@pytest.mark.parametrize(("name", "expected_note"), [
    ("carol/gated", "“carol/gated” is behind terms you have not accepted yet. Open its page on the Hub"),
    ("carol/program", "comes with program code of its own, which is never run here. Look for a copy as Parquet"),
    ("carol/nothing", "could not be found or reached"),
])  # fmt: skip
def test_an_unreadable_dataset_gives_the_reason_and_the_source_stays(page: Page, name: str, expected_note: str) -> None:
    open_view(page, "choose")
    expand_sections(page)
    request_dataset(page, name)
    expect(page.locator("#hub-data-note")).to_contain_text(expected_note)
    expect(page.locator("#hub-data-note")).to_contain_text("Your earlier choice of examples stays.")
    assert current_setup(page)["data"][0]["source"] == "sample:tickets"


def test_the_chosen_dataset_and_config_are_restored_after_a_reload(page: Page) -> None:
    open_view(page, "choose")
    page.evaluate(
        "document.dispatchEvent(new CustomEvent('tunesmith:alter', { detail: { changes: { 'data.0.source': 'hub:carol/parts', 'data.0.config': 'words' } } }))"
    )
    page.reload()
    open_view(page, "choose")
    expect(page.locator("#hub-data")).to_have_value("carol/parts")
    expect(page.get_by_label("Part", exact=True)).to_have_value("words")
    expect(page.locator(".mapping table.rows")).to_be_hidden()
    page.get_by_role("button", name="Look at its first rows").click()
    expect(page.locator(".mapping table.rows")).to_contain_text("word 0")
