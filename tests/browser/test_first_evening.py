"""A first-time user in a real browser: previews a preset, trains, stops, resumes, chats with the result and publishes it to the Hub."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import BrowserTab, Site
from tests.browser.test_watch import LOSS_POINT_COUNT as LOSS_POINT_COUNT_JS  # number of loss points in the chart
from tests.hub import LocalHub

pytestmark = pytest.mark.slow

MAX_CLICKS_TO_TRAIN, MAX_CLICKS_TO_PUBLISH = 4, 12
GENERATE_SCRIPT = """
import json, sys
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer
repo, prompt = sys.argv[1:]
model = AutoPeftModelForCausalLM.from_pretrained(repo).eval()
tokenizer = AutoTokenizer.from_pretrained(repo)
inputs = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True)
output_ids = model.generate(**inputs, max_new_tokens=256, do_sample=False)
print(json.dumps(tokenizer.decode(output_ids[0, inputs["input_ids"].shape[1]:], skip_special_tokens=True)))
"""


@pytest.fixture(scope="module")
def site(signed_in_site: Site) -> Site:
    return signed_in_site


class ClickRecorder:
    """Clicks locators and records the label of each."""

    def __init__(self) -> None:
        self.labels: list[str] = []

    def __call__(self, locator: Locator) -> None:
        self.labels.append(locator.inner_text().strip())
        locator.click()


@pytest.mark.timeout(900)  # the full sequence, on cores that may be shared
def test_a_first_time_user_trains_stops_resumes_chats_and_publishes(page: Page, tab: BrowserTab, site: Site, chromium: Browser, hub: LocalHub, tmp_path: Path) -> None:  # fmt: skip
    click = ClickRecorder()
    click(page.get_by_role("button", name="Try it in a minute"))

    expect(page.locator("#example .tokens .token.trained").first).to_be_visible()
    assert '"team"' in "".join(page.locator("#example .tokens .token.trained").all_inner_texts())

    click(page.get_by_role("button", name="Start training"))
    expect(page.locator("#view-watch")).to_be_visible()
    page.wait_for_function(f"({LOSS_POINT_COUNT_JS})() >= 3")
    expect(page.locator("#stop")).to_be_visible()  # the run is still active when the chart has points

    point_count = page.evaluate(LOSS_POINT_COUNT_JS)
    page.reload()
    page.wait_for_function(f"pointCount => ({LOSS_POINT_COUNT_JS})() >= pointCount", arg=point_count)
    second_tab = tab.context.new_page()
    second_tab.goto(page.url)
    second_tab.wait_for_function(f"pointCount => ({LOSS_POINT_COUNT_JS})() >= pointCount", arg=point_count)

    click_extra = ClickRecorder()  # stop and resume are not part of the shortest sequence
    click_extra(page.locator("#stop"))
    expect(page.locator("#progress")).to_contain_text("Stopped")
    points_when_stopped = page.evaluate(LOSS_POINT_COUNT_JS)
    click_extra(page.locator("#resume"))
    page.wait_for_function(f"pointCount => ({LOSS_POINT_COUNT_JS})() > pointCount", arg=points_when_stopped)
    expect(page.locator("#try-it")).to_be_visible()
    expect(page.locator("#progress .verdict")).to_contain_text("never saw")
    assert len(click.labels) <= MAX_CLICKS_TO_TRAIN
    assert second_tab.evaluate(LOSS_POINT_COUNT_JS) == page.evaluate(
        LOSS_POINT_COUNT_JS
    )  # both tabs draw the same chart
    second_tab.close()

    click(page.locator("#try-it"))
    prompt_button = page.locator("#talk-prompts [data-prompt]").first
    prompt = prompt_button.inner_text()
    click(prompt_button)
    expect(page.locator("#talk-answers .tuned small")).to_contain_text("tokens in")
    tuned_answer = page.locator("#talk-answers .tuned .words-said").inner_text()
    base_answer = page.locator("#talk-answers .base .words-said").inner_text()
    assert tuned_answer != base_answer
    assert json.loads(tuned_answer).keys() == {"team", "urgent"}

    click(page.locator("#talk-publish"))
    expect(page.locator("#publish-who")).to_contain_text("alice")
    click(page.locator("#publish-push"))
    expect(page.locator("#publish-done")).to_contain_text("alice/")
    assert len(click.labels) <= MAX_CLICKS_TO_PUBLISH, click.labels
    print(f"{len(click.labels)} clicks: {click.labels}")

    repo = re.search(r"alice/[\w.-]+", page.locator("#publish-done").inner_text()).group()
    assert answer_of_published_adapter(repo, prompt, hub, tmp_path) == tuned_answer


def answer_of_published_adapter(repo: str, prompt: str, local_hub: LocalHub, cache: Path) -> str:
    """The answer of the published adapter, loaded by an independent script in its own process."""
    environment = os.environ | local_hub.environment(cache)
    process = subprocess.run([sys.executable, "-c", GENERATE_SCRIPT, repo, prompt], cwd=cache, env=environment, capture_output=True, text=True)  # fmt: skip
    assert process.returncode == 0, process.stderr[-2000:]
    return json.loads(process.stdout.splitlines()[-1])
