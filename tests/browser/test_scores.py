"""Scores: in Try, a reward model scores answers and a process reward model judges steps, and what a visitor writes is shown as text."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, expect

from app.runs.store import Run
from components import scores
from tests.browser.conftest import Site
from tests.support import build_spec, preference_rows, stepwise_rows, train_in_process, use_home, write_rows

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
KNOBS = {"steps": 10, "batch_size": 8, "learning_rate": 0.002}


@dataclass
class ScoringRuns:
    reward: Run
    process_reward: Run


@pytest.fixture(scope="module")
def scoring_runs(site: Site) -> ScoringRuns:
    home = site.home
    with use_home(home), pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        runs = [train_in_process(build_spec(method, write_rows(home / f"{method}.jsonl", rows), KNOBS, holdout={"share": 0.2}, title=method))[0]
                for method, rows in (("reward", preference_rows(48)), ("process_reward", stepwise_rows(48)))]  # fmt: skip
    return ScoringRuns(*runs)


def open_in_try(page: Page, run: Run) -> None:
    page.evaluate("run => tunesmith.go('try', run)", run.id)
    expect(page.locator("#opinion-body")).to_be_visible()


def field_text(page: Page, field: str) -> str:
    return page.locator(f"#opinion-{field} textarea").input_value()


def test_a_reward_model_compares_two_answers_in_words(page: Page, scoring_runs: ScoringRuns) -> None:
    open_in_try(page, scoring_runs.reward)
    expect(page.locator("#talk-body")).to_be_hidden()
    expect(page.locator("#opinion-steps")).to_be_hidden()
    expect(page.locator("#opinion-words")).to_contain_text("does not write")
    expect(page.locator("#view-try .words p")).to_be_hidden()
    assert field_text(page, "prompt").startswith("Count to")
    assert field_text(page, "first").startswith("Gladly.")
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


def test_a_process_reward_model_judges_each_step(page: Page, scoring_runs: ScoringRuns) -> None:
    open_in_try(page, scoring_runs.process_reward)
    expect(page.locator("#opinion-first")).to_be_hidden()
    assert len(field_text(page, "steps").splitlines()) == 2
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


@pytest.mark.full
def test_switching_between_results_shows_the_fields_of_each(page: Page, scoring_runs: ScoringRuns) -> None:
    for run, visible_field, hidden_field in (
        (scoring_runs.reward, "first", "steps"),
        (scoring_runs.process_reward, "steps", "first"),
    ) * 2:
        open_in_try(page, run)
        expect(page.locator(f"#opinion-{visible_field}")).to_be_visible()
        expect(page.locator(f"#opinion-{hidden_field}")).to_be_hidden()
    page.evaluate("tunesmith.go('try', '20260101-000000-gone-zzzz')")
    expect(page.locator("#opinion-body")).to_be_hidden()
    expect(page.locator("#view-try .words p")).to_be_visible()


@pytest.mark.parametrize(("answer_scores", "description"), [
    ([2.0, -1.0], "The first answer is better: by these scores it would be preferred 95 times in 100."),
    ([-1.0, 0.0], "The second answer is better: by these scores it would be preferred 73 times in 100."),
    ([0.5, 0.4], "It finds both about as good."), ([900.0, -900.0], "The first answer is better: by these scores it would be preferred 99 times in 100."),
])  # fmt: skip
def test_a_score_difference_is_described_in_words(answer_scores: list[float], description: str) -> None:
    """1 / (1 + e⁻³) = 0.953; 1 / (1 + e⁻¹) = 0.731."""
    assert scores.describe_scores(answer_scores) == description
