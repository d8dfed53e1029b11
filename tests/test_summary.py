"""Outcome: a run in a few words and a small line, read from its story's parts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.history import summary
from tests.support import typed_events


def step(number: int, of: int = 120, **metrics: float | None) -> dict[str, Any]:
    return {"kind": "step", "step": number, "of": of, "metrics": {"train/loss": 1.0} | metrics}


def measured(number: int, **metrics: float | None) -> dict[str, Any]:
    named = {f"eval/{name}": value for name, value in metrics.items()}
    return {"kind": "eval", "step": number, "set": "holdout", "metrics": named}


OUT_OF_MEMORY = {"kind": "failed", "reason": "out_of_memory", "text": "a", "advice": "b"}


@pytest.mark.parametrize(("state", "story", "words"), [
    ("training", [step(3)], None),
    ("stopped", [step(84)], "stopped at 84 of 120"),
    ("stopped", [], "stopped before the first step"),
    ("lost", [step(1200, 5000)], "lost at 1,200 of 5,000"),
    ("failed", [step(3), OUT_OF_MEMORY], "out of memory"),
    ("finished", [measured(0, loss=2.0, correct=0.0), step(120), measured(120, loss=0.1, correct=0.94)], "0 % → 94 %"),
    ("finished", [measured(0, loss=2.314), step(120), measured(120, loss=0.1249)], "2.31 → 0.12"),
    ("finished", [measured(0, points=1.5), step(120), measured(120, points=12.25)], "1.5 → 12.2"),
    ("finished", [measured(0, correct=None), measured(120, correct=0.5), step(120)], "120 steps"),
    ("finished", [step(120), measured(120, correct=0.5)], "120 steps"),
])  # fmt: skip
def test_what_came_of_a_run_is_told_in_few_words(state: str, story: list[dict[str, Any]], words: str | None) -> None:
    assert summary.result_text(state, typed_events(*story)) == words


def test_a_small_line_goes_from_nought_to_one_by_means_of_even_stretches() -> None:
    story = [step(number, **{"train/loss": loss}) for number, loss in enumerate([4.0, 3.0, None, 2.0], 1)]
    assert summary.sparkline(typed_events(*story)) == [1.0, 0.5, 0.0]
    many = [step(number, **{"train/loss": float(number)}) for number in range(1, 49)]
    assert summary.sparkline(typed_events(*many)) == [round(place / 23, 3) for place in range(24)]


def test_a_small_line_shows_the_reward_where_there_is_one() -> None:
    story = [step(number, **{"train/loss": -number, "reward/mean": number}) for number in (1, 2)]
    assert summary.sparkline(typed_events(*story)) == [0.0, 1.0]


def test_a_level_run_and_an_empty_one_have_a_line_too() -> None:
    assert summary.sparkline(typed_events(step(1), step(2))) == [0.5, 0.5]
    assert summary.sparkline([]) == []


def test_a_test_is_one_number_and_more_is_better() -> None:
    assert summary.eval_score({"eval/loss": 0.5, "eval/correct": 0.25}) == 0.25
    assert summary.eval_score({"eval/loss": 0.5}) == -0.5
    assert summary.eval_score({"eval/correct": None}) is None


def test_a_very_long_story_is_looked_at_in_places(tmp_path: Path) -> None:
    """Its first test, its last one, and enough steps between for the line."""
    count = 50_000
    story = [measured(0, correct=0.0), *(step(n, count, **{"train/loss": 1 - n / count}) for n in range(1, count + 1)),
             measured(count, correct=1.0), {"kind": "done", "why": "finished"}]  # fmt: skip
    lines = [json.dumps({"seq": seq, "attempt": 1, "time": 1.0} | event) for seq, event in enumerate(story, 1)]
    path = tmp_path / "events.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines))
    assert path.stat().st_size > 10 * summary.FULL_READ_BYTES
    seen = summary.sample_events(path)
    assert 100 < len(seen) < count / 5
    assert [event.seq for event in seen] == sorted({event.seq for event in seen})
    assert summary.result_text("finished", seen) == "0 % → 100 %"
    line = summary.sparkline(seen)
    assert len(line) == summary.SPARKLINE_POINTS
    assert line == sorted(line, reverse=True)
