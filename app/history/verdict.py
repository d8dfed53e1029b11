"""Verdict on a run: its first and last evaluation in one sentence, and a next step when it improved little."""

from __future__ import annotations

import math
from collections.abc import Sequence

from app.history import metric_labels
from app.history.summary import EvalComparison, compare_evals, eval_metrics
from app.runs.events import Event, StepEvent, last_of_type
from app.setup.spec import Spec

_FEW_STEPS = 60  # fewer rarely teach a model anything new
_ENOUGH_STEPS = 120  # a good first attempt
_MAX_EPOCHS = 1000  # of a suggestion
_LOW_SHARE = 0.5  # a final score from 0 to this is low


def verdict(run_events: Sequence[Event], spec: Spec, eval_count: int) -> str:
    """The verdict; empty when there are not two evaluations. eval_count: held-out examples in one evaluation."""
    comparison = compare_evals(eval_metrics(run_events))
    if comparison is None:
        return ""
    name, before, after = comparison.name, comparison.first_text, comparison.last_text
    subject = "the loss" if name == "loss" else f"“{metric_labels.eval_labels(spec.to_dict()).get(name, name)}”"
    verb = "rose" if comparison.last > comparison.first else "fell"
    change = f"stayed at {after}" if before == after else f"{verb} from {before} to {after}"
    eval_examples = f"{eval_count:,} example{'s' if eval_count != 1 else ''}" if eval_count else "examples"
    direction_note = " (lower is better)" if name == "loss" else ""
    next_step = _next_step(last_of_type(run_events, StepEvent), spec, comparison)
    return f"On {eval_examples} it never saw, {subject} {change}{direction_note}.{next_step}"


def _next_step(last_step: StepEvent | None, spec: Spec, comparison: EvalComparison) -> str:
    """What to try next when the model improved little; empty when it went well or was stopped early."""
    steps, all_steps = (last_step.step, last_step.of) if last_step else (0, 0)
    is_loss, first, last = comparison.name == "loss", comparison.first, comparison.last
    has_improved = last < first if is_loss else last > first
    is_low = not is_loss and 0 <= last < _LOW_SHARE
    if steps < all_steps or (has_improved and not (is_low and steps < _FEW_STEPS)):
        return ""
    epochs = spec.knobs.get("epochs")
    if steps < _FEW_STEPS and epochs and not spec.knobs.get("steps"):
        suggested_epochs = min(_MAX_EPOCHS, math.ceil(epochs * _ENOUGH_STEPS / max(1, steps)))
        return f" {steps} steps are few: try {suggested_epochs} epochs, which make about {_ENOUGH_STEPS}."
    if steps < _FEW_STEPS:
        return f" {steps} steps are few: try {_ENOUGH_STEPS}."
    return " Look at its answers: more examples, easier ones, or another learning rate may help."
