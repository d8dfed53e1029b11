"""Journeys: one walk along a chain each. The folder is the truth: the chain, which run each stage became, how they compare."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core import registry
from app.core.problems import Problem
from app.core.processes import is_alive
from app.pipelines import pipeline, pipeline_preflight
from app.pipelines.pipeline import Chain
from app.runs import store
from app.runs.store import Run, load_json, write_json
from backends import local


@dataclass(frozen=True)
class Journey:
    """Its folder: chain.json, stages.json {stage: run id, or source of the pairs it made}, tries.json {stage: what it told},
    compared.json, handle.json of who conducts it, log.txt."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def chain(self) -> Chain:
        return pipeline.read_chain(load_json(self.path / "chain.json"))

    @property
    def stages(self) -> dict[str, str]:
        """{stage: its run's id, or the source of the pairs that it made}, of those that have begun."""
        return load_json(self.path / "stages.json")

    @property
    def compared(self) -> dict[str, Any]:
        """{"rewards": names, "rows": [{"stage", "scores": {reward: mean}, "by": {category: {reward: mean}}}]}, once it is made."""
        return load_json(self.path / "compared.json")

    @property
    def conducted(self) -> bool:
        """Somebody sees to it that the next stage begins."""
        handle = load_json(self.path / "handle.json")
        return bool(handle) and is_alive(handle)

    @property
    def tries(self) -> dict[str, dict[str, int]]:
        """{stage: {"pairs", "prompts"}} of those that made pairs."""
        return load_json(self.path / "tries.json")

    def begun(self, stage: str) -> Run | None:
        name = self.stages.get(stage)
        return store.exact(name) if name and store.ID.fullmatch(name) else None


def create(made_of: Chain) -> Journey:
    """A new folder with its chain; it appears whole or not at all."""
    folder = registry.home("journeys") / store.new_id(made_of.title)
    draft = folder.with_name(f".{folder.name}")
    draft.mkdir()
    write_json(draft / "chain.json", made_of.model_dump(by_alias=True, exclude_none=True))
    write_json(draft / "stages.json", {})
    return Journey(draft.rename(folder))


def every() -> list[Journey]:
    """Newest first."""
    found = [path for path in registry.home("journeys").iterdir() if store.ID.fullmatch(path.name)]
    return [Journey(path) for path in sorted(found, reverse=True)]


def exact(name: str) -> Journey:
    """The journey with this very id. Raises Problem."""
    if not store.ID.fullmatch(name) or not (registry.home("journeys") / name / "chain.json").is_file():
        raise Problem("There is no such journey here.", advice="`python -m app chain journeys` lists them.")
    return Journey(registry.home("journeys") / name)


def find(name: str) -> Journey:
    """By its id, an unambiguous part of it, or `last`. Raises Problem."""
    fits = [
        one
        for one in every()
        if name in ("last", one.id) or (len(name) >= 4 and (one.id.startswith(name) or one.id.endswith(name)))
    ]
    if not fits or (name != "last" and len(fits) > 1 and all(one.id != name for one in fits)):
        raise Problem(f"There is no one journey called “{name}”.", advice="`python -m app chain journeys` lists them.")
    return fits[0]


def summary(journey: Journey) -> dict[str, Any]:
    """id, title, state, and of each stage: name, sentence, run, state, result.

    state: running, finished, or waiting: somebody has to resume it, as after a stop, a failure or a power cut.
    """
    told = journey.chain
    stages = [
        tries_summary(journey, one) if one.tries is not None else stage_summary(journey, one) for one in told.stages
    ]
    done = all(one["state"] == "finished" for one in stages) and bool(journey.compared)
    state = "running" if journey.conducted else "finished" if done else "waiting"
    return {"id": journey.id, "title": told.title, "state": state, "stages": stages}


def stage_summary(journey: Journey, stage: pipeline.Stage) -> dict[str, Any]:
    shown = {"name": stage.name, "sentence": stage.sentence, "run": None, "state": "not begun", "result": None}
    try:
        run = journey.begun(stage.name)
    except Problem:  # it was deleted: the stage can be made again
        return shown
    if run is None:
        return shown
    told = store.summary(run, store.alive(run))
    return shown | {"run": run.id, "state": told["state"], "result": told["result"]}


def tries_summary(journey: Journey, stage: pipeline.Stage) -> dict[str, Any]:
    """Of a stage that makes pairs: it is told only once they are made."""
    made = journey.tries.get(stage.name)
    result = f"{made['pairs']} pairs from {made['prompts']} prompts" if made else None
    state = "finished" if made and stage.name in journey.stages else "not begun"
    return {"name": stage.name, "sentence": stage.sentence, "run": None, "state": state, "result": result}


def checked(made_of: Chain) -> Chain:
    """The chain, each stage checked as if it were started now. Raises Problem."""
    pipeline_preflight.check(made_of)
    return made_of


def begin(journey: Journey) -> None:
    """Starts its conductor, detached. Raises Problem when it is conducted already."""
    if journey.conducted:
        raise Problem(f"The journey {journey.id} is under way.", advice="Wait for it, or stop it.")
    with (journey.path / "log.txt").open("ab") as log:
        local.detached("app.pipelines.runner", str(journey.path), output=log)


def running(journey: Journey) -> Run | None:
    """The run of the stage that is learned now."""
    begun = [Run(registry.home("runs") / name) for name in journey.stages.values() if store.ID.fullmatch(name)]
    return next((run for run in begun if store.alive(run)), None)


def stop(journey: Journey) -> str:
    """How far stopping its running stage went, as a backend says it."""
    going = running(journey)
    return registry.load("backends", going.handle["backend"]).stop(going.handle) if going else "not running"


def forget(journey: Journey) -> None:
    """Removes the way and its comparison; the runs that it became stay. Raises Problem while somebody walks it."""
    if journey.conducted or running(journey):
        raise Problem(f"“{journey.chain.title}” is under way, so it cannot be removed.", advice="Stop it first.")
    shutil.rmtree(store.set_aside(journey.path))
