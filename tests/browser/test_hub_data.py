"""Datasets of the Hub in a real browser: chosen by name, part and split, mapped and seen; what cannot be read says why."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.browser.test_choose import HOSTILE, go, kept
from tests.hub import LocalHub
from tests.test_hub_datasets import CARD

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def lines(word: str, count: int) -> str:
    return "".join(
        json.dumps({"frage": f"{word} {i}", "antwort": str(i), "note": HOSTILE}) + "\n" for i in range(count)
    )


@pytest.fixture(scope="module")
def site(signed_in: Site, hub: LocalHub) -> Site:
    """alice's page; what is carol's she may read, but for what stands behind terms."""
    hub.put("carol/parts", {"README.md": CARD, "sums/train.jsonl": lines("sum", 30), "sums/test.jsonl": lines("test", 7), "words/train.jsonl": lines("word", 5)})  # fmt: skip
    hub.put("carol/gated", {"train.jsonl": lines("secret", 3)}, gated="auto")
    hub.put("carol/program", {"program.py": "raise SystemExit('ran')"})
    return signed_in


def ask_for(page: Page, name: str) -> None:
    page.locator("#hub-box").evaluate("one => { one.open = true; }")
    page.locator("#hub-data").fill(name)
    page.get_by_role("button", name="See what it holds").click()
    expect(page.locator("#hub-data-note")).not_to_have_text(re.compile("Asking"))


def test_a_dataset_with_several_parts_asks_which_and_is_mapped_and_seen(page: Page) -> None:
    go(page, "choose")
    ask_for(page, "carol/parts")
    note = page.locator("#hub-data-note")
    expect(note).to_have_text("carol/parts has 2 parts: sums and words. Which one should be read? Choose it below.")
    assert kept(page)["data"][0]["source"] == "sample:tickets", "nobody has said yet which part"
    page.get_by_label("Part", exact=True).select_option("sums")
    expect(note).to_have_text("carol/parts, part sums: its split train is read. It also has test.")
    expect(page.locator(".mapping table.rows")).to_contain_text("sum 0")
    page.get_by_label("Split", exact=True).select_option("test")
    expect(page.locator(".mapping table.rows")).to_contain_text("test 0")
    page.get_by_label("What the column frage is").select_option(label="The question")
    page.get_by_label("What the column antwort is").select_option(label="The answer")
    page.locator("#slice-box").evaluate("one => { one.open = true; }")
    page.get_by_label("From row", exact=True).fill("3")
    expect(page.locator(".becomes")).to_contain_text("test 2")
    told = {name: kept(page)["data"][0].get(name) for name in ("source", "config", "split", "start", "mapping")}
    assert told == {"source": "hub:carol/parts", "config": "sums", "split": "test", "start": 2, "mapping": {"prompt": "frage", "completion": "antwort"}}  # fmt: skip

    page.get_by_role("button", name="Check the examples").click()
    expect(page.locator("#example")).to_contain_text("test 2")
    assert page.evaluate("window.hurt") is None


@pytest.mark.parametrize(("name", "said"), [
    ("carol/gated", "“carol/gated” is behind terms you have not accepted yet. Open its page on the Hub"),
    ("carol/program", "comes with program code of its own, which is never run here. Look for a copy as Parquet"),
    ("carol/nothing", "could not be found or reached"),
])  # fmt: skip
def test_a_dataset_that_cannot_be_read_says_why_and_changes_nothing(page: Page, name: str, said: str) -> None:
    go(page, "choose")
    ask_for(page, name)
    expect(page.locator("#hub-data-note")).to_contain_text(said)
    expect(page.locator("#hub-data-note")).to_contain_text("Your earlier choice of examples stays.")
    assert kept(page)["data"][0]["source"] == "sample:tickets"


def test_what_was_chosen_is_shown_when_the_page_is_opened_again(page: Page) -> None:
    go(page, "choose")
    page.evaluate(
        "document.dispatchEvent(new CustomEvent('tunesmith:alter', { detail: { changes: { 'data.0.source': 'hub:carol/parts', 'data.0.config': 'words' } } }))"
    )
    page.reload()
    go(page, "choose")
    expect(page.locator("#hub-data")).to_have_value("carol/parts")
    expect(page.get_by_label("Part", exact=True)).to_have_value("words")
    expect(page.locator(".mapping table.rows")).to_be_hidden()
    page.get_by_role("button", name="Look at its first rows").click()
    expect(page.locator(".mapping table.rows")).to_contain_text("word 0")
