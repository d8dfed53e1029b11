"""The result that an engine leaves: the model of the last step, or the checkpoint that did best on the held-out rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from app.runs import checkpoints
from app.runs.events import NoteEvent
from app.runs.result import ResultRecord, copy_from_checkpoint

if TYPE_CHECKING:
    from transformers import TrainerState

    from app.engine.callback import EventCallback
    from app.runs.store import Run


def choose_result(run: Run, callback: EventCallback, state: TrainerState, draft: Path) -> ResultRecord:
    """What the result is. Where another checkpoint than the last is the best, its files replace those in the draft, which
    holds the model of the last step."""
    scores, last_step = callback.scores, state.global_step
    best = (
        checkpoints.best_of(checkpoints.usable_checkpoints(run.checkpoints), scores.metric) if scores.metric else None
    )
    best_step = checkpoints.checkpoint_step(best) if best else None
    _note_damaged_best(run, callback, best_step)
    result_step = best_step if best_step is not None and callback.job.knobs.keep_best else last_step
    if best and result_step != last_step:
        copy_from_checkpoint(best, draft)
    return {
        "step": result_step,
        "last_step": last_step,
        "of": state.max_steps,
        "metric": scores.metric if best else None,
        "best_step": best_step,
        "best": None if best_step is None else scores.value(best_step),
        "last": scores.value(last_step),
        "patience": callback.job.knobs.early_stopping_patience if callback.why == "early" else None,
    }


def _note_damaged_best(run: Run, callback: EventCallback, best_step: int | None) -> None:
    """A note where a better checkpoint than the best usable one is damaged."""
    best_score = callback.scores.by_step.get(best_step, float("-inf")) if best_step is not None else float("-inf")
    for path in checkpoints.complete_checkpoints(run.checkpoints):
        step, fault = checkpoints.checkpoint_step(path), checkpoints.fault_of(path)
        if fault and callback.scores.by_step.get(step, best_score) > best_score:
            text = f"The checkpoint of step {step} did better on the held-out examples, but it is damaged ({fault})."
            callback.emitter.emit(NoteEvent, level="careful", text=text)
