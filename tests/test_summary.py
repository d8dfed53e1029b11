"""Run summary: the result in a few words and the sparkline, both computed from the events of the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.history import summary
from tests.support import typed_events


def step_event(step_number: int, total_steps: int = 120, **metrics: float | None) -> dict[str, Any]:
    return {"kind": "step", "step": step_number, "of": total_steps, "metrics": {"train/loss": 1.0} | metrics}


def eval_event(step_number: int, **metrics: float | None) -> dict[str, Any]:
    eval_metrics = {f"eval/{name}": metric for name, metric in metrics.items()}
    return {"kind": "eval", "step": step_number, "set": "holdout", "metrics": eval_metrics}


OUT_OF_MEMORY = {"kind": "failed", "reason": "out_of_memory", "text": "a", "advice": "b"}


@pytest.mark.parametrize(("state", "events", "expected_text"), [
    ("training", [step_event(3)], None),
    ("stopped", [step_event(84)], "stopped at 84 of 120"),
    ("stopped", [], "stopped before the first step"),
    ("lost", [step_event(1200, 5000)], "lost at 1,200 of 5,000"),
    ("failed", [step_event(3), OUT_OF_MEMORY], "out of memory"),
    ("finished", [eval_event(0, loss=2.0, correct=0.0), step_event(120), eval_event(120, loss=0.1, correct=0.94)], "0 % → 94 %"),
    ("finished", [eval_event(0, loss=2.314), step_event(120), eval_event(120, loss=0.1249)], "2.31 → 0.12"),
    ("finished", [eval_event(0, points=1.5), step_event(120), eval_event(120, points=12.25)], "1.5 → 12.2"),
    ("finished", [eval_event(0, correct=None), eval_event(120, correct=0.5), step_event(120)], "120 steps"),
    ("finished", [step_event(120), eval_event(120, correct=0.5)], "120 steps"),
])  # fmt: skip
def test_the_result_of_a_run_is_given_in_a_few_words(
    state: str, events: list[dict[str, Any]], expected_text: str | None
) -> None:
    assert summary.result_text(state, typed_events(*events)) == expected_text


def test_the_sparkline_holds_bin_means_scaled_from_0_to_1() -> None:
    events = [
        step_event(step_number, **{"train/loss": loss}) for step_number, loss in enumerate([4.0, 3.0, None, 2.0], 1)
    ]
    assert summary.sparkline(typed_events(*events)) == [1.0, 0.5, 0.0]
    many_events = [step_event(step_number, **{"train/loss": float(step_number)}) for step_number in range(1, 49)]
    assert summary.sparkline(typed_events(*many_events)) == [round(index / 23, 3) for index in range(24)]


def test_the_sparkline_shows_the_reward_if_there_is_one() -> None:
    events = [
        step_event(step_number, **{"train/loss": -step_number, "reward/mean": step_number}) for step_number in (1, 2)
    ]
    assert summary.sparkline(typed_events(*events)) == [0.0, 1.0]


def test_the_sparkline_of_a_constant_loss_is_flat_and_that_of_no_events_is_empty() -> None:
    assert summary.sparkline(typed_events(step_event(1), step_event(2))) == [0.5, 0.5]
    assert summary.sparkline([]) == []


def test_the_eval_score_is_a_single_number_and_higher_is_better() -> None:
    assert summary.eval_score({"eval/loss": 0.5, "eval/correct": 0.25}) == 0.25
    assert summary.eval_score({"eval/loss": 0.5}) == -0.5
    assert summary.eval_score({"eval/correct": None}) is None


def test_a_very_large_events_file_is_sampled(tmp_path: Path) -> None:
    """The sample holds the first eval, the last eval, and enough steps between them for the sparkline."""
    step_count = 50_000
    events = [eval_event(0, correct=0.0), *(step_event(step_number, step_count, **{"train/loss": 1 - step_number / step_count}) for step_number in range(1, step_count + 1)),
             eval_event(step_count, correct=1.0), {"kind": "done", "why": "finished"}]  # fmt: skip
    lines = [json.dumps({"seq": seq, "attempt": 1, "time": 1.0} | event) for seq, event in enumerate(events, 1)]
    path = tmp_path / "events.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    assert path.stat().st_size > 10 * summary.FULL_READ_BYTES
    sampled_events = summary.sample_events(path)
    assert 100 < len(sampled_events) < step_count / 5
    assert [event.seq for event in sampled_events] == sorted({event.seq for event in sampled_events})
    assert summary.result_text("finished", sampled_events) == "0 % → 100 %"
    sparkline = summary.sparkline(sampled_events)
    assert len(sparkline) == summary.SPARKLINE_POINTS
    assert sparkline == sorted(sparkline, reverse=True)
