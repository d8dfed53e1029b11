"""Held-out scores of a run's result beside those of the model it started from."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TypedDict

from app.core.scratch import ScratchFolder
from app.core.workspace import local_workspace
from app.engine.contracts import Metrics
from app.engine.cooperative import CountPart
from app.engine.generation.loaded_result import run_with_result
from app.engine.model.device import Device
from app.history.summary import deciding_evaluations
from app.planning.resolve import resolve
from app.runs import events, store
from app.runs.eval_sets import count_deciding_rows
from app.runs.result import result_step
from app.setup.spec import Spec

_MAX_ROWS = 64  # scored when the run's own evaluations do not say enough

Comparison = TypedDict(
    "Comparison", {"set": str, "count": int, "base": Metrics, "tuned": Metrics, "from": str}
)  # from: "run", its own evaluations, or "now"


def recorded_scores(run_id: str) -> Comparison | None:
    """The comparison from the run's evaluations; None unless they were at step 0 and at the result's own step,
    and the number of held-out rows is known."""
    run = run_with_result(run_id)
    run_events = events.drop_rewound(events.read_events(run.events))
    evaluations = deciding_evaluations(run_events)
    step = result_step(run)
    if step is None:  # a run of an earlier version
        step = events.saved_result_step(run_events)
    result_evaluations = [event for event in evaluations if event.step == step]
    if not result_evaluations or evaluations[0].step != 0:
        return None
    count = count_deciding_rows(run.facts)
    if not count:
        return None
    row_count = min(count, run.spec.knobs["eval_answers"]) if run.spec.rewards else count
    return _comparison(
        row_count, _without_prefix(evaluations[0].metrics), _without_prefix(result_evaluations[-1].metrics), "run"
    )


def _without_prefix(metrics: Metrics) -> Metrics:
    return {name.removeprefix("eval/"): metric for name, metric in metrics.items()}


def _comparison(count: int, base: Metrics, tuned: Metrics, source: str) -> Comparison:
    return {"set": "held-out", "count": count, "base": base, "tuned": tuned, "from": source}


def score_base_and_result(run_id: str) -> Generator[CountPart, None, Comparison]:
    """Yields after the first model and returns the comparison, evaluated now."""
    run = store.find_run(local_workspace(), run_id)
    spec = resolve(run.spec)
    tuned_spec = spec.model_copy(update={"model": spec.model.model_copy(update={"start_from": f"run:{run.id}"})})
    with ScratchFolder(local_workspace()) as folder:
        count, base = _score_model(spec, folder)
        yield {"progress": {"done": 1, "of": 2}}
        _, tuned = _score_model(tuned_spec, folder)
    return _comparison(count, base, tuned, "now")


def _score_model(spec: Spec, folder: Path) -> tuple[int, Metrics]:
    """(number of rows, metrics) of the model that this Spec starts from, evaluated as during the run."""
    from app.engine.evaluation.evaluate import evaluate
    from app.engine.generation.generate import preserve_rng_eval
    from app.engine.job import Job

    job = Job(spec, folder, Device("cpu"))
    job.data.holdout, job.data.eval_sets = job.data.deciding_rows[:_MAX_ROWS], {}
    if not job.data.holdout:
        return 0, {}
    trainer = job.method.build(job)
    with preserve_rng_eval(trainer.model):
        return len(job.data.holdout), evaluate(job, trainer, job.data.holdout)[0]
