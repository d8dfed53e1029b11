"""The evening: somebody who never trained a model lands, looks, trains, stops, goes on, talks to the result and publishes it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import Site, Visit
from tests.browser.test_watch import POINTS as points  # how many points of the loss are drawn
from tests.hub import LocalHub

pytestmark = pytest.mark.slow

TUNED_IN, PUSHED_IN = 4, 12  # clicks, at most
LOADED = """
import json, sys
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer
repo, prompt = sys.argv[1:]
model = AutoPeftModelForCausalLM.from_pretrained(repo).eval()
tokenizer = AutoTokenizer.from_pretrained(repo)
asked = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True, return_tensors="pt", return_dict=True)
said = model.generate(**asked, max_new_tokens=256, do_sample=False)
print(json.dumps(tokenizer.decode(said[0, asked["input_ids"].shape[1]:], skip_special_tokens=True)))
"""


@pytest.fixture(scope="module")
def site(signed_in: Site) -> Site:
    return signed_in


class Clicks:
    """Counts what a person's finger does."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, what: Locator) -> None:
        self.made.append(what.inner_text().strip())
        what.click()


@pytest.mark.timeout(900)  # a whole evening on cores that may be shared
def test_a_first_evening(page: Page, visit: Visit, site: Site, chromium: Browser, hub: LocalHub, tmp_path: Path) -> None:  # fmt: skip
    click = Clicks()
    click(page.get_by_role("button", name="Try it in a minute"))

    expect(page.locator("#example .tokens .token.trained").first).to_be_visible()
    assert '"team"' in "".join(page.locator("#example .tokens .token.trained").all_inner_texts())

    click(page.get_by_role("button", name="Start training"))
    expect(page.locator("#view-watch")).to_be_visible()
    page.wait_for_function(f"({points})() >= 3")
    expect(page.locator("#stop")).to_be_visible()  # the curve moved before the run ended

    at = page.evaluate(points)
    page.reload()
    page.wait_for_function(f"at => ({points})() >= at", arg=at)
    another = visit.context.new_page()  # a second tab
    another.goto(page.url)
    another.wait_for_function(f"at => ({points})() >= at", arg=at)

    extra = Clicks()  # stopping and going on is not part of the shortest way
    extra(page.locator("#stop"))
    expect(page.locator("#progress")).to_contain_text("Stopped")
    stopped = page.evaluate(points)
    extra(page.locator("#resume"))
    page.wait_for_function(f"at => ({points})() > at", arg=stopped)
    expect(page.locator("#try-it")).to_be_visible()
    expect(page.locator("#progress .verdict")).to_contain_text("never saw")
    assert len(click.made) <= TUNED_IN
    assert another.evaluate(points) == page.evaluate(points)  # the same picture
    another.close()

    click(page.locator("#try-it"))
    chip = page.locator("#talk-prompts [data-prompt]").first
    prompt = chip.inner_text()
    click(chip)
    expect(page.locator("#talk-answers .tuned small")).to_contain_text("tokens in")
    tuned = page.locator("#talk-answers .tuned .words-said").inner_text()
    base = page.locator("#talk-answers .base .words-said").inner_text()
    assert tuned != base
    assert json.loads(tuned).keys() == {"team", "urgent"}

    click(page.locator("#talk-publish"))
    expect(page.locator("#publish-who")).to_contain_text("alice")
    click(page.locator("#publish-push"))
    expect(page.locator("#publish-done")).to_contain_text("alice/")
    assert len(click.made) <= PUSHED_IN, click.made
    print(f"{len(click.made)} clicks: {click.made}")

    repo = re.search(r"alice/[\w.-]+", page.locator("#publish-done").inner_text()).group()
    assert answer_of(repo, prompt, hub, tmp_path) == tuned


def answer_of(repo: str, prompt: str, local_hub: LocalHub, cache: Path) -> str:
    """What the published adapter says, loaded by somebody else's few lines in a process of its own."""
    environment = os.environ | local_hub.environment(cache)
    done = subprocess.run([sys.executable, "-c", LOADED, repo, prompt], cwd=cache, env=environment, capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])
