"""Event callback: watches the training loop, emits its events, and carries out what a person requests of the run."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from app.core.json_types import JsonObject
from app.engine.control import Control
from app.engine.datasets.eval_tables import evaluated_on
from app.engine.emitter import Emitter
from app.engine.evaluation.eval_scores import EvalScores
from app.engine.evaluation.evaluate import evaluate, generate_samples
from app.engine.evaluation.probes import count_answers, probe
from app.engine.generation.generate import copy_trained_weights, preserve_rng_eval, swapped_weights
from app.engine.job import Job
from app.engine.step_metrics import memory_metrics, named_metrics, require_finite
from app.engine.trainers.lr_schedule import set_scheduled_rate
from app.history.summary import deciding_evaluations
from app.history.verdict import verdict
from app.runs import checkpoints, eval_sets
from app.runs.events import (
    COMPLETED,
    EndReason,
    EvalEvent,
    SampleEvent,
    SavedEvent,
    StateEvent,
    StepEvent,
    drop_rewound,
    read_events,
)
from app.setup.sources import HELD_OUT_SET
from app.setup.spec import Extension

_AVERAGED_STEPS = 20  # the latest steps, for the time left
_LIMIT_REACHED = "The limit that was set for this run is reached. Resume goes on, and counts anew. "
_MAX_EVAL_SAMPLES = 4  # held-out completions shown after an evaluation


class EventCallback(TrainerCallback):
    """One per run. It decides itself when to evaluate and to save, so that both also happen on request."""

    def __init__(
        self,
        job: Job,
        emitter: Emitter,
        run_control: Control,
        checkpoint_facts: dict[str, Any] | None = None,
        extension: Extension | None = None,
    ):
        """checkpoint_facts: of the checkpoint that the run resumes from. extension: of a run that had finished."""
        facts = checkpoint_facts or {}
        self.job, self.emitter, self.run_control = job, emitter, run_control
        self.earlier_tokens = facts.get("tokens", 0)  # of the steps before the checkpoint
        self.scores = EvalScores(job.knobs.best_metric, _evaluations_until(emitter.path, facts.get("step", 0)))
        self.extension, self.resumed_from = extension, facts.get("step", 0)
        self.patience_from = extension.from_step if extension else 0  # evaluations before it do not stop the run early
        self.trainer: Any = None  # set once it is built
        curves = job.method.curves
        self.method_metric_names = {log_name: metric_name for log_name, (metric_name, _) in curves.items()}
        self.why: EndReason = "finished"
        self.untrained_weights: list[tuple[Any, Any]] = []  # (a trained weight, its copy before the first step)
        self.wants_evaluation = self.wants_samples = False
        self.step_seconds: deque[float] = deque(maxlen=_AVERAGED_STEPS)
        self.tokens = self.earlier_tokens
        self.saved_at = self.started_at = self.step_started_at = time.monotonic()

    # -- called by the training loop ------------------------------------------------------------------------------

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.extension and 0 < self.resumed_from <= self.extension.from_step:
            set_scheduled_rate(kwargs["lr_scheduler"])
        self.emitter.emit(StateEvent, state="training")
        self.started_at = self.saved_at = time.monotonic()
        if state.global_step == 0 and self.job.spec.adapter.kind == "none":
            self._evaluate(0)
        elif state.global_step == 0:
            self.untrained_weights = copy_trained_weights(self.trainer.model)
        self.step_started_at = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if logs is None or "loss" not in logs:
            return  # the summary at the end, or an evaluation, which has events of its own
        seconds = time.monotonic() - self.step_started_at
        self.step_seconds.append(seconds)
        metrics = named_metrics(logs, self.method_metric_names) | self._speed_metrics(logs, seconds)
        self.emitter.emit(
            StepEvent,
            step=state.global_step,
            of=state.max_steps,
            epoch=_rounded(logs.get("epoch")),
            seconds_left=self._seconds_left(state),
            metrics=metrics,
        )
        require_finite(metrics, state.global_step)
        self._after_step(state.global_step)
        self._keep_or_stop(state, control)
        self.step_started_at = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        commands = self.run_control.poll_commands()
        step, max_steps = state.global_step, state.max_steps
        if self.run_control.stop_requested:
            self.why = "stopped"
        elif self._is_over_budget():
            self.why = "budget"
        if self.why != "finished":
            self.emitter.emit(StateEvent, state="stopping")
            control.should_training_stop = True
        is_last = step == max_steps or control.should_training_stop
        is_evaluation_due = _is_due(step, max_steps, self.job.knobs.evaluations) or step == max_steps
        self.wants_evaluation = "evaluate" in commands or is_evaluation_due
        self.wants_samples = "sample" in commands
        is_save_late = time.monotonic() - self.saved_at > 60 * self.job.knobs.save_minutes
        is_save_due = is_save_late or _is_due(step, max_steps, self.job.knobs.saves)
        control.should_save = is_last or is_save_due or "save" in commands
        return control

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        score = self.scores.by_step.get(state.global_step)
        facts = {"tokens": self.tokens, "score": score, "metric": None if score is None else self.scores.metric}
        path = checkpoints.mark_complete(self.job.folder / "checkpoints", state.global_step, facts)
        relative_path = str(path.relative_to(self.job.folder))
        self.emitter.emit(SavedEvent, step=state.global_step, what="checkpoint", path=relative_path)
        self.saved_at = self.step_started_at = time.monotonic()

    # -- evaluation -----------------------------------------------------------------------------------------------

    def _after_step(self, step: int) -> None:
        """Evaluates and samples once the step's event is written, so that the events stay in order."""
        if self.untrained_weights:
            self._evaluate_untrained()
        if self.wants_evaluation:
            self._evaluate(step)
        elif self.wants_samples:
            with preserve_rng_eval(self.trainer.model):
                self._sample(step)

    def _evaluate(self, step: int) -> None:
        """Loss and completions on the held-out rows and on each evaluation set, and the setup's own prompts. Leaves every
        random generator as it was."""
        self.emitter.emit(StateEvent, state="evaluating")
        deciding_set, *other_sets = [*self.job.data.evaluated_sets] or [HELD_OUT_SET]
        with preserve_rng_eval(self.trainer.model):
            samples = self._evaluate_set(step, deciding_set, decides=True)
            for set_name in other_sets:
                self._evaluate_set(step, set_name, decides=False)
            self._sample(step, samples[:_MAX_EVAL_SAMPLES])
        self.emitter.emit(StateEvent, state="training")

    def _evaluate_set(self, step: int, set_name: str, decides: bool) -> list[JsonObject]:
        """Emits the measures of one set. decides: they say which checkpoint is the best, and probes stand beside them. Returns
        its completions."""
        with evaluated_on(self.job, self.trainer, set_name) as job:
            eval_metrics, samples = evaluate(job, self.trainer, job.data.holdout[: job.knobs.eval_answers])
            probes = probe(job, self.trainer) if decides else {}
        if decides and step == 0:
            probes |= count_answers(self.job)
        metrics = {eval_sets.metric_name(set_name, name): metric for name, metric in eval_metrics.items()}
        metrics |= {f"probe/{name}": metric for name, metric in probes.items()}
        if metrics:
            self.emitter.emit(EvalEvent, step=step, set=set_name, metrics=metrics)
        if eval_metrics and decides:
            self.scores.add(step, eval_sets.metrics_of_set(metrics, set_name))
            self._require_deciding_metric(eval_metrics)
        return samples

    def _require_deciding_metric(self, eval_metrics: Mapping[str, float | None]) -> None:
        """Warns where the measure that a person chose is not measured: then no checkpoint is the best."""
        name = self.job.knobs.best_metric
        if name and name not in eval_metrics:
            measured = ", ".join(eval_metrics)
            self.job.warn(f"“{name}” is not measured in this run ({measured}), so the result is that of the last step.")

    def _keep_or_stop(self, state: Any, control: Any) -> None:
        """After an evaluation: saves a checkpoint of a step that is the best so far, as transformers does with
        `save_strategy="best"`, and stops a run that no longer improves."""
        step, patience = state.global_step, self.job.knobs.early_stopping_patience
        if not self.wants_evaluation:
            return
        control.should_save = control.should_save or self.scores.is_best(step)
        if patience is None or step == state.max_steps or self.why != "finished":
            return
        due_steps = _due_steps(state.max_steps, self.job.knobs.evaluations)  # without those that a person requested
        counted_steps = sorted(due for due in {*due_steps, self.patience_from} if self.patience_from <= due <= step)
        if self.scores.tests_without_improvement(counted_steps) >= patience:
            self.why, control.should_save, control.should_training_stop = "early", True, True
            self.emitter.emit(StateEvent, state="stopping")

    def _evaluate_untrained(self) -> None:
        """The evaluation before training, made after the first step's event: it takes longer than everything before it,
        and a person waits for that event."""
        with swapped_weights(self.untrained_weights):
            self._evaluate(0)
        self.untrained_weights = []

    def _sample(self, step: int, eval_samples: Sequence[JsonObject] = ()) -> None:
        prompts = self.job.spec.prompts if self.job.is_generative else []
        completions = generate_samples(self.job, self.trainer, prompts) if prompts else []
        rows: list[JsonObject] = [
            {"prompt": prompt, "completion": completion}
            for prompt, completion in zip(prompts, completions, strict=True)
        ]
        rows += eval_samples
        if rows:
            self.emitter.emit(SampleEvent, step=step, rows=rows)

    def verdict(self) -> str:
        """What went wrong, and the evaluations of the start and of the result in one sentence."""
        attempt_events = drop_rewound(read_events(self.emitter.path))
        reason = _LIMIT_REACHED if self.why == "budget" else ""
        return reason + verdict(
            attempt_events, self.job.spec, self.job.num_evaluated_rows, is_over=self.why in COMPLETED
        )

    # -- time and limits ------------------------------------------------------------------------------------------

    def _speed_metrics(self, logs: dict[str, Any], seconds: float) -> dict[str, float]:
        """Time, tokens and memory of the step that took `seconds`."""
        tokens = self.earlier_tokens + logs["num_tokens"] if "num_tokens" in logs else self.tokens
        tokens_per_second = (tokens - self.tokens) / max(seconds, 1e-9)
        self.tokens = tokens
        return {
            "time/step": round(seconds, 4),
            "system/tokens": tokens,
            "system/tokens_per_second": round(tokens_per_second, 1),
        } | memory_metrics()

    def _seconds_left(self, state: Any) -> float:
        """At the average time of this attempt's latest steps."""
        average = sum(self.step_seconds) / len(self.step_seconds)
        return round((state.max_steps - state.global_step) * average, 1)

    def _is_over_budget(self) -> bool:
        seconds = self.job.budget.seconds
        return seconds is not None and time.monotonic() - self.started_at > seconds


def _evaluations_until(path: Path, step: int) -> list[EvalEvent]:
    """The deciding evaluations of earlier attempts up to the checkpoint that the run goes on from."""
    return [event for event in deciding_evaluations(drop_rewound(read_events(path))) if event.step <= step]


def _is_due(step: int, max_steps: int, times: int) -> bool:
    """Whether this step is one of `times` evenly spread over `max_steps` steps, the last step not counted."""
    return step in _due_steps(max_steps, times)


@lru_cache(maxsize=4)
def _due_steps(max_steps: int, times: int) -> frozenset[int]:
    """`times` steps evenly spread over `max_steps` steps, without the last."""
    due_steps = (max(1, round(max_steps * i / (times + 1))) for i in range(1, times + 1))
    return frozenset(step for step in due_steps if step < max_steps)


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)
