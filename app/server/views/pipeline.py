"""Journey: several lessons that build on one another, as one way: what each does, how far it is, and how their results compare."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.core import registry
from app.core.problems import Problem
from app.history import metric_labels, summary
from app.pipelines import pipeline, pipeline_run
from app.pipelines.pipeline import Chain, Stage
from app.pipelines.pipeline_run import Journey
from app.runs import store
from app.server.views.choose import answered
from components import pipeline as pieces
from components.progress import STATES
from components.shell import Frame, view

PATIENCE = 15.0  # seconds a conductor is given to say that it has begun
LISTED = 5  # newest journeys
NOT_BEGUN = "not begun"
HALTED = {"failed": "Lesson {at} failed. Look at it for the reason, then go on.", "lost": "Lesson {at} ended without a last word. Go on to take it up again.",
          "stopped": "Stopped in lesson {at}. What it learned is saved: go on from there."}  # fmt: skip


def draw(_frame: Frame | None = None) -> None:
    with view("journey"):
        pieces.journey(look, start, go_on, stop, forget)


def cards() -> list[dict[str, Any]]:
    """The chains there are, quickest first, for the landing."""
    told = [planned(name, pipeline.load(name)) for name in registry.choices("pipelines")]
    return sorted(told, key=lambda one: (one["minutes"], one["id"]))


# -- what the view asks ---------------------------------------------------------------------------------------------


@answered
def look(name: str) -> dict[str, Any]:
    """A chain that may be begun, by its name, or a journey along one, by its id."""
    return (
        planned(name, pipeline.load(name))
        if name in registry.choices("pipelines")
        else under_way(pipeline_run.exact(name))
    )


@answered
def start(name: str) -> str:
    """Begins a journey along a chain; its id."""
    journey = pipeline_run.create(pipeline_run.checked(pipeline.load(name)))
    conducted(journey)
    return journey.id


@answered
def go_on(name: str) -> str:
    return conducted(pipeline_run.exact(name))


@answered
def stop(name: str) -> str:
    """Asks the lesson that is learned now to save and stop; those after it are not begun."""
    going = pipeline_run.running(pipeline_run.exact(name))
    if going is None:
        raise Problem("No lesson is being learned at this moment.", advice="Look again in a moment.")
    registry.load("backends", going.handle["backend"]).control(going.handle, "stop")
    return going.id


@answered
def forget(name: str) -> str:
    pipeline_run.forget(pipeline_run.exact(name))
    return name


@answered
def newest(_nothing: Any = None) -> list[dict[str, Any]]:
    """The latest journeys, in a line each."""
    told = [under_way(one) for one in pipeline_run.every()[:LISTED]]
    return [{"id": one["id"], "title": one["title"], "words": one["words"], "when": one["when"]} for one in told]


def conducted(journey: Journey) -> str:
    """Starts whoever conducts it, and waits until that one has said so: until then it looks as if nothing happened."""
    handle = journey.path / "handle.json"
    before, deadline = store.load_json(handle), time.monotonic() + PATIENCE
    pipeline_run.begin(journey)
    while store.load_json(handle) == before and time.monotonic() < deadline:
        time.sleep(0.1)
    return journey.id


# -- what it is told ------------------------------------------------------------------------------------------------


def planned(name: str, made_of: Chain) -> dict[str, Any]:
    """A chain before anything has begun."""
    return head(name, made_of) | {
        "phase": "new", "words": "Not started", "table": None,
        "stages": [lesson(made_of, stage.name) | {"state": NOT_BEGUN, "words": "Not begun"} for stage in made_of.stages],
    }  # fmt: skip


def head(name: str, made_of: Chain) -> dict[str, Any]:
    return {"id": name, "title": made_of.title, "sentence": made_of.sentence, "minutes": made_of.minutes,
            "needs": made_of.needs, "prompts": made_of.measure.prompts, "measures": columns(made_of)}  # fmt: skip


def lesson(made_of: Chain, name: str) -> dict[str, Any]:
    stage: Stage = made_of.stage(name)
    method = (stage.setup or {}).get("method")
    return {"title": titled(name), "sentence": stage.sentence, "lesson": registry.load("methods", method).TITLE if method else ""}  # fmt: skip


def under_way(journey: Journey) -> dict[str, Any]:
    made_of, told = journey.chain, pipeline_run.summary(journey)
    stages = [stage(made_of, one) for one in told["stages"]]
    phase = phase_of(told["state"], stages)
    return head(journey.id, made_of) | {
        "phase": phase, "words": said(journey, phase, stages), "stages": stages, "table": table(made_of, journey.compared),
        "when": time.strftime("%d %b, %H:%M", time.strptime(journey.id[:15], "%Y%m%d-%H%M%S")).lstrip("0"),
        "last": next((one["run"] for one in reversed(stages) if one["run"] and one["state"] == "finished"), None),
    }  # fmt: skip


def phase_of(state: str, stages: list[dict[str, Any]]) -> str:
    """running, comparing, finished, or waiting for a person."""
    whole = all(one["state"] == "finished" for one in stages)
    return "comparing" if state == "running" and whole else state


def stage(made_of: Chain, told: dict[str, Any]) -> dict[str, Any]:
    """One lesson: what it does, which run it became, how far that is."""
    run = told["run"] if store.ID.fullmatch(told["run"] or "") else None
    shown = lesson(made_of, told["name"]) | {
        "run": run, "state": told["state"], "words": STATES.get(told["state"], told["state"].capitalize()), "result": told["result"],
    }  # fmt: skip
    if not run:
        return shown
    folder = store.Run(registry.home("runs") / run)
    now = store.summary(folder, store.alive(folder))
    ended = folder.events.stat().st_mtime_ns if folder.events.exists() and not now["alive"] else 0
    return shown | {name: now[name] for name in ("alive", "step", "of", "seconds_left")} | {
        "seconds": worked(folder.events, ended) if ended else None
    }  # fmt: skip


@lru_cache(maxsize=256)
def worked(events: Path, _changed: int) -> float:
    """Seconds that somebody worked on it, over all its attempts."""
    spans: dict[int, list[float]] = {}
    for event in summary.glance(events):
        spans.setdefault(event["attempt"], []).append(event["time"])
    return sum(max(times) - min(times) for times in spans.values())


def said(journey: Journey, phase: str, stages: list[dict[str, Any]]) -> str:
    """Where it stands, in a sentence."""
    at, now = next(
        ((i, one) for i, one in enumerate(stages, 1) if one["state"] != "finished"), (len(stages), stages[-1])
    )
    if phase == "finished":
        return f"Finished. {came_of(journey)}"
    if phase == "comparing":
        return "All lessons are learned. Their results are asked the same questions now."
    if phase == "running":
        return f"Lesson {at} of {len(stages)}: {now['title']}"
    if now["state"] in HALTED:
        return HALTED[now["state"]].format(at=at)
    before = "The comparison did not end." if now["state"] == "finished" else f"Lesson {at} has not begun."
    return " ".join(filter(None, [before, last_words(journey), "Go on to try again."]))


def came_of(journey: Journey) -> str:
    """What the first measure came to, from the model before to the last result."""
    compared, first = journey.compared, columns(journey.chain)[0]
    ends = [compared["rows"][place]["scores"].get(first["name"]) for place in (0, -1)]
    if None in ends or len(compared["rows"]) < 2:
        return ""
    before, after = (summary.number("", value) for value in ends)
    went = f"stayed at {after}" if before == after else f"{'rose' if ends[1] > ends[0] else 'fell'} from {before} to {after}"  # fmt: skip
    return f"“{first['title']}” {went}."


def last_words(journey: Journey) -> str:
    """The last line of who conducted it."""
    log = journey.path / "log.txt"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "")


def columns(made_of: Chain) -> list[dict[str, str]]:
    """What is measured: the chain's own word for it, and what kind of reward that is."""
    found = [(one.label or one.name, metric_labels.reward_title(one.name)) for one in made_of.measure.rewards]
    return [{"name": label, "title": titled(label), "kind": kind} for label, kind in found]


def table(made_of: Chain, compared: dict[str, Any]) -> dict[str, Any] | None:
    """{"prompts", "rows": [{"title", "cells": [{"text", "share", "change"}]}]}; change: in points since the model before."""
    if not compared:
        return None
    names, first = compared["rewards"], compared["rows"][0]["scores"]
    rows = [{"title": "Before" if one is compared["rows"][0] else titled(one["stage"]),
             "cells": [cell(one["scores"].get(name), first.get(name) if one is not compared["rows"][0] else None) for name in names]}
            for one in compared["rows"]]  # fmt: skip
    known = {one["name"]: one for one in columns(made_of)}
    heads = [known.get(name, {"name": name, "title": titled(name), "kind": ""}) for name in names]
    return {"prompts": compared["prompts"], "columns": heads, "rows": rows}


def cell(value: float | None, before: float | None) -> dict[str, Any]:
    if value is None:
        return {"text": "–", "share": None, "change": ""}
    share = value if 0 <= value <= 1 else None
    if before is None:
        return {"text": summary.number("", value), "share": share, "change": ""}
    scale, unit = (100, " points") if share is not None and 0 <= before <= 1 else (1, "")
    change = round((value - before) * scale, 0 if scale == 100 else 2)
    moved = f"{'+' if change > 0 else '−'}{abs(change):g}{unit}" if change else "as before"
    return {"text": summary.number("", value), "share": share, "change": moved}


def titled(name: str) -> str:
    return name.replace("_", " ").capitalize()
