"""The result that an engine leaves: the model of the last step, or the checkpoint that did best on the held-out rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from app.runs import checkpoints
from app.runs.result import ResultRecord, copy_from_checkpoint

if TYPE_CHECKING:
    from transformers import TrainerState

    from app.engine.callback import EventCallback
    from app.engine.evaluation.eval_scores import EvalScores
    from app.runs.store import Run


def choose_result(run: Run, callback: EventCallback, state: TrainerState, draft: Path) -> ResultRecord:
    """What the result is. Where another checkpoint than the last is the best, its files replace those in the draft, which
    holds the model of the last step."""
    scores, last_step = callback.scores, state.global_step
    best = (
        checkpoints.best_of(checkpoints.usable_checkpoints(run.checkpoints), scores.metric) if scores.metric else None
    )
    best_step = checkpoints.checkpoint_step(best) if best else None
    result_step = best_step if best_step is not None and callback.job.knobs.keep_best else last_step
    if best and result_step != last_step:
        copy_from_checkpoint(best, draft)
    return {
        "step": result_step,
        "last_step": last_step,
        "of": state.max_steps,
        "metric": scores.metric,
        "best_step": best_step,
        "best": None if best_step is None else scores.value(best_step),
        "last": scores.value(last_step),
        "lost_step": _lost_step(scores, best_step),
        "patience": callback.job.knobs.early_stopping_patience if callback.why == "early" else None,
    }


def _lost_step(scores: EvalScores, best_step: int | None) -> int | None:
    """The step that measured best, where its checkpoint can no longer be used; None where it can."""
    trained_steps = {step: score for step, score in scores.by_step.items() if step > 0}
    if best_step is not None:
        best_score = trained_steps.get(best_step, float("inf"))  # its event line may be damaged
        trained_steps = {step: score for step, score in trained_steps.items() if score > best_score}
    return max(trained_steps, key=trained_steps.__getitem__, default=None)
