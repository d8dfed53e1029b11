"""Opinion: in Try, a result that scores says what it thinks of answers and of steps, and shows what strangers wrote as text."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, expect

from app.runs.store import Run
from components import scores
from tests.browser.conftest import Site
from tests.support import in_home, preferences, solutions, spec_of, trained_here, write_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
KNOBS = {"steps": 10, "batch_size": 8, "learning_rate": 0.002}


@dataclass
class Runs:
    reward: Run
    judge: Run


@pytest.fixture(scope="module")
def results(site: Site) -> Runs:
    home = site.home
    with in_home(home), pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        made = [trained_here(spec_of(method, write_rows(home / f"{method}.jsonl", rows), KNOBS, holdout={"share": 0.2}, title=method))[0]
                for method, rows in (("reward", preferences(48)), ("process_reward", solutions(48)))]  # fmt: skip
    return Runs(*made)


def go(page: Page, run: Run) -> None:
    page.evaluate("run => tunesmith.go('try', run)", run.id)
    expect(page.locator("#opinion-body")).to_be_visible()


def value(page: Page, name: str) -> str:
    return page.locator(f"#opinion-{name} textarea").input_value()


def test_two_answers_are_compared_in_plain_words(page: Page, results: Runs) -> None:
    go(page, results.reward)
    expect(page.locator("#talk-body")).to_be_hidden()
    expect(page.locator("#opinion-steps")).to_be_hidden()
    expect(page.locator("#opinion-words")).to_contain_text("does not write")
    expect(page.locator("#view-try .words p")).to_be_hidden()
    assert value(page, "prompt").startswith("Count to")
    assert value(page, "first").startswith("Gladly.")
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.locator(".judged-so")).to_contain_text("The first answer is better")
    first, second = (float(text.replace("−", "-")) for text in page.locator(".its-score").all_inner_texts())
    assert first > second
    page.locator("#opinion-second textarea").fill("")
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.locator(".its-score")).to_have_count(1)
    expect(page.locator(".judged-so")).to_contain_text("Give it a second answer")
    page.locator("#opinion-first textarea").fill(" ")
    page.get_by_role("button", name="Score", exact=True).click()
    expect(page.locator("#opinion-aside")).to_contain_text("There is nothing to judge yet")


def test_each_step_is_judged(page: Page, results: Runs) -> None:
    go(page, results.judge)
    expect(page.locator("#opinion-first")).to_be_hidden()
    assert len(value(page, "steps").splitlines()) == 2
    page.locator("#opinion-prompt textarea").fill("What is 5 + 0?")
    page.locator("#opinion-steps textarea").fill(
        "I add 5 and 0.\n\nIt is 5, no good.\n<img src=x onerror='window.hurt = 1'>"
    )
    page.get_by_role("button", name="Judge the steps").click()
    expect(page.locator(".judged li")).to_have_count(3)
    expect(page.locator(".judged-so")).to_have_text("Step 2 is the first that looks wrong.")
    expect(page.locator(".judged li").nth(0)).to_contain_text("right")
    expect(page.locator(".judged li").nth(1)).to_contain_text("wrong")
    expect(page.locator(".judged li").nth(2)).to_contain_text("<img src=x")
    assert page.evaluate("window.hurt") is None


def test_one_goes_back_and_forth_between_results(page: Page, results: Runs) -> None:
    for run, here, gone in ((results.reward, "first", "steps"), (results.judge, "steps", "first")) * 2:
        go(page, run)
        expect(page.locator(f"#opinion-{here}")).to_be_visible()
        expect(page.locator(f"#opinion-{gone}")).to_be_hidden()
    page.evaluate("tunesmith.go('try', '20260101-000000-gone-zzzz')")
    expect(page.locator("#opinion-body")).to_be_hidden()
    expect(page.locator("#view-try .words p")).to_be_visible()


@pytest.mark.parametrize(("found", "said"), [
    ([2.0, -1.0], "The first answer is better: by these scores it would be preferred 95 times in 100."),
    ([-1.0, 0.0], "The second answer is better: by these scores it would be preferred 73 times in 100."),
    ([0.5, 0.4], "It finds both about as good."), ([900.0, -900.0], "The first answer is better: by these scores it would be preferred 99 times in 100."),
])  # fmt: skip
def test_a_difference_of_scores_in_words(found: list[float], said: str) -> None:
    """1 / (1 + e⁻³) = 0.953; 1 / (1 + e⁻¹) = 0.731."""
    assert scores.describe_scores(found) == said
