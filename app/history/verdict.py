"""Verdict on a run: its first and last evaluation in one sentence, and a next step when it improved little."""

from __future__ import annotations

import math
from typing import Any

from app.history import metric_labels, summary
from app.setup.spec import Spec

_FEW_STEPS = 60  # fewer rarely teach a model anything new
_ENOUGH_STEPS = 120  # a good first attempt
_MAX_EPOCHS = 1000  # of a suggestion
_LOW_SHARE = 0.5  # a final score from 0 to this is low


def verdict(events: list[dict[str, Any]], spec: Spec, eval_count: int) -> str:
    """The verdict; empty when there are not two evaluations. eval_count: held-out examples in one evaluation."""
    comparison = summary.compare_evals(events)
    if comparison is None:
        return ""
    name, before, after = comparison
    first, last = _first_and_last(events, f"eval/{name}")
    subject = "the loss" if name == "loss" else f"“{metric_labels.eval_labels(spec.to_dict()).get(name, name)}”"
    change = (
        f"stayed at {after}" if before == after else f"{'rose' if last > first else 'fell'} from {before} to {after}"
    )
    eval_examples = f"{eval_count:,} example{'s' if eval_count != 1 else ''}" if eval_count else "examples"
    direction_note = " (lower is better)" if name == "loss" else ""
    return f"On {eval_examples} it never saw, {subject} {change}{direction_note}.{_next_step(events, spec, name, first, last)}"


def _first_and_last(events: list[dict[str, Any]], name: str) -> tuple[float, float]:
    """The metric in the first and in the last evaluation."""
    values = [event["metrics"].get(name) for event in events if event["kind"] == "eval"]
    return values[0], values[-1]


def _next_step(events: list[dict[str, Any]], spec: Spec, name: str, first: float, last: float) -> str:
    """What to try next when the model improved little; empty when it went well or was stopped early."""
    step = summary.last_of_kind(events, "step") or {"step": 0, "of": 0}
    steps, has_improved = step["step"], last < first if name == "loss" else last > first
    is_low = name != "loss" and 0 <= last < _LOW_SHARE
    if steps < step["of"] or (has_improved and not (is_low and steps < _FEW_STEPS)):
        return ""
    epochs = spec.knobs.get("epochs")
    if steps < _FEW_STEPS and epochs and not spec.knobs.get("steps"):
        suggested_epochs = min(_MAX_EPOCHS, math.ceil(epochs * _ENOUGH_STEPS / max(1, steps)))
        return f" {steps} steps are few: try {suggested_epochs} epochs, which make about {_ENOUGH_STEPS}."
    if steps < _FEW_STEPS:
        return f" {steps} steps are few: try {_ENOUGH_STEPS}."
    return " Look at its answers: more examples, easier ones, or another learning rate may help."
