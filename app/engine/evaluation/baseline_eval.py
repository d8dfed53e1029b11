"""Held out: how good a run's result and its start are on rows that were never learned from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.engine.generation.chat import has_result
from app.engine.model.device import Device
from app.planning.resolve import resolve
from app.runs import events, store

ROWS = 64  # scored when the run's own tests do not tell


def known(request: dict[str, Any]) -> dict[str, Any] | None:
    """What the run's first and last test say already, when the last was made at the very step that the result is of."""
    run = has_result(request)
    story = events.current(events.read(run.events))
    tests = [event for event in story if event["kind"] == "eval"]
    saved = [event["step"] for event in story if event["kind"] == "saved" and event["what"] == "adapter"]
    if not tests or not saved or tests[0]["step"] != 0 or tests[-1]["step"] != saved[-1]:
        return None
    count = store.load_json(run.path / "facts.json")["data"]["held_out"]
    asked = min(count, run.spec.knobs["eval_answers"]) if run.spec.rewards else count
    return result(asked, plain(tests[0]["metrics"]), plain(tests[-1]["metrics"]), "run")


def plain(metrics: dict[str, float | None]) -> dict[str, float | None]:
    return {name.removeprefix("eval/"): value for name, value in metrics.items()}


def result(count: int, base: dict[str, Any], tuned: dict[str, Any], source: str) -> dict[str, Any]:
    return {"set": "held-out", "count": count, "base": base, "tuned": tuned, "from": source}


def scores(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """{"progress"} after each model, at last {"done": {"set", "count", "base", "tuned", "from": now}}."""
    run = store.find(request["run"])
    spec = resolve(run.spec)
    after = spec.model_copy(update={"model": spec.model.model_copy(update={"start_from": f"run:{run.id}"})})
    with TemporaryDirectory() as folder:
        count, base = score(spec, Path(folder))
        yield {"progress": {"done": 1, "of": 2}}
        _, tuned = score(after, Path(folder))
    yield {"done": result(count, base, tuned, "now")}


def score(spec: Any, folder: Path) -> tuple[int, dict[str, float | None]]:
    """(rows, values by name) of the model that this Spec starts from, as the run's own tests score it."""
    from app.engine.evaluation.evaluate import measure
    from app.engine.generation.generate import aside
    from app.engine.job import Job

    job = Job(spec, folder, Device("cpu"))
    job.data.holdout = job.data.holdout[:ROWS]
    if not job.data.holdout:
        return 0, {}
    trainer = job.method.build(job)
    with aside(trainer.model):
        return len(job.data.holdout), measure(job, trainer, job.data.holdout)[0]
