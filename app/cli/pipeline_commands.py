"""Chain commands: `python -m app chain …`: the ways of several runs, and walking along them."""

from __future__ import annotations

import sys
import time
from typing import Annotated, Any

import typer

from app.cli.terminal import as_value, existing, show
from app.core import registry
from app.core.problems import Problem
from app.pipelines import pipeline, pipeline_run
from app.pipelines.pipeline import Chain
from app.pipelines.pipeline_run import Journey
from app.setup import spec as specs

DONE, FAILED = 0, 1
app = typer.Typer(help="Ways of several runs that build on one another.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Which = Annotated[str, typer.Argument(metavar="JOURNEY", help="A journey's id, its beginning or end, or “last”.")]
Detach = Annotated[bool, typer.Option("--detach", help="Return at once; the journey goes on by itself.")]


@app.command("list")
def list_chains(as_json: Json = False) -> None:
    """The chains there are."""
    found = [{"name": name} | pipeline.load(name).model_dump(include={"title", "sentence", "minutes", "needs"}) | {"stages": [one.name for one in pipeline.load(name).stages]}
             for name in registry.choices("pipelines")]  # fmt: skip
    show(found, as_json, lambda c: f"{c['name']:<20} {c['minutes']:>4} min  {c['title']}: {' → '.join(c['stages'])}")


@app.command()
def run(
    name: Annotated[str, typer.Argument(metavar="CHAIN", help="A chain's name, or a .toml file.")],
    changes: Annotated[
        list[str], typer.Option("--set", metavar="STAGE.A.B=JSON", help="Change one setting of a stage.")
    ] = (),  # type: ignore[assignment]
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Starts a journey along a chain and waits for its end, unless detached."""
    journey = pipeline_run.create(pipeline_run.checked(changed(chain_of(name), changes)))
    conduct(journey, detach, as_json)


@app.command("journeys")
def list_journeys(as_json: Json = False) -> None:
    """Every journey and how far it is, newest first."""
    show(
        [pipeline_run.summary(one) for one in pipeline_run.every()],
        as_json,
        lambda j: f"{j['id']:<48} {j['state']:<10} {j['title']}",
    )


@app.command("show")
def show_journey(which: Which, as_json: Json = False) -> None:
    """How far a journey is, and the table that compares its stages."""
    journey = pipeline_run.find(which)
    data = pipeline_run.summary(journey) | {"compared": journey.compared}
    show(data, as_json, in_words)


@app.command()
def resume(which: Which, detach: Detach = False, as_json: Json = False) -> None:
    """Goes on from the first stage that is not finished."""
    journey = pipeline_run.find(which)
    if journey.conducted:
        raise Problem(
            f"The journey {journey.id} is under way.", advice=f"See how far: python -m app chain show {journey.id}"
        )
    conduct(journey, detach, as_json)


@app.command()
def stop(which: Which, as_json: Json = False) -> None:
    """Stops the stage that runs after saving it; the journey can be resumed."""
    how = pipeline_run.stop(pipeline_run.find(which))
    show({"how": how}, as_json, lambda _: "Stopped and saved." if how != "not running" else "It was not running.")


@app.command()
def remove(which: Which, as_json: Json = False) -> None:
    """Removes a journey and its comparison; the runs that it became stay."""
    journey = pipeline_run.find(which)
    pipeline_run.forget(journey)
    show({"removed": journey.id}, as_json, lambda told: f"Removed {told['removed']}. Its runs stay.")


def chain_of(name: str) -> Chain:
    if name in registry.choices("pipelines"):
        return pipeline.load(name)
    return pipeline.read_chain(specs.toml_or_json(existing(name)))


def changed(made_of: Chain, changes: list[str]) -> Chain:
    """With the changes of --set, each in one stage's setup."""
    data = made_of.model_dump(by_alias=True, exclude_none=True)
    for change in changes:
        path, equals, text = change.partition("=")
        name, dot, rest = path.partition(".")
        stage = next((one for one in data["stages"] if one["name"] == name), None)
        if not (equals and dot and stage):
            raise Problem(
                f"“{change}” sets nothing.", advice="Write it as stage.path=value, such as sft.knobs.epochs=2."
            )
        plan = "setup" if "setup" in stage else "tries"
        stage[plan] = specs.set_value(stage[plan], rest, as_value(text))
    return pipeline.read_chain(data)


def conduct(journey: Journey, detach: bool, as_json: bool) -> None:
    pipeline_run.begin(journey)
    if detach:
        show(
            {"journey": journey.id},
            as_json,
            lambda j: f"Started {j['journey']}. See how far: python -m app chain show {j['journey']}",
        )
        return
    raise typer.Exit(watch(journey, as_json))


def watch(journey: Journey, as_json: bool) -> int:
    """Says each stage's state as it changes, until the conductor's end; Ctrl-C leaves the journey alive."""
    said: dict[str, str] = {}
    try:
        while wait_for(journey):
            for one in pipeline_run.summary(journey)["stages"]:
                if not as_json and said.get(one["name"]) != one["state"]:
                    said[one["name"]] = one["state"]
                    print(f"{one['name']:<16} {one['state']} {one['result'] or ''}".rstrip(), flush=True)
    except KeyboardInterrupt:
        print(f"\nThe journey goes on. Stop it: python -m app chain stop {journey.id}", file=sys.stderr)
        return DONE
    data = pipeline_run.summary(journey) | {"compared": journey.compared}
    show(data, as_json, in_words)
    return DONE if data["state"] == "finished" else FAILED


def wait_for(journey: Journey, seconds: float = 1.0) -> bool:
    """True while somebody conducts it; gives a conductor that was just started the time to say so."""
    deadline = time.monotonic() + 20
    while not (journey.path / "handle.json").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(seconds)
    return journey.conducted


def in_words(told: dict[str, Any]) -> str:
    lines = [f"{told['title']}: {told['state']}"]
    lines += [
        f"  {one['name']:<16} {one['state']:<12} {one['result'] or ''}  {one['run'] or ''}" for one in told["stages"]
    ]
    if told["compared"]:
        names = told["compared"]["rewards"]
        lines += [
            "",
            f"  {'on ' + str(told['compared']['prompts']) + ' prompts':<20}" + "".join(f"{name:>16}" for name in names),
        ]
        lines += [
            f"  {row['stage']:<20}" + "".join(f"{number(row['scores'].get(name)):>16}" for name in names)
            for row in told["compared"]["rows"]
        ]
    return "\n".join(lines)


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
