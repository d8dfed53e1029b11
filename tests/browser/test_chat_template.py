"""The chat format in a real browser: chosen, pasted or uploaded, tried where it stands, seen in its tokens, and mended by a click."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_choose import HOSTILE, go, kept
from tests.test_audit import ENDLESS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def form(page: Page) -> Page:
    go(page, "choose")
    page.locator("#advanced").evaluate("one => { one.open = true; }")
    return page


def test_a_format_is_tried_where_it_stands_and_says_what_is_wrong(form: Page) -> None:
    note, text = form.locator("#format-note"), form.locator("#format-text")
    expect(text).to_be_hidden()
    form.get_by_label("Which chat format", exact=True).select_option(label="One of your own, pasted or uploaded")
    expect(note).to_contain_text("Until then the model’s own is used.")
    text.fill("{% for m in messages %}{{ m.content }")
    expect(note).to_have_text(
        "The chat format cannot be used: unexpected '}' (line 1). Mend it, or take the model’s own."
    )
    expect(text).to_have_attribute("aria-invalid", "true")
    assert form.evaluate("tunesmith.setup.lacking") == "One setting cannot be used as it is. It says why."
    text.fill("{% raw %}" + HOSTILE + "{% endraw %}{{ messages[0].content }}")
    expect(note).to_contain_text("No mark ends the answer")
    expect(form.locator("#format-written")).to_contain_text("<img src=x")
    expect(text).to_have_attribute("aria-invalid", "false")
    assert form.evaluate("window.hurt") is None
    form.get_by_role("button", name="Which chat format: back to the model’s own").click()
    expect(text).to_be_hidden()
    assert "template" not in kept(form)["model"]


def test_an_uploaded_format_is_seen_in_its_tokens_and_its_lacking_end_is_mended(form: Page) -> None:
    form.get_by_label("Which chat format", exact=True).select_option(label="One of your own, pasted or uploaded")
    told = json.dumps({"chat_template": ENDLESS.replace("{{ m.role }}", "THE {{ m.role }}")}).encode()
    form.set_input_files(
        "#format-file", {"name": "tokenizer_config.json", "mimeType": "application/json", "buffer": told}
    )
    expect(form.locator("#format-written")).to_contain_text("<|im_start|>THE user")
    form.get_by_role("button", name="Check the examples").click()
    expect(form.locator("#example")).to_contain_text("THE assistant")
    audit = form.locator("#audit")
    audit.locator("li", has_text="no end token after what is learned").get_by_role(
        "button", name="Take the model’s own chat format"
    ).click()
    expect(audit.locator(".audit-mended li")).to_have_count(1)
    expect(audit.locator(".resting")).to_have_count(0)
    expect(audit.locator("li", has_text="no end token after what is learned")).to_have_count(0)
    expect(form.locator("#example")).not_to_contain_text("THE assistant")
    assert "template" not in kept(form)["model"]
    audit.get_by_role("button", name="Undo").click()
    expect(form.locator("#example")).to_contain_text("THE assistant")
    go(form, "choose")
    expect(form.locator("#format-text")).to_have_value(re.compile("THE {{ m.role }}"))


def test_a_format_of_trls_is_chosen_by_its_name(form: Page) -> None:
    form.get_by_label("Which chat format", exact=True).select_option("trl:qwen2_5")
    expect(form.locator("#format-written")).to_contain_text("You are Qwen")
    assert kept(form)["model"]["template"] == "trl:qwen2_5"
