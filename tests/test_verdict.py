"""Verdict: what a run improved in one sentence, after what went wrong."""

from __future__ import annotations

from typing import Any

import pytest

from app.history import metric_labels
from app.history.verdict import verdict
from app.planning import presets
from tests.support import typed_events

SPEC = presets.preset_spec("first_tune")


def run_events(
    first_metrics: dict[str, float], last_metrics: dict[str, float], steps: int, total_steps: int | None = None
) -> list[dict[str, Any]]:
    step_events = [{"kind": "step", "step": steps, "of": total_steps or steps, "metrics": {}}]
    eval_events = [
        {"kind": "eval", "step": step, "set": "holdout", "metrics": {f"eval/{name}": metric for name, metric in metrics.items()}}
        for step, metrics in ((0, first_metrics), (steps, last_metrics))
    ]  # fmt: skip
    return [eval_events[0], *step_events, eval_events[1], {"kind": "done", "why": "finished"}]


@pytest.mark.parametrize(("events", "expected_text"), [
    (run_events({"correct": 0.0}, {"correct": 1.0}, 125), "On 100 examples it never saw, “exactly the right answer” rose from 0 % to 100 %."),
    (run_events({"loss": 4.38}, {"loss": 0.05}, 125), "On 100 examples it never saw, the loss fell from 4.38 to 0.05 (lower is better)."),
    (run_events({"correct": 0.5, "loss": 3.0}, {"correct": 0.75, "loss": 2.0}, 125), "“exactly the right answer” rose from 50 % to 75 %, and the loss fell from 3.00 to 2.00 (lower is better)."),
    (run_events({"correct": 0.0, "loss": 3.0}, {"correct": 0.0, "loss": 2.0}, 125), "On 100 examples it never saw, the loss fell from 3.00 to 2.00 (lower is better)."),
    (run_events({"correct": 0.0}, {"correct": 0.0}, 20), "20 steps are few: let it make about 120. If that changes nothing, check whether labels or answers are assigned to the right rows, or bring more examples.\nOn 100 examples it never saw, “exactly the right answer” stayed at 0 %."),
    (run_events({"correct": 0.0}, {"correct": 0.0}, 12), "12 steps are few: it ended while it had only begun to learn. Let it make about 120.\nOn 100"),
    (run_events({"correct": 0.5}, {"correct": 0.25}, 125), "It learned nothing that carries over to examples it never saw"),
    (run_events({"correct": 0.0}, {"correct": 0.0}, 20, total_steps=125), "stayed at 0 %."),
    ([], ""),
])  # fmt: skip
def test_the_verdict_compares_the_first_and_the_last_eval(events: list[dict[str, Any]], expected_text: str) -> None:
    verdict_text = verdict(typed_events(*events), SPEC, 100)
    assert expected_text in verdict_text
    assert bool(verdict_text) == bool(expected_text)


def test_a_stopped_or_successful_run_gets_no_advice() -> None:
    stopped = [*run_events({"correct": 0.0}, {"correct": 0.0}, 20, total_steps=125)[:-1], {"kind": "done", "why": "stopped"}]  # fmt: skip
    successful = run_events({"correct": 0.0}, {"correct": 0.9}, 20)
    assert verdict(typed_events(*stopped), SPEC, 1) == "On 1 example it never saw, “exactly the right answer” stayed at 0 %."  # fmt: skip
    assert verdict(typed_events(*successful), SPEC, 1).endswith("90 %.")
    assert "\n" not in verdict(typed_events(*successful), SPEC, 1)


def test_metrics_of_a_method_and_its_rewards_have_labels() -> None:
    spec = {"method": "dpo", "rewards": [{"name": "exact_match"}, {"name": "contains", "as": "polite"}, {"name": "contains", "as": "short_one"}]}  # fmt: skip
    assert metric_labels.eval_labels(spec) == {"preferred": "the better answer is likelier", "exact_match": "exactly the right answer",
                                     "polite": "polite", "short_one": "short one"}  # fmt: skip
    labels = metric_labels.labels_by_metric(spec)
    assert labels["eval/preferred"] == "held-out: the better answer is likelier"
    assert labels["prefer/margin"] == "margin between better and worse"
    assert labels["reward/polite/mean"] == "polite"
    assert metric_labels.labels_by_metric({"method": "of tomorrow"}) == metric_labels.COMMON_LABELS
