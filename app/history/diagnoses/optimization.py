"""Diagnoses of how a run optimized: learning rates that are far off, exploding losses, numbers that end, too few steps."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

from app.contracts import Remedy
from app.history.diagnoses.evidence import Diagnosis, Evidence, rate_remedy

_MIN_STEPS = 8  # before that, a loss has no trend
_SPIKE = 2.0  # times the loss at the start
_RECOVERED = 0.5  # of the held-out loss at the start: it learned in spite of a spike
_HUGE_GRADIENT = 100.0  # norm; usual ones are around 1
_ROSE, _STAYED, _PAIRS_ROSE = 1.1, 0.8, 2.0  # times the loss at the start
_SMALL_LOSS = 0.1  # below it, a loss may rise to a multiple without meaning
_FAR_ABOVE, _JUMP = 5.0, 1.5  # times the usual rate; times the loss at the start
_UNMOVED = 0.9  # share of the loss at the start that is left
_FAR_BELOW = 0.1  # times the usual rate
_STILL_FALLING = 0.9  # the loss of the last third is below this share of the third before
VERY_FEW_STEPS = 20  # a loss that still falls could have fallen further
FEW_STEPS = 60  # fewer rarely teach a model anything new
ENOUGH_STEPS = 120  # a good first attempt
_MAX_EPOCHS = 1000  # of a suggestion


def diagnose_optimization(run: Evidence) -> Iterator[Diagnosis | None]:
    """What is wrong with how the run optimizes, the gravest first."""
    yield _not_a_number(run)
    yield _exploded(run) or _rate_too_high(run)


def diagnose_effort(run: Evidence) -> Iterator[Diagnosis | None]:
    """That too little was done to learn anything."""
    yield _rate_too_low(run) or _too_few_steps(run)


def _not_a_number(run: Evidence) -> Diagnosis | None:
    if run.failure is None or run.failure.reason != "diverged":
        return None
    return Diagnosis(
        "not_a_number",
        "numbers ended",
        "wrong",
        run.failure.text,
        run.failure.advice,
        rate_remedy(run, run.lower_rate)
        if run.step > 1
        else None,  # at the first step no rate has changed anything yet
    )


def _exploded(run: Evidence) -> Diagnosis | None:
    """A loss that shot up where gradients are not clipped."""
    losses, clip = run.values("train/loss"), run.spec.knobs.get("max_grad_norm")
    norms = run.values("train/grad_norm")
    if clip != 0 or not run.loss_tells or len(losses) < 2 or not norms:
        return None
    start = max(abs(losses[0]), 0.1)
    if max(losses) < _SPIKE * start and max(norms) < _HUGE_GRADIENT:
        return None
    held_out = run.ends("eval/loss")
    if held_out and held_out[1] < _RECOVERED * held_out[0]:
        return None
    return Diagnosis(
        "loss_exploded",
        "the loss exploded",
        "wrong",
        f"The loss exploded: from {losses[0]:.2f} to {max(losses):.3g} at its worst, with a gradient norm up to"
        f" {max(norms):.3g}, and nothing limited the corrections.",
        "Cap each correction (max_grad_norm 1), and lower the learning rate if that is not enough.",
        {"title": "Cap corrections at 1", "changes": {"knobs.max_grad_norm": 1.0}},
    )


def _rate_too_high(run: Evidence) -> Diagnosis | None:
    """The loss is higher than where it started, or the held-out loss is."""
    trend, held_out = run.trend("train/loss"), run.ends("eval/loss")
    if not run.loss_tells or trend is None or run.step < _MIN_STEPS:
        return None
    losses, last = run.values("train/loss"), trend[1]
    start = max(losses[0], _SMALL_LOSS)
    if not run.imitates:  # the loss of a few pairs scatters, and that of unlearnable ones rises on held-out pairs
        has_risen = last > _PAIRS_ROSE * start
    else:
        held_out_rose = held_out is not None and held_out[1] > _ROSE * max(held_out[0], _SMALL_LOSS)
        is_far_above = run.usual_rate is not None and run.rate > _FAR_ABOVE * run.usual_rate
        has_risen = (
            last > _ROSE * start
            or (held_out_rose and last > _STAYED * start)
            or (is_far_above and max(losses) > _JUMP * start)
        )
    if not has_risen:
        return None
    usual = f"; usual for this method and model is {run.usual_rate:g}" if run.usual_rate else ""
    return Diagnosis(
        "rate_too_high",
        "learning rate too high",
        "wrong",
        f"The learning rate of {run.rate:g} broke the model{usual}: the loss rose from {losses[0]:.2f} to {max(losses):.2f}"
        f" and is {last:.2f} now.",
        "Lower the learning rate and start again.",
        rate_remedy(run, run.lower_rate),
    )


def _rate_too_low(run: Evidence) -> Diagnosis | None:
    """Nothing moved, at a rate far below the usual."""
    if run.step < _MIN_STEPS or not run.usual_rate or run.rate >= _FAR_BELOW * run.usual_rate or run.has_improved:
        return None
    trend = run.trend("train/loss")
    if run.loss_tells and trend and trend[1] < _UNMOVED * trend[0]:
        return None
    return Diagnosis(
        "rate_too_low",
        "learning rate too low",
        "wrong" if run.is_over else "careful",
        f"Almost nothing changed: the learning rate of {run.rate:g} is far below what is usual for this method and model,"
        f" {run.usual_rate:g}.",
        "Raise the learning rate and start again.",
        rate_remedy(run, run.usual_rate),
    )


def _too_few_steps(run: Evidence) -> Diagnosis | None:
    """It ended while it was still learning."""
    if not run.is_over or run.step >= VERY_FEW_STEPS or run.step < run.of or not run.was_measured:
        return None
    losses = run.values("train/loss")
    third = len(losses) // 3
    is_falling = (
        run.loss_tells
        and third
        and statistics.fmean(losses[-third:]) < _STILL_FALLING * statistics.fmean(losses[-2 * third : -third])
    )
    if run.has_improved and not is_falling:
        return None
    return Diagnosis(
        "too_few_steps",
        "too few steps",
        "careful" if run.has_improved else "wrong",
        f"{run.step} step{'s' if run.step != 1 else ''} are few: it ended while it had only begun to learn.",
        f"Let it make about {ENOUGH_STEPS}.",
        more_steps(run),
    )


def more_steps(run: Evidence) -> Remedy:
    """The button that lets a run make enough steps."""
    epochs = run.spec.knobs.get("epochs")
    if isinstance(epochs, int | float) and not run.spec.knobs.get("steps"):
        passes_made = run.epoch or epochs  # an extended run has made more than its setup says
        suggested = min(_MAX_EPOCHS, math.ceil(passes_made * ENOUGH_STEPS / max(1, run.step)))
        return {"title": f"{suggested} passes, about {ENOUGH_STEPS} steps", "changes": {"knobs.epochs": suggested}}
    return {"title": f"{ENOUGH_STEPS} steps", "changes": {"knobs.steps": ENOUGH_STEPS}}
