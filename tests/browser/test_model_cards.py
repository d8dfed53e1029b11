"""Model cards in a real browser: a model is chosen by its card, downloaded, stopped and resumed; one that cannot be a base says why."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.browser.test_choose import INTERNAL_WORDS, current_setup, expand_sections, open_view
from tests.hub import LocalHub
from tests.test_hub_models import CONFIG, model_files, safetensors

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WEIGHTS = "model.safetensors"
QUANTIZED = CONFIG | {"quantization_config": {"quant_method": "awq"}, "max_position_embeddings": 4096}


@pytest.fixture(scope="module")
def site(signed_in_site: Site, hub: LocalHub) -> Site:
    """The page of alice, and models on the local Hub."""
    hub.add_files("alice/small", model_files(model__safetensors=safetensors(a=[1000, 1000])), kind="models")
    hub.add_files("alice/packed", model_files(QUANTIZED), kind="models")
    return signed_in_site


def choose_hub_model(page: Page, name: str) -> None:
    open_view(page, "choose")
    expand_sections(page)
    page.locator("[name=model-kind][value=hub]").check()
    page.locator("#hub-model").fill(name)


def test_a_model_of_the_catalogue_is_chosen_by_its_card(page: Page) -> None:
    choose_hub_model(page, "")
    cards = page.locator(".model-row")
    expect(cards).to_have_count(8)
    expect(cards.first).to_contain_text("weights")
    expect(page.locator("#model-choice")).to_contain_text(re.compile("[Ff]its?: .* of .* free"))
    assert not INTERNAL_WORDS.search(page.locator("#model-choice").inner_text())
    cards.nth(1).get_by_role("radio").focus()
    page.keyboard.press("Space")
    chosen = cards.nth(1).get_by_role("radio").get_attribute("value")
    assert current_setup(page)["model"]["id"] == chosen
    expect(page.locator(".model-detail")).to_contain_text(f"There is no model “{chosen}” on the Hub")
    expect(cards).to_have_count(8), "it stays where it was in the list"
    assert page.evaluate("document.activeElement.value") == chosen


def test_a_model_is_downloaded_stopped_and_resumed_on_the_page(page: Page, hub: LocalHub) -> None:
    hub.server.hub.delays[WEIGHTS] = 15
    choose_hub_model(page, "alice/small")
    detail = page.locator(".model-detail")
    expect(detail).to_contain_text("2.0 MB to download; the disk has")
    detail.get_by_role("button", name="Download now").click()
    expect(detail).to_contain_text(re.compile(r"kB of 2\.1 MB \(\d+ %\)|kB of 2\.0 MB \(\d+ %\)"))
    detail.get_by_role("button", name="Stop the download").click()
    expect(detail).to_contain_text("are missing; the disk has")
    hub.server.hub.delays.clear()
    detail.get_by_role("button", name="Go on with the download").click()
    expect(detail).to_contain_text("On this machine: 2.")
    expect(detail).to_contain_text("One model takes 2.")
    detail.get_by_role("button", name="Remove", exact=True).click()
    detail.get_by_role("button", name="Really remove it from this machine").click()
    expect(detail.get_by_role("button", name="Download now")).to_be_visible()


def test_what_speaks_against_a_model_is_mended_with_one_click(page: Page) -> None:
    choose_hub_model(page, "alice/packed")
    page.evaluate(
        "document.dispatchEvent(new CustomEvent('tunesmith:alter', { detail: { changes: { 'adapter.kind': 'none' } } }))"
    )
    detail = page.locator(".model-detail")
    expect(detail).to_contain_text("The weights of this model are published quantized (awq)")
    detail.get_by_role("button", name="Train an adapter").click()
    expect(detail).not_to_contain_text("they cannot be trained themselves")
    assert current_setup(page)["adapter"]["kind"] == "lora"


def test_own_examples_offer_three_real_models_and_a_typing_error_the_right_name(page: Page) -> None:
    rows = [{"question": f"What is {i} and 1?", "answer": str(i + 1)} for i in range(20)]
    content = "\n".join(map(json.dumps, rows)).encode()
    open_view(page, "choose")
    page.locator("#upload").set_input_files({"name": "sums.jsonl", "mimeType": "application/jsonl", "buffer": content})
    expect(page.locator("#practice-note")).to_contain_text("take a real model: those below suit this machine")
    expect(page.locator(".model-row")).to_have_count(3)
    page.locator(".model-row").first.get_by_role("radio").check()
    expect(page.locator(".model-row")).to_have_count(8)
    page.locator("#hub-model").fill("Qwen/Qwen3-4b-Instrct-2507")
    page.locator("#hub-model").press("Escape")  # the list of what was found lies over it
    page.locator(".model-detail").get_by_role("button", name="Take Qwen3 4B Instruct 2507").click()
    assert current_setup(page)["model"]["id"] == "Qwen/Qwen3-4B-Instruct-2507"
