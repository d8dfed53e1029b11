"""Runs found on a machine: those of this home and of others, and bringing one into this home."""

from __future__ import annotations

from typing import TypedDict

from app.core.json_files import write_json
from app.core.paths import ROOT
from app.core.problems import Problem
from app.core.validation import validate
from app.core.workspace import Workspace
from app.remote import host, mirrors
from app.remote.machines import get_machine, home_id
from app.runs import store
from app.runs.mirror_record import is_running_elsewhere, new_mirror_record, write_mirror_record
from app.runs.records import write_record
from app.runs.store import Run
from app.setup.spec import Launch, parse_spec


class RemoteRun(TypedDict):
    """A run on a machine. is_ours: this home started it. is_here: this home has its folder. bytes: of its folder there."""

    id: str
    title: str
    state: str
    alive: bool
    bytes: int
    is_ours: bool
    is_here: bool


def list_remote_runs(workspace: Workspace, machine_name: str) -> list[RemoteRun]:
    """The runs on a machine, newest first. Raises Problem where it is out of reach."""
    own_id, machine = home_id(workspace), get_machine(workspace, machine_name)
    return [
        {
            "id": run["id"],
            "title": run["title"],
            "state": run["state"],
            "alive": run["alive"],
            "bytes": run["bytes"],
            "is_ours": run["home"] == own_id,
            "is_here": (workspace.runs / run["id"]).exists(),
        }
        for run in host.ask(machine, "runs")["runs"]
        if store.RUN_ID_PATTERN.fullmatch(str(run["id"]))
    ]


def adopt_run(workspace: Workspace, machine_name: str, run_id: str) -> Run:
    """Makes the folder of a run that lies on a machine, and starts its mirror. Raises Problem where this home follows it
    already."""
    machine = get_machine(workspace, machine_name)
    if not store.RUN_ID_PATTERN.fullmatch(run_id):
        raise store.run_not_found()
    run = Run(workspace.runs / run_id)
    if is_running_elsewhere(run.path):
        raise Problem(f"The run {run_id} is followed here already.", advice=f"Look: python -m app events {run_id}")
    there = host.ask(machine, "describe", run=run_id)
    spec = parse_spec(there["spec"])
    launch = validate(Launch, {**there["launch"], "machine": machine.address}, "The launch")
    version = host.this_version()
    code_there = str(there["code"])
    handle = {
        "backend": machine.backend,
        "folder": str(run.path),
        "machine": machine.name,
        "engine": there["handle"],
        "code": version.code,
        "environment": version.environment,
        "replacements": {code_there: str(ROOT)},
        "control_from": 0,
    }
    run.path.mkdir(exist_ok=True)
    store.write_launch(run, launch)
    write_record(run.path / "handle.json", handle)
    write_mirror_record(run.path, new_mirror_record(machine.name))
    write_json(run.path / "spec.json", spec.to_dict())
    mirrors.register_run(run)
    mirrors.ensure_mirror(run)
    return run


def require_unused(workspace: Workspace, machine_name: str) -> None:
    """Raises Problem while a run of this home trains on a machine, as far as is known here."""
    for run in store.list_runs(workspace):
        if is_running_elsewhere(run.path) and run.handle.get("machine") == machine_name:
            raise Problem(
                f"The run {run.id} trains on “{machine_name}”.",
                advice=f"Stop it first (python -m app stop {run.id}), or give it up: python -m app machines abandon {run.id}",
            )
