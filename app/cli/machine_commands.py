"""Commands `machines …`: other machines that runs can be sent to, and what runs have left there."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from app.cli.options import AsJson, RunId
from app.cli.terminal import print_document, print_list, print_text
from app.core.sizes import format_bytes
from app.core.workspace import local_workspace
from app.remote import adoption, environment, mirrors
from app.remote.adoption import RemoteRun
from app.remote.environment import MachineReport
from app.remote.host import ask
from app.remote.machines import DEFAULT_FOLDER, create_machine, get_machine, list_machines, remove_machine
from app.runs import store

app = typer.Typer(help="Other machines that runs can be sent to.", no_args_is_help=True)

MachineName = Annotated[str, typer.Argument(metavar="NAME", help="The name that the machine was added under.")]


@app.command("list")
def show_machines(as_json: AsJson = False) -> None:
    """The machines that were added."""
    machines = [machine.model_dump(exclude_none=True) for machine in list_machines(local_workspace())]
    print_list(machines, as_json, lambda m: f"{m['backend']}:{m['name']:<24} {m['host']:<40} {m['folder']}")


@app.command("add")
def add_machine(
    name: Annotated[str, typer.Argument(help="A short name for it, such as lab.")],
    host: Annotated[
        str, typer.Argument(help="As `ssh` takes it: me@lab.example, or a name of your ssh configuration.")
    ],
    config: Annotated[str | None, typer.Option(help="Another configuration file of ssh.")] = None,
    folder: Annotated[str, typer.Option(help="Where everything is put there.")] = DEFAULT_FOLDER,
    python: Annotated[
        str | None, typer.Option(help="Python of an environment there that has the packages; without it one is made.")
    ] = None,
    dollars_per_hour: Annotated[float | None, typer.Option(min=0.001, help="What the machine costs.")] = None,
    as_json: AsJson = False,
) -> None:
    """Adds a machine that you reach with ssh."""
    machine = create_machine(
        local_workspace(), name=name, backend="ssh", host=host, config=config, folder=folder, python=python,
        dollars_per_hour=dollars_per_hour,
    )  # fmt: skip
    next_step = f"Added {machine.address}. Next: python -m app machines prepare {name}"
    print_document(machine.model_dump(exclude_none=True), as_json, lambda _: next_step)


@app.command("test")
def probe_machine(name: MachineName, as_json: AsJson = False) -> None:
    """Whether a machine answers, and what it has."""
    found = environment.probe(get_machine(local_workspace(), name))
    print_document(found, as_json, _format_report)


@app.command("prepare")
def prepare_machine(name: MachineName, as_json: AsJson = False) -> None:
    """Makes an environment of its own there for training; changes nothing outside its folder."""
    machine = get_machine(local_workspace(), name)
    for text in environment.prepare(machine):
        print_text(text, file=sys.stderr, flush=True)
    print_document(environment.probe(machine), as_json, lambda found: f"Ready.\n{_format_report(found)}")


@app.command("runs")
def show_remote_runs(name: MachineName, as_json: AsJson = False) -> None:
    """What runs have left on a machine, and what still trains there."""
    print_list(adoption.list_remote_runs(local_workspace(), name), as_json, _format_run)


@app.command("adopt")
def adopt_run(
    name: MachineName, run_id: Annotated[str, typer.Argument(metavar="RUN")], as_json: AsJson = False
) -> None:
    """Brings a run that trains or lies on a machine into this home, as after a reinstall."""
    run = adoption.adopt_run(local_workspace(), name, run_id)
    print_document(
        {"run": run.id}, as_json, lambda _: f"Adopted {run.id}. Follow it: python -m app events {run.id} --follow"
    )


@app.command("abandon")
def abandon_run(run_id: RunId, as_json: AsJson = False) -> None:
    """Gives up a run whose machine does not come back; what was fetched of it can be resumed here."""
    run = store.find_run(local_workspace(), run_id)
    mirrors.abandon_run(run)
    next_step = (
        f"Gave up {run.id}; its machine may still train. Go on here: python -m app resume {run.id} --machine local"
    )
    print_document({"run": run.id}, as_json, lambda _: next_step)


@app.command("clean")
def clean_machine(
    name: MachineName,
    run_ids: Annotated[list[str] | None, typer.Argument(metavar="[RUN]…", help="Without: all that have ended.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """Deletes there what runs have left; what was fetched stays here."""
    runs = [run for run in adoption.list_remote_runs(local_workspace(), name) if not run["alive"] and run["is_ours"]]
    chosen = [run for run in runs if not run_ids or run["id"] in run_ids]
    if not yes and chosen:
        typer.confirm(f"Delete {len(chosen)} runs on {name} for good?", abort=True)
    machine = get_machine(local_workspace(), name)
    freed = sum(int(ask(machine, "delete", run=run["id"])["freed"]) for run in chosen)
    print_document({"runs": len(chosen), "bytes": freed}, as_json, lambda d: f"Freed {format_bytes(d['bytes'])}.")


@app.command("remove")
def forget_machine(name: MachineName, as_json: AsJson = False) -> None:
    """Forgets a machine. Nothing is changed there, and its runs stay here as far as they were fetched."""
    adoption.require_unused(local_workspace(), name)
    remove_machine(local_workspace(), name)
    print_document({"machine": name}, as_json, lambda _: f"Forgot {name}.")


def _format_report(found: MachineReport) -> str:
    return "\n".join(environment.describe_machine(found))


def _format_run(run: RemoteRun) -> str:
    where = "here too" if run["is_here"] else "not here"
    return f"{run['id']:<48} {run['state']:<10} {format_bytes(run['bytes']):>10}  {where}"
