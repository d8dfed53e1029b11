"""Chat templates in a real browser: selected, pasted or uploaded, rendered in the form, previewed as tokens, and fixed by a click."""

from __future__ import annotations

import json
import re
import time

import pytest
from playwright.sync_api import Page, expect

from app.core.paths import ROOT
from tests.browser.conftest import Site
from tests.browser.test_choose import HOSTILE_TEXT, current_setup, expand_sections, open_view
from tests.support import wait_until
from tests.test_audit import TEMPLATE_WITHOUT_END_TOKENS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def form(page: Page) -> Page:
    open_view(page, "choose")
    expand_sections(page)
    return page


def test_a_pasted_chat_template_is_rendered_and_its_error_is_shown(form: Page) -> None:
    format_note, format_text = form.locator("#format-note"), form.locator("#format-text")
    expect(format_text).to_be_hidden()
    form.get_by_label("Which chat format", exact=True).select_option(label="One of your own, pasted or uploaded")
    expect(format_note).to_contain_text("Until then the model’s own is used.")
    format_text.fill("{% for m in messages %}{{ m.content }")
    expect(format_note).to_have_text(
        "The chat format cannot be used: unexpected '}' (line 1). Mend it, or take the model’s own."
    )
    expect(format_text).to_have_attribute("aria-invalid", "true")
    assert form.evaluate("tunesmith.setup.lacking") == "One setting cannot be used as it is. It says why."
    format_text.fill("{% raw %}" + HOSTILE_TEXT + "{% endraw %}{{ messages[0].content }}")
    expect(format_note).to_contain_text("No mark ends the answer")
    expect(form.locator("#format-written")).to_contain_text("<img src=x")
    expect(format_text).to_have_attribute("aria-invalid", "false")
    assert form.evaluate("window.hurt") is None
    form.get_by_role("button", name="Which chat format: back to the model’s own").click()
    expect(format_text).to_be_hidden()
    assert "template" not in current_setup(form)["model"]


def test_an_uploaded_chat_template_is_previewed_as_tokens_and_its_missing_end_token_is_fixed_by_a_click(
    form: Page,
) -> None:
    form.get_by_label("Which chat format", exact=True).select_option(label="One of your own, pasted or uploaded")
    tokenizer_config = json.dumps(
        {"chat_template": TEMPLATE_WITHOUT_END_TOKENS.replace("{{ m.role }}", "THE {{ m.role }}")}
    ).encode()
    form.set_input_files(
        "#format-file", {"name": "tokenizer_config.json", "mimeType": "application/json", "buffer": tokenizer_config}
    )
    expect(form.locator("#format-written")).to_contain_text("<|im_start|>THE user")
    form.get_by_role("button", name="Check the examples").click()
    expect(form.locator("#example")).to_contain_text("THE assistant")
    audit_panel = form.locator("#audit")
    audit_panel.locator("li", has_text="no end token after what is learned").get_by_role(
        "button", name="Take the model’s own chat format"
    ).click()
    expect(audit_panel.locator(".audit-mended li")).to_have_count(1)
    expect(audit_panel.locator(".resting")).to_have_count(0)
    expect(audit_panel.locator("li", has_text="no end token after what is learned")).to_have_count(0)
    expect(form.locator("#example")).not_to_contain_text("THE assistant")
    assert "template" not in current_setup(form)["model"]
    audit_panel.get_by_role("button", name="Undo").click()
    expect(form.locator("#example")).to_contain_text("THE assistant")
    open_view(form, "choose")
    expect(form.locator("#format-text")).to_have_value(re.compile("THE {{ m.role }}"))


@pytest.mark.full
def test_a_trl_chat_template_is_selected_by_name(form: Page) -> None:
    form.get_by_label("Which chat format", exact=True).select_option("trl:qwen2_5")
    expect(form.locator("#format-written")).to_contain_text("You are Qwen")
    assert current_setup(form)["model"]["template"] == "trl:qwen2_5"


# quick on the short texts that a chat format is tried with
ENDLESS_ON_ROWS = (
    "{% if 'Hello' not in messages | string %}{% for a in range(90000) %}{% for b in range(90000) %}"
    "{% endfor %}{% endfor %}{% endif %}"
)


def worker_is_computing(site: Site) -> bool:
    """Whether the worker takes more than a fifth of a core, for a second."""
    [worker] = [process for process in site.process.children() if "app.engine.worker" in process.cmdline()]
    seconds_before = sum(worker.cpu_times()[:2])
    time.sleep(1)
    return sum(worker.cpu_times()[:2]) - seconds_before > 0.2


def test_what_a_page_computes_ends_when_it_is_closed(form: Page, site: Site) -> None:
    open_view(form, "check")
    expect(form.locator("#example .count")).not_to_be_empty()  # the worker has loaded its libraries
    wait_until(lambda: not worker_is_computing(site))
    open_view(form, "choose")
    form.get_by_label("Which chat format", exact=True).select_option(label="One of your own, pasted or uploaded")
    form.locator("#format-text").fill(ENDLESS_ON_ROWS + (ROOT / "presets/pocket/chat_template.jinja").read_text())
    wait_until(lambda: "template" in current_setup(form)["model"])
    open_view(form, "check")
    form.wait_for_timeout(8_000)  # more than a form's own trial of a format may take
    assert worker_is_computing(site)
    form.close()
    wait_until(lambda: not worker_is_computing(site), 20)
