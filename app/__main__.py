"""The command line: the same actions as the page. Exit codes: 0 done, 1 failed, 2 refused before start, 130 stopped."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Any

import typer

from app.cli import audit_command, inspect_command, pipeline_commands
from app.cli.terminal import example, fitted_in_words, in_words, knob_line, opinions, plan_in_words, setup_of, show
from app.core import registry
from app.core.problems import Problem, explain, lost
from app.core.validation import parse
from app.data import compatible_methods
from app.hub import api, connection
from app.planning import preflight
from app.runs import events, store
from app.runs.store import Run
from app.setup import links, presets
from app.setup.knob import describe
from app.setup.spec import Launch, Spec
from app.worker.client import Worker

DONE, FAILED, REFUSED, STOPPED = 0, 1, 2, 130

app = typer.Typer(
    name="python -m app", help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)

app.add_typer(pipeline_commands.app, name="chain")
app.command("look")(inspect_command.print_look)
app.command("audit")(audit_command.print_audit)

Setup = Annotated[str, typer.Argument(metavar="SPEC", help="A preset's name, or a .toml or .json file.")]
Which = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, its beginning or end, or “last”.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document, or one line for each event.")]
Set = Annotated[
    list[str], typer.Option("--set", metavar="A.B=JSON", help="Change one setting, such as knobs.epochs=2.")
]
Follow = Annotated[bool, typer.Option("--follow", help="Print events as they come.")]


@app.command("presets")
def list_presets(as_json: Json = False) -> None:
    """The presets: what each teaches, how long it takes, what it needs."""
    show(presets.every(), as_json, lambda p: f"{p['name']:<16} {p['minutes']:>4} min  {p['title']}: {p['sentence']}")


@app.command()
def methods(
    data: Annotated[
        str | None,
        typer.Option(help="Only which of them these examples can teach: a sample, a file or an upload, as path:FILE."),
    ] = None,
    as_json: Json = False,
) -> None:
    """The methods and their settings."""
    if data is not None:
        found = compatible_methods.every(data)
        print(json.dumps(found, ensure_ascii=False) if as_json else fitted_in_words(found))
        return
    found = [{"name": name, "title": module.TITLE, "sentence": module.__doc__.strip(), "layouts": module.LAYOUTS, "knobs": describe(module.Knobs)}
             for name in registry.choices("methods") for module in [registry.load("methods", name)]]  # fmt: skip
    show(
        found,
        as_json,
        lambda m: "\n".join([f"{m['name']}: {m['title']}. {m['sentence']}", *map(knob_line, m["knobs"])]),
    )


@app.command()
def schema() -> None:
    """The JSON schema of a setup, with every method's and reward's settings."""
    whole = Spec.model_json_schema(by_alias=True)
    whole["knobs"] = {
        name: registry.load("methods", name).Knobs.model_json_schema() for name in registry.choices("methods")
    }
    whole["rewards"] = {
        name: registry.load("rewards", name).Params.model_json_schema() for name in registry.choices("rewards")
    }
    print(json.dumps(whole, indent=2, ensure_ascii=False))


@app.command()
def preview(
    setup: Setup,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="How many examples.")] = 3,
    plan: Annotated[bool, typer.Option("--plan", help="Also how many rows, tokens and steps, over all data.")] = False,
    batches: Annotated[int, typer.Option(min=0, max=100, help="Also the first batches over all data.")] = 0,
    changes: Set = (),  # type: ignore[assignment]
    as_json: Json = False,
) -> None:
    """What will be learned: the tokens of the first examples, by the trainer's own code."""
    spec = preflight.check(setup_of(setup, changes))
    with Worker() as worker:
        answer = worker.rows(spec, rows)
        if batches:
            answer |= worker.batches(spec, batches)
        if plan:
            answer |= {"plan": worker.plan(spec)}
    if as_json:
        print(json.dumps(answer, ensure_ascii=False))
        return
    for row in answer["rows"]:
        print(example(row), end="\n\n")
    print("\n".join(f"{finding['severity']}: {finding['text']}" for finding in answer["findings"]))
    if plan:
        print(plan_in_words(answer["plan"]))


@app.command()
def run(
    setup: Setup,
    changes: Set = (),  # type: ignore[assignment]
    detach: Annotated[bool, typer.Option("--detach", help="Return at once; the run goes on by itself.")] = False,
    follow: Follow = False,
    machine: Annotated[str, typer.Option(help="Where: local, local:cpu, local:cuda:0.")] = "local",
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Stop and save after this long.")] = None,
    as_json: Json = False,
) -> None:
    """Starts a run and waits for its end, unless detached."""
    spec = preflight.check(setup_of(setup, changes))
    check_machine(machine)
    launch = parse(Launch, {"machine": machine, "budget": {"minutes": minutes} if minutes else {}}, "The launch")
    made = store.create(spec, launch)
    begin(made, launch, detach, as_json, follow or not detach)


def check_machine(name: str) -> None:
    """Raises Problem when the backend knows no such machine."""
    backend = registry.load("backends", name.partition(":")[0])
    known = [name.partition(":")[0], *(machine["name"] for machine in backend.machines())]
    if name not in known:
        raise Problem(f"There is no machine called “{name}”.", advice=registry.nearest(name, known))


@app.command()
def resume(
    which: Which,
    detach: Annotated[bool, typer.Option("--detach")] = False,
    follow: Follow = False,
    as_json: Json = False,
) -> None:
    """Goes on from a run's last checkpoint."""
    found = store.find(which)
    if store.alive(found):
        raise Problem(f"The run {found.id} is running.", advice=f"Follow it: python -m app events {found.id} --follow")
    if store.state(found, alive=False) == "finished":
        raise Problem(
            f"The run {found.id} is finished.", advice="Start a new run, from this one if you like (model.start_from)."
        )
    begin(found, found.launch, detach, as_json, follow or not detach)


def begin(made: Run, launch: Launch, detach: bool, as_json: bool, follow: bool) -> None:
    backend = registry.load("backends", launch.machine.partition(":")[0])
    told = events.last(made.events)  # before starting: the new attempt is followed from its first event
    handle = backend.start(made, launch)
    if detach:
        show(
            {"run": made.id},
            as_json,
            lambda _: f"Started {made.id}. Follow it: python -m app events {made.id} --follow",
        )
        return
    if not as_json:
        print(f"Run {made.id}", flush=True)
    raise typer.Exit(watch(made, handle, as_json, told["seq"] if told else 0))


def watch(made: Run, handle: dict[str, Any], as_json: bool, after: int) -> int:
    """Prints events until the engine's end; Ctrl-C leaves the run alive. The exit code of its last word."""
    backend = registry.load("backends", handle["backend"])
    try:
        for line in backend.follow(handle, after):
            words = line.strip() if as_json else in_words(events.parse(line))
            if words:
                print(words, flush=True)
    except KeyboardInterrupt:
        print(f"\nThe run goes on. Stop it: python -m app stop {made.id}", file=sys.stderr)
        return DONE
    last = events.last(made.events)
    if last is None or last["kind"] not in events.LAST:
        print(f"{lost().text} {lost().advice} Resume it: python -m app resume {made.id}", file=sys.stderr)
        return FAILED
    return FAILED if last["kind"] == "failed" else STOPPED if last["why"] == "stopped" else DONE


@app.command("runs")
def list_runs(as_json: Json = False) -> None:
    """Every run and its state, newest first."""
    show(
        [summary(found) for found in store.every()], as_json, lambda r: f"{r['name']:<48} {r['state']:<12} {r['title']}"
    )


def summary(found: Run) -> dict[str, Any]:
    """One damaged run must not hide the others."""
    try:
        return {
            "name": found.id,
            "title": found.spec.title,
            "state": store.state(found, store.alive(found)),
        }
    except (Problem, ValueError, OSError):  # a border: a folder may be of a later version, torn or half deleted
        return {"name": found.id, "title": "", "state": "damaged"}


@app.command("show")
def show_run(which: Which, as_json: Json = False) -> None:
    """One run: its setup, facts, state and last test."""
    found = store.find(which)
    told = events.current(events.read(found.events))
    tests = [event for event in told if event["kind"] == "eval"]
    data = summary(found) | {"spec": found.spec.to_dict(), "facts": store.load_json(found.path / "facts.json"),
                             "last": told[-1] if told else None, "tests": tests}  # fmt: skip
    show(data, as_json, lambda d: json.dumps(d, indent=2, ensure_ascii=False))


@app.command("events")
def show_events(which: Which, follow: Follow = False, as_json: Json = False) -> None:
    """A run's story, from its first event; with --follow until its end."""
    found = store.find(which)
    if follow and found.handle:
        raise typer.Exit(watch(found, found.handle, as_json, 0))
    for event in events.read(found.events):
        line = json.dumps(event, ensure_ascii=False) if as_json else in_words(event)
        if line:
            print(line)


@app.command()
def stop(which: Which, as_json: Json = False) -> None:
    """Stops a run after saving it; says how far it had to go."""
    found = store.find(which)
    how = backend_of(found).stop(found.handle)
    said = {"not running": "It was not running.", "asked": "Stopped and saved.", "terminated": "Stopped, after insisting.",
            "killed": "Killed: it did not answer. What was saved before can be resumed."}  # fmt: skip
    show({"run": found.id, "how": how}, as_json, lambda _: said[how])


@app.command()
def chat(
    which: Which,
    prompts: Annotated[list[str], typer.Option("--prompt", help="What to ask.")],
    base: Annotated[bool, typer.Option("--base", help="Also ask the model it started from.")] = False,
    as_json: Json = False,
) -> None:
    """Asks a run's result."""
    with Worker() as worker:
        said = worker.chat(store.find(which).id, prompts, base=base)
    show(said, as_json, lambda s: "\n".join(f"{who}: {text}" for who, texts in s.items() for text in texts))


@app.command()
def score(
    which: Which,
    prompt: Annotated[str, typer.Option("--prompt", help="The question.")],
    answers: Annotated[list[str], typer.Option("--answer", help="An answer to score.")] = [],  # noqa: B006 typer copies it
    steps: Annotated[list[str], typer.Option("--step", help="A step of a solution, in order.")] = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Asks a result that scores what it thinks of answers, or of each step of a solution."""
    with Worker() as worker:
        said = worker.opinion(store.find(which).id, prompt, answers=answers, steps=steps)
    show(said, as_json, lambda s: opinions(s, answers, steps))


@app.command()
def push(
    which: Which, repo: str, public: Annotated[bool, typer.Option("--public")] = False, as_json: Json = False
) -> None:
    """Publishes a run's result to the Hub, private unless --public."""
    say = None if as_json else lambda what, done, of: print(what, file=sys.stderr)
    address = api.push(store.find(which), repo, private=not public, progress=say)
    show({"url": address}, as_json, lambda d: f"Published: {d['url']}")


@app.command()
def link(setup: Setup, changes: Set = (), page: str = "http://127.0.0.1:7860", as_json: Json = False) -> None:  # type: ignore[assignment]
    """A link that opens the page with this setup."""
    show({"link": links.link(setup_of(setup, changes), page)}, as_json, lambda d: d["link"])


@app.command("open")
def open_link(text: Annotated[str, typer.Argument(metavar="LINK")]) -> None:
    """The setup in a link, as JSON; it starts nothing."""
    print(links.decode(text).to_json(), end="")


def backend_of(found: Run) -> Any:
    return registry.load("backends", found.handle.get("backend", "local"))


def main() -> None:
    try:
        app()
    except Problem as problem:  # the outermost border: a sentence and the code for refused
        print(problem, file=sys.stderr)
        sys.exit(FAILED if problem.reason in connection.FAILURES else REFUSED)
    except Exception as error:  # a library's: explained, with its traceback for the person who reports it
        if explain(error).reason == "crashed":
            raise
        print(explain(error), file=sys.stderr)
        sys.exit(FAILED)
    finally:
        try:
            sys.stdout.flush()
        except BrokenPipeError:  # a border: whoever read along, such as `head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
