"""Verdict: what a run came to in a sentence, and what to try where that is little."""

from __future__ import annotations

from typing import Any

import pytest

from app.history import metric_labels
from app.history.verdict import verdict
from app.planning import presets
from tests.support import typed_events

SPEC = presets.preset_spec("first_tune")


def story(first: dict[str, float], last: dict[str, float], steps: int, of: int | None = None) -> list[dict[str, Any]]:
    taken = [{"kind": "step", "step": steps, "of": of or steps, "metrics": {}}]
    tests = [{"kind": "eval", "step": 0, "set": "holdout", "metrics": {f"eval/{name}": value for name, value in found.items()}} for found in (first, last)]  # fmt: skip
    return [tests[0], *taken, tests[1]]


@pytest.mark.parametrize(("told", "words"), [
    (story({"correct": 0.0}, {"correct": 1.0}, 125), "On 100 examples it never saw, “exactly the right answer” rose from 0 % to 100 %."),
    (story({"loss": 4.38}, {"loss": 0.05}, 125), "On 100 examples it never saw, the loss fell from 4.38 to 0.05 (lower is better)."),
    (story({"correct": 0.0}, {"correct": 0.0}, 20), "stayed at 0 %. 20 steps are few: try 30 epochs, which make about 120."),
    (story({"correct": 0.0}, {"correct": 0.25}, 20), "rose from 0 % to 25 %. 20 steps are few: try 30 epochs"),
    (story({"correct": 0.5}, {"correct": 0.25}, 125), "fell from 50 % to 25 %. Look at its answers"),
    (story({"correct": 0.0}, {"correct": 0.0}, 20, of=125), "stayed at 0 %."),
    ([], ""),
])  # fmt: skip
def test_a_run_is_summed_up_in_a_sentence(told: list[dict[str, Any]], words: str) -> None:
    said = verdict(typed_events(*told), SPEC, 100)
    assert words in said
    assert bool(said) == bool(words)


def test_a_run_that_was_stopped_or_went_well_gets_no_advice() -> None:
    assert verdict(typed_events(*story({"correct": 0.0}, {"correct": 0.0}, 20, of=125)), SPEC, 1).endswith(
        "stayed at 0 %."
    )
    assert verdict(typed_events(*story({"correct": 0.0}, {"correct": 0.9}, 20)), SPEC, 1).startswith(
        "On 1 example it never saw"
    )
    assert verdict(typed_events(*story({"correct": 0.0}, {"correct": 0.9}, 20)), SPEC, 1).endswith("90 %.")


def test_a_method_says_its_own_numbers_in_words() -> None:
    spec = {"method": "dpo", "rewards": [{"name": "exact_match"}, {"name": "contains", "as": "polite"}, {"name": "contains", "as": "short_one"}]}  # fmt: skip
    assert metric_labels.eval_labels(spec) == {"preferred": "the better answer is likelier", "exact_match": "exactly the right answer",
                                     "polite": "polite", "short_one": "short one"}  # fmt: skip
    names = metric_labels.labels_by_metric(spec)
    assert names["eval/preferred"] == "held-out: the better answer is likelier"
    assert names["prefer/margin"] == "margin between better and worse"
    assert names["reward/polite/mean"] == "polite"
    assert metric_labels.labels_by_metric({"method": "of tomorrow"}) == metric_labels.COMMON_LABELS
