"""The command line: the same actions as the page. Exit codes: 0 done, 1 failed, 2 refused before start, 130 stopped."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Any

import typer

from app.cli import audit_command, inspect_command, pipeline_commands
from app.cli.terminal import (
    format_event,
    format_knob,
    format_methods,
    format_plan,
    format_preview_row,
    format_scores,
    print_output,
    read_setup,
)
from app.core import registry
from app.core.problems import Problem, process_lost, to_problem
from app.core.validation import validate
from app.data import compatible_methods
from app.hub import api, connection
from app.planning import preflight
from app.runs import events, store
from app.runs.store import Run
from app.setup import links, presets
from app.setup.knob import describe_knobs
from app.setup.spec import Launch, Spec
from app.worker.client import WorkerClient

DONE, FAILED, REFUSED, STOPPED = 0, 1, 2, 130

app = typer.Typer(
    name="python -m app", help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)

app.add_typer(pipeline_commands.app, name="chain")
app.command("look")(inspect_command.print_source_report)
app.command("audit")(audit_command.print_audit)

_Setup = Annotated[str, typer.Argument(metavar="SPEC", help="A preset's name, or a .toml or .json file.")]
_RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, its beginning or end, or “last”.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, or one line for each event.")]
_Changes = Annotated[
    list[str], typer.Option("--set", metavar="A.B=JSON", help="Change one setting, such as knobs.epochs=2.")
]
_Follow = Annotated[bool, typer.Option("--follow", help="Print events as they come.")]


@app.command("presets")
def list_presets(as_json: _Json = False) -> None:
    """The presets: what each teaches, how long it takes, what it needs."""
    print_output(
        presets.list_presets(),
        as_json,
        lambda p: f"{p['name']:<16} {p['minutes']:>4} min  {p['title']}: {p['sentence']}",
    )


@app.command()
def methods(
    data: Annotated[
        str | None,
        typer.Option(help="Only which of them these examples can teach: a sample, a file or an upload, as path:FILE."),
    ] = None,
    as_json: _Json = False,
) -> None:
    """The methods and their settings."""
    if data is not None:
        fitting_methods = compatible_methods.list_methods(data)
        print(json.dumps(fitting_methods, ensure_ascii=False) if as_json else format_methods(fitting_methods))
        return
    fitting_methods = [
        {
            "name": name,
            "title": module.TITLE,
            "sentence": module.__doc__.strip(),
            "layouts": module.LAYOUTS,
            "knobs": describe_knobs(module.Knobs),
        }
        for name in registry.names("methods")
        for module in [registry.load_module("methods", name)]
    ]
    print_output(
        fitting_methods,
        as_json,
        lambda m: "\n".join([f"{m['name']}: {m['title']}. {m['sentence']}", *map(format_knob, m["knobs"])]),
    )


@app.command()
def schema() -> None:
    """The JSON schema of a setup, with every method's and reward's settings."""
    spec_schema = Spec.model_json_schema(by_alias=True)
    spec_schema["knobs"] = {
        name: registry.load_module("methods", name).Knobs.model_json_schema() for name in registry.names("methods")
    }
    spec_schema["rewards"] = {
        name: registry.load_module("rewards", name).Params.model_json_schema() for name in registry.names("rewards")
    }
    print(json.dumps(spec_schema, indent=2, ensure_ascii=False))


@app.command()
def preview(
    setup: _Setup,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="How many examples.")] = 3,
    plan: Annotated[bool, typer.Option("--plan", help="Also how many rows, tokens and steps, over all data.")] = False,
    batches: Annotated[int, typer.Option(min=0, max=100, help="Also the first batches over all data.")] = 0,
    changes: _Changes = (),  # type: ignore[assignment]
    as_json: _Json = False,
) -> None:
    """What will be learned: the tokens of the first examples, by the trainer's own code."""
    spec = preflight.check_spec(read_setup(setup, changes))
    with WorkerClient() as worker:
        answer = worker.preview_rows(spec, rows)
        if batches:
            answer |= worker.preview_batches(spec, batches)
        if plan:
            answer |= {"plan": worker.estimate_run(spec)}
    if as_json:
        print(json.dumps(answer, ensure_ascii=False))
        return
    for row in answer["rows"]:
        print(format_preview_row(row), end="\n\n")
    print("\n".join(f"{finding['severity']}: {finding['text']}" for finding in answer["findings"]))
    if plan:
        print(format_plan(answer["plan"]))


@app.command()
def run(
    setup: _Setup,
    changes: _Changes = (),  # type: ignore[assignment]
    detach: Annotated[bool, typer.Option("--detach", help="Return at once; the run goes on by itself.")] = False,
    follow: _Follow = False,
    machine: Annotated[str, typer.Option(help="Where: local, local:cpu, local:cuda:0.")] = "local",
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Stop and save after this long.")] = None,
    as_json: _Json = False,
) -> None:
    """Starts a run and waits for its end, unless detached."""
    spec = preflight.check_spec(read_setup(setup, changes))
    _require_machine(machine)
    launch = validate(Launch, {"machine": machine, "budget": {"minutes": minutes} if minutes else {}}, "The launch")
    created_run = store.create_run(spec, launch)
    _start_run(created_run, launch, detach, as_json, follow or not detach)


def _require_machine(name: str) -> None:
    """Raises Problem when the backend knows no such machine."""
    backend = registry.load_module("backends", name.partition(":")[0])
    machine_names = [name.partition(":")[0], *(machine["name"] for machine in backend.machines())]
    if name not in machine_names:
        raise Problem(f"There is no machine called “{name}”.", advice=registry.suggest_name(name, machine_names))


@app.command()
def resume(
    run_id: _RunId,
    detach: Annotated[bool, typer.Option("--detach")] = False,
    follow: _Follow = False,
    as_json: _Json = False,
) -> None:
    """Goes on from a run's last checkpoint."""
    stored_run = store.find_run(run_id)
    if store.is_alive(stored_run):
        raise Problem(
            f"The run {stored_run.id} is running.", advice=f"Follow it: python -m app events {stored_run.id} --follow"
        )
    if store.run_state(stored_run, alive=False) == "finished":
        raise Problem(
            f"The run {stored_run.id} is finished.",
            advice="Start a new run, from this one if you like (model.start_from).",
        )
    _start_run(stored_run, stored_run.launch, detach, as_json, follow or not detach)


def _start_run(stored_run: Run, launch: Launch, detach: bool, as_json: bool, follow: bool) -> None:
    """Starts the run on its backend and, unless detached, prints its events until its end and exits with its code."""
    backend = registry.load_module("backends", launch.machine.partition(":")[0])
    last_event = events.last_event(
        stored_run.events
    )  # read before the start: the new attempt is followed from its first event
    handle = backend.start(stored_run, launch)
    if detach:
        print_output(
            {"run": stored_run.id},
            as_json,
            lambda _: f"Started {stored_run.id}. Follow it: python -m app events {stored_run.id} --follow",
        )
        return
    if not as_json:
        print(f"Run {stored_run.id}", flush=True)
    raise typer.Exit(_follow_run(stored_run, handle, as_json, last_event["seq"] if last_event else 0))


def _follow_run(stored_run: Run, handle: dict[str, Any], as_json: bool, after: int) -> int:
    """Prints events until the engine's end; Ctrl-C leaves the run going. Returns the exit code of its last event."""
    backend = registry.load_module("backends", handle["backend"])
    try:
        for line in backend.follow(handle, after):
            output = line.strip() if as_json else format_event(events.parse_line(line))
            if output:
                print(output, flush=True)
    except KeyboardInterrupt:
        print(f"\nThe run goes on. Stop it: python -m app stop {stored_run.id}", file=sys.stderr)
        return DONE
    last_event = events.last_event(stored_run.events)
    if last_event is None or last_event["kind"] not in events.FINAL_KINDS:
        print(
            f"{process_lost().text} {process_lost().advice} Resume it: python -m app resume {stored_run.id}",
            file=sys.stderr,
        )
        return FAILED
    return FAILED if last_event["kind"] == "failed" else STOPPED if last_event["why"] == "stopped" else DONE


@app.command("runs")
def list_runs(as_json: _Json = False) -> None:
    """Every run and its state, newest first."""
    print_output(
        [_summarize_run(stored_run) for stored_run in store.list_runs()],
        as_json,
        lambda r: f"{r['name']:<48} {r['state']:<12} {r['title']}",
    )


def _summarize_run(stored_run: Run) -> dict[str, Any]:
    """Name, title and state; a damaged run gets the state `damaged`, so that it does not hide the others."""
    try:
        return {
            "name": stored_run.id,
            "title": stored_run.spec.title,
            "state": store.run_state(stored_run, store.is_alive(stored_run)),
        }
    except (Problem, ValueError, OSError):  # a boundary: a folder may be of a later version or half written
        return {"name": stored_run.id, "title": "", "state": "damaged"}


@app.command("show")
def show_run(run_id: _RunId, as_json: _Json = False) -> None:
    """One run: its setup, facts, state and last test."""
    stored_run = store.find_run(run_id)
    run_events = events.drop_rewound(events.read_events(stored_run.events))
    evaluations = [event for event in run_events if event["kind"] == "eval"]
    description = _summarize_run(stored_run) | {
        "spec": stored_run.spec.to_dict(),
        "facts": store.read_json(stored_run.path / "facts.json"),
        "last": run_events[-1] if run_events else None,
        "tests": evaluations,
    }
    print_output(description, as_json, lambda d: json.dumps(d, indent=2, ensure_ascii=False))


@app.command("events")
def show_events(run_id: _RunId, follow: _Follow = False, as_json: _Json = False) -> None:
    """A run's story, from its first event; with --follow until its end."""
    stored_run = store.find_run(run_id)
    if follow and stored_run.handle:
        raise typer.Exit(_follow_run(stored_run, stored_run.handle, as_json, 0))
    for event in events.read_events(stored_run.events):
        line = json.dumps(event, ensure_ascii=False) if as_json else format_event(event)
        if line:
            print(line)


@app.command()
def stop(run_id: _RunId, as_json: _Json = False) -> None:
    """Stops a run after saving it; says how far it had to go."""
    stored_run = store.find_run(run_id)
    outcome = _backend_of_run(stored_run).stop(stored_run.handle)
    outcome_texts = {
        "not running": "It was not running.",
        "asked": "Stopped and saved.",
        "terminated": "Stopped, after insisting.",
        "killed": "Killed: it did not answer. What was saved before can be resumed.",
    }
    print_output({"run": stored_run.id, "how": outcome}, as_json, lambda _: outcome_texts[outcome])


@app.command()
def chat(
    run_id: _RunId,
    prompts: Annotated[list[str], typer.Option("--prompt", help="What to ask.")],
    base: Annotated[bool, typer.Option("--base", help="Also ask the model it started from.")] = False,
    as_json: _Json = False,
) -> None:
    """Asks a run's result."""
    with WorkerClient() as worker:
        answers = worker.generate(store.find_run(run_id).id, prompts, with_base_model=base)
    print_output(
        answers,
        as_json,
        lambda s: "\n".join(f"{model_name}: {text}" for model_name, texts in s.items() for text in texts),
    )


@app.command()
def score(
    run_id: _RunId,
    prompt: Annotated[str, typer.Option("--prompt", help="The question.")],
    answers: Annotated[list[str], typer.Option("--answer", help="An answer to score.")] = [],  # noqa: B006 typer copies it
    steps: Annotated[list[str], typer.Option("--step", help="A step of a solution, in order.")] = [],  # noqa: B006
    as_json: _Json = False,
) -> None:
    """Asks a result that scores what it thinks of answers, or of each step of a solution."""
    with WorkerClient() as worker:
        scores = worker.score(store.find_run(run_id).id, prompt, completions=answers, reasoning_steps=steps)
    print_output(scores, as_json, lambda s: format_scores(s, answers, steps))


@app.command()
def push(
    run_id: _RunId, repo: str, public: Annotated[bool, typer.Option("--public")] = False, as_json: _Json = False
) -> None:
    """Publishes a run's result to the Hub, private unless --public."""
    print_progress = None if as_json else lambda step_text, done, of: print(step_text, file=sys.stderr)
    address = api.publish_run(store.find_run(run_id), repo, private=not public, progress=print_progress)
    print_output({"url": address}, as_json, lambda d: f"Published: {d['url']}")


@app.command()
def link(setup: _Setup, changes: _Changes = (), page: str = "http://127.0.0.1:7860", as_json: _Json = False) -> None:  # type: ignore[assignment]
    """A link that opens the page with this setup."""
    print_output({"link": links.link_to_setup(read_setup(setup, changes), page)}, as_json, lambda d: d["link"])


@app.command("open")
def open_link(text: Annotated[str, typer.Argument(metavar="LINK")]) -> None:
    """The setup in a link, as JSON; it starts nothing."""
    print(links.decode_setup(text).to_json(), end="")


def _backend_of_run(stored_run: Run) -> Any:
    return registry.load_module("backends", stored_run.handle.get("backend", "local"))


def main() -> None:
    try:
        app()
    except Problem as problem:  # the outermost boundary: one sentence, and the exit code for a refusal
        print(problem, file=sys.stderr)
        sys.exit(FAILED if problem.reason in connection.HUB_FAILURE_REASONS else REFUSED)
    except Exception as error:  # a library's: explained, with its traceback for the person who reports it
        if to_problem(error).reason == "crashed":
            raise
        print(to_problem(error), file=sys.stderr)
        sys.exit(FAILED)
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:  # a boundary: the reader of a pipe, such as `head`, may have stopped
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
