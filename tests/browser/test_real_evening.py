"""A person with examples of their own and a real model: upload, card, rehearsal, training, chat and publication, in ten actions."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Site
from tests.browser.test_first_evening import ClickRecorder
from tests.hub import LocalHub
from tests.real_model import real_model_folder

pytestmark = [pytest.mark.slow, pytest.mark.full]

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
MAX_ACTIONS = 10
CITIES = ("Oslo", "Rome", "Lima", "Cairo", "Quito", "Delhi", "Paris", "Tokyo", "Bern", "Riga")
TIMEOUT_MS = 1_200_000  # of what a real model computes on two cores


def parcels_csv(count: int = 40) -> bytes:
    """Questions about parcels, each answered in the same way, which the model does not know."""
    lines = [
        f"Where is parcel {i}?,Parcel {i} waits in {CITIES[i % len(CITIES)]}. Code {CITIES[i % len(CITIES)][:2].upper()}."
        for i in range(count)
    ]
    return "\n".join(["question,answer", *lines]).encode()


@pytest.fixture(scope="module")
def site(signed_in_site: Site, hub: LocalHub) -> Site:
    """The page of alice, and SmolLM2 on the local Hub."""
    files = {path.name: path.read_bytes() for path in real_model_folder().iterdir() if path.is_file()}
    hub.add_files(MODEL, files, kind="models")
    return signed_in_site


@pytest.mark.timeout(3600)
def test_a_real_model_learns_a_persons_own_table_in_ten_actions(page: Page, hub: LocalHub) -> None:
    click = ClickRecorder()
    page.locator(".own-examples input[type=file]").set_input_files(
        {"name": "parcels.csv", "mimeType": "text/csv", "buffer": parcels_csv()}
    )
    click.labels.append("Choose a file")
    expect(page.locator("#upload-note")).to_contain_text("parcels.csv: 40 examples")
    expect(page.locator("#practice-note")).to_contain_text("made for the samples")

    page.locator("[name=model-kind][value=hub]").check()
    click.labels.append("One from the Hub")
    page.locator(f".model-row input[value='{MODEL}']").check()
    click.labels.append("SmolLM2 135M Instruct")
    detail = page.locator(".model-row", has=page.locator(f"input[value='{MODEL}']"))
    expect(detail).to_contain_text("It fits:")
    expect(detail).to_contain_text("to download; the disk has")

    click(page.get_by_role("button", name="Check the examples"))
    expect(page.locator("#example .tokens .token.trained").first).to_be_visible(timeout=TIMEOUT_MS)
    trained = "".join(page.locator("#example .tokens .token.trained").all_inner_texts())
    assert re.match(r"Parcel \d+ waits in", trained)
    assert "<|im_end|>" in trained

    click(page.get_by_role("button", name="Rehearse twenty steps"))
    report = page.locator("#rehearsed")
    expect(report).to_contain_text("20 real steps went well", timeout=TIMEOUT_MS)
    expect(report).to_contain_text("a model that only guesses has 10.8")  # the logarithm of 49,152 tokens

    click(page.get_by_role("button", name="Start training"))
    expect(page.locator("#view-watch")).to_be_visible()
    expect(page.locator("#progress .progress")).to_have_attribute("data-state", "finished", timeout=TIMEOUT_MS)
    expect(page.locator("#progress .verdict")).to_contain_text("the loss fell")

    click(page.locator("#try-it"))
    click(page.locator("#talk-prompts [data-prompt]").first)
    expect(page.locator("#talk-answers .tuned small")).to_contain_text("tokens in", timeout=TIMEOUT_MS)
    assert "waits in" in page.locator("#talk-answers .tuned .words-said").inner_text()

    click(page.locator("#talk-publish"))
    expect(page.locator("#publish-who")).to_contain_text("alice")
    click(page.locator("#publish-push"))
    expect(page.locator("#publish-done")).to_contain_text("alice/")
    repo = re.search(r"alice/[\w.-]+", page.locator("#publish-done").inner_text())
    assert repo is not None
    assert "adapter_model.safetensors" in hub.files(repo.group())
    assert len(click.labels) <= MAX_ACTIONS, click.labels
