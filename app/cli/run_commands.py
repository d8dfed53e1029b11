"""Commands `run`, `runs`, `show`, `events`, `stop`, `resume` and `extend`: starting, following and stopping a run."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from app.cli.options import DONE, FAILED, REFUSED, STOPPED, AsJson, Changes, DetachOrFollow, Follow, RunId, Setup
from app.cli.terminal import format_event, print_document, print_list, print_text, read_setup
from app.core.problems import Problem, process_lost
from app.core.workspace import local_workspace
from app.history.diagnoses import diagnose_events
from app.history.result_words import known_result_step, result_words
from app.history.summary import deciding_evaluations, evaluated_sets, evaluations_of_set
from app.hub.model_choice import require_usable_model
from app.planning import launcher, preflight
from app.remote import mirrors
from app.runs import events, store
from app.runs.events import DoneEvent, Event, FailedEvent
from app.runs.records import read_record
from app.runs.result import RESULT_FILE
from app.runs.store import Run

ReportT = TypeVar("ReportT")

ChangedData = Annotated[bool, typer.Option(help="Go on although the examples have changed since.")]
_REFUSALS = ("no_rows", "nothing_to_learn", "refused_row")  # reasons for which an engine ends before it trains


def run(
    setup: Setup,
    changes: Changes = [],  # noqa: B006 typer copies it
    detach: DetachOrFollow = False,
    machine: Annotated[str, typer.Option("--machine", "--on", help="Where: local, local:cuda:0, ssh:NAME.")] = "local",
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Stop and save after this long.")] = None,
    dollars: Annotated[
        float | None, typer.Option(min=0.01, help="Stop and save at this cost, with --dollars-per-hour.")
    ] = None,
    dollars_per_hour: Annotated[float | None, typer.Option(min=0.001, help="What the machine costs.")] = None,
    as_json: AsJson = False,
) -> None:
    """Starts a run and waits for its end, unless detached."""
    spec = preflight.check_spec(read_setup(setup, changes))
    launch = launcher.create_launch(machine, minutes, dollars, dollars_per_hour)
    require_usable_model(spec)
    created_run = launcher.create_run(local_workspace(), spec, launch)
    _start_run(created_run, lambda: launcher.start_run(created_run, launch), detach, as_json)


def resume(
    run_id: RunId,
    detach: DetachOrFollow = False,
    changed_data: ChangedData = False,
    machine: Annotated[
        str | None, typer.Option("--machine", "--on", help="Another place than before: local, ssh:NAME.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Goes on from a run's last checkpoint."""
    stored_run = store.find_run(local_workspace(), run_id)
    if machine:
        launcher.require_machine(machine)
    if store.is_alive(stored_run):
        raise Problem(
            f"The run {stored_run.id} is running.", advice=f"Follow it: python -m app events {stored_run.id} --follow"
        )
    if store.run_state(stored_run, alive=False) == "finished":
        raise Problem(
            f"The run {stored_run.id} is finished.",
            advice=f"For more steps: `python -m app extend {stored_run.id} --steps 60`",
        )
    launch = stored_run.launch.model_copy(update={"machine": machine} if machine else {})
    _start_run(stored_run, lambda: launcher.resume_run(stored_run, changed_data, launch), detach, as_json)


def extend(
    run_id: RunId,
    steps: Annotated[int, typer.Option("--steps", min=1, help="How many more steps.")],
    detach: DetachOrFollow = False,
    changed_data: ChangedData = False,
    as_json: AsJson = False,
) -> None:
    """Goes on with a finished run for more steps, from its last checkpoint with the optimizer's state; the schedule of
    the learning rate is laid out over the new length."""
    stored_run = store.find_run(local_workspace(), run_id)
    _start_run(stored_run, lambda: launcher.extend_run(stored_run, steps, changed_data), detach, as_json)


def _start_run(stored_run: Run, start: Callable[[], object], detach: bool, as_json: bool) -> None:
    """Starts the run on its backend and, unless detached, prints its events until its end and exits with its code."""
    last_event = events.last_event(stored_run.events)  # before the start: a new attempt is printed from its first event
    start()
    if detach:
        print_document(
            {"run": stored_run.id},
            as_json,
            lambda _: f"Started {stored_run.id}. Follow it: python -m app events {stored_run.id} --follow",
        )
        return
    if not as_json:
        print_text(f"Run {stored_run.id}", flush=True)
    raise typer.Exit(_follow_run(stored_run, as_json, last_event.seq if last_event else 0))


def _follow_run(stored_run: Run, as_json: bool, after: int) -> int:
    """Prints events until the engine's end; Ctrl-C leaves the run going. Returns the exit code of its last event."""
    try:
        for line in store.follow_events(stored_run, after):
            event = events.parse_line(line)
            output = line.strip() if as_json else format_event(event) if event else ""
            if output:
                print_text(output, flush=True)
    except KeyboardInterrupt:
        print_text(f"\nThe run goes on. Stop it: python -m app stop {stored_run.id}", file=sys.stderr)
        return DONE
    last_event = events.last_event(stored_run.events)
    if not isinstance(last_event, FailedEvent | DoneEvent):
        print_text(
            f"{process_lost().text} {process_lost().advice} Resume it: python -m app resume {stored_run.id}",
            file=sys.stderr,
        )
        return FAILED
    if isinstance(last_event, FailedEvent):
        return REFUSED if last_event.reason in _REFUSALS else FAILED
    if not as_json and (words := result_words(stored_run)):
        print_text(words)
    return STOPPED if last_event.why == "stopped" else DONE


def list_runs(as_json: AsJson = False) -> None:
    """Every run and its state, newest first."""
    mirrors.ensure_mirrors(local_workspace())
    print_list(
        [_summarize_run(stored_run) for stored_run in store.list_runs(local_workspace())],
        as_json,
        lambda r: f"{r['name']:<48} {r['state']:<12} {r.get('problem') or r['title']}",
    )


def _summarize_run(stored_run: Run) -> dict[str, str]:
    """Name, title and state; a damaged run gets the state `damaged` and its problem, so that it does not hide the
    others."""
    try:
        return {
            "name": stored_run.id,
            "title": stored_run.spec.title,
            "state": store.run_state(stored_run, store.is_alive(stored_run)),
        }
    except Problem as problem:  # a boundary: a file may be damaged or of a later version
        return {"name": stored_run.id, "title": "", "state": "damaged", "problem": str(problem)}
    except OSError:  # a boundary: the run is being deleted
        return {"name": stored_run.id, "title": "", "state": "damaged"}


def show_run(run_id: RunId, as_json: AsJson = False) -> None:
    """One run: its setup, facts, state, diagnoses and evaluations; what cannot be read is left out, and said."""
    stored_run = store.find_run(local_workspace(), run_id)
    run_events = events.drop_rewound(events.read_events(stored_run.events))
    description = {
        **_summarize_run(stored_run),
        "spec": _read_or_report(lambda: stored_run.spec.to_dict()),
        "facts": _read_or_report(lambda: stored_run.facts),
        "result": _read_or_report(lambda: read_record(stored_run.path / RESULT_FILE)),
        "diagnoses": _read_or_report(lambda: _describe_diagnoses(run_events, stored_run)),
        "last": msgspec.to_builtins(run_events[-1]) if run_events else None,
        "tests": msgspec.to_builtins(deciding_evaluations(run_events)),
        "eval_sets": {
            name: msgspec.to_builtins(evaluations_of_set(run_events, name)) for name in evaluated_sets(run_events)[1:]
        },
    }
    print_document(description, as_json, lambda d: json.dumps(d, indent=2, ensure_ascii=False))


def _describe_diagnoses(run_events: list[Event], stored_run: Run) -> list[dict[str, Any]]:
    """What went wrong, the gravest first, with the changes of the setup that help."""
    diagnoses = diagnose_events(run_events, stored_run.spec, result_step=known_result_step(stored_run))
    return [dataclasses.asdict(diagnosis) for diagnosis in diagnoses]


def _read_or_report(read: Callable[[], ReportT]) -> ReportT | None:
    """What it reads; None where that is damaged, which is said on stderr."""
    try:
        return read()
    except Problem as problem:  # a boundary: the disk
        print_text(problem, file=sys.stderr)
        return None


def show_events(run_id: RunId, follow: Follow = False, as_json: AsJson = False) -> None:
    """A run's events, from its first; with --follow until its end."""
    stored_run = store.find_run(local_workspace(), run_id)
    mirrors.ensure_mirror(stored_run)
    if follow and stored_run.handle:
        raise typer.Exit(_follow_run(stored_run, as_json, 0))
    for event in events.read_events(stored_run.events):
        line = msgspec.json.encode(event).decode() if as_json else format_event(event)
        if line:
            print_text(line)


_STOP_OUTCOMES = {
    "not running": "It was not running.",
    "asked": "Stopped and saved.",
    "terminated": "Stopped, after insisting.",
    "killed": "Killed: it did not answer. What was saved before can be resumed.",
}


def stop(run_id: RunId, as_json: AsJson = False) -> None:
    """Stops a run after saving it; says how far it had to go."""
    stored_run = store.find_run(local_workspace(), run_id)
    outcome = launcher.stop_run(stored_run)
    print_document({"run": stored_run.id, "how": outcome}, as_json, lambda _: _STOP_OUTCOMES[outcome])
