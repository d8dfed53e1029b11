"""Verdict: what a run came to, in a sentence: its first and its last test, and a next step where that is little."""

from __future__ import annotations

import math
from typing import Any

from app.history import metric_labels, summary
from app.setup.spec import Spec

FEW, ENOUGH = 60, 120  # steps: fewer seldom teach anything new; so many are a good first attempt
PASSES = 1000  # at most
SELDOM = 0.5  # right in fewer than half of the cases


def verdict(story: list[dict[str, Any]], spec: Spec, tested: int) -> str:
    """tested: how many held-out examples the tests asked about. Empty where there was nothing to compare."""
    found = summary.compared(story)
    if found is None:
        return ""
    name, before, after = found
    first, last = ends(story, f"eval/{name}")
    what = "the loss" if name == "loss" else f"“{metric_labels.measures(spec.to_dict()).get(name, name)}”"
    went = f"stayed at {after}" if before == after else f"{'rose' if last > first else 'fell'} from {before} to {after}"
    on = f"{tested:,} example{'s' if tested != 1 else ''}" if tested else "examples"
    lower = " (lower is better)" if name == "loss" else ""
    return f"On {on} it never saw, {what} {went}{lower}.{next_step(story, spec, name, first, last)}"


def ends(story: list[dict[str, Any]], name: str) -> tuple[float, float]:
    values = [event["metrics"].get(name) for event in story if event["kind"] == "eval"]
    return values[0], values[-1]


def next_step(story: list[dict[str, Any]], spec: Spec, name: str, first: float, last: float) -> str:
    """What to try where little was learned; nothing to say where it went well, or was stopped on the way."""
    step = summary.last(story, "step") or {"step": 0, "of": 0}
    steps, better = step["step"], last < first if name == "loss" else last > first
    seldom = name != "loss" and 0 <= last < SELDOM
    if steps < step["of"] or (better and not (seldom and steps < FEW)):
        return ""
    epochs = spec.knobs.get("epochs")
    if steps < FEW and epochs and not spec.knobs.get("steps"):
        passes = min(PASSES, math.ceil(epochs * ENOUGH / max(1, steps)))
        return f" {steps} steps are few: try {passes} epochs, which make about {ENOUGH}."
    if steps < FEW:
        return f" {steps} steps are few: try {ENOUGH}."
    return " Look at its answers: more examples, easier ones, or another learning rate may help."
