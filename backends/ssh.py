"""A machine that you reach with ssh: runs train there and go on without this one, which copies what they tell."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

from app.contracts import Handle, Machine
from app.core import platform
from app.core.paths import ROOT
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.remote import host, mirrors
from app.remote.bundle import make_bundle, secret_variables
from app.remote.channel import Channel
from app.remote.machines import RemoteMachine, get_machine, home_id, list_machines
from app.runs import events, store
from app.runs.mirror_record import is_running_elsewhere, new_mirror_record, write_mirror_record
from app.runs.records import write_record
from app.runs.store import Run
from app.setup.spec import Launch
from backends import local

TITLE = "A machine over ssh"
_POLL_SECONDS = 0.1
_STOP_SECONDS = 60.0  # that a request to stop may take before the machine insists


def machines() -> list[Machine]:
    """Those that the owner added; none where others use the page too, as the owner's keys open them."""
    if not platform.takes_local_files():
        return []
    return [
        {"name": machine.address, "title": f"{machine.name}, over ssh"}
        for machine in list_machines(local_workspace(), "ssh")
    ]


def start(run: Run, launch: Launch) -> Handle:
    """Sends what the run needs, starts it there, and starts the mirror here. Returns its handle. Raises Problem."""
    machine, device = _machine_of(run, launch)
    host.require_prepared(machine)
    host.ensure_code(machine)
    control_size = run.control.stat().st_size if run.control.exists() else 0
    with host.connect(machine) as channel:
        handle = _create_and_start(channel, run, launch, device)
    handle |= {"backend": "ssh", "folder": str(run.path), "machine": machine.name, "control_from": control_size}
    write_mirror_record(run.path, new_mirror_record(machine.name))
    write_record(run.path / "handle.json", handle)
    mirrors.register_run(run)
    mirrors.ensure_mirror(run)
    return run.handle


def _machine_of(run: Run, launch: Launch) -> tuple[RemoteMachine, str]:
    """The machine of a launch and the device there, empty for the best: of `ssh:NAME` or `ssh:NAME:cuda:0`."""
    _, _, name_and_device = launch.machine.partition(":")
    name, _, device = name_and_device.partition(":")
    return get_machine(run.workspace, name), device


def _create_and_start(channel: Channel, run: Run, launch: Launch, device: str) -> Handle:
    """The part of the handle that says what was started where."""
    there = channel.request("hello").fields
    bundle = make_bundle(run, there["workspace"])
    if bundle.bytes > there["free"]:
        raise Problem(
            f"The run takes {bundle.bytes / 1e9:.1f} GB there, and {there['free'] / 1e9:.1f} GB are free.",
            advice="Make room on that machine: python -m app machines clean NAME",
            reason="disk_full",
        )
    host.send_files(channel, bundle)
    last = events.last_event(run.events)
    origin = {"home": home_id(run.workspace), "seq": last.seq if last else 0}
    channel.request("create", run=run.id, spec=bundle.spec, origin=origin, files=bundle.files)
    launch_there = launch.model_copy(update={"machine": f"local:{device}" if device else "local", "owner": None})
    started = channel.request(
        "start",
        run=run.id,
        launch=launch_there.model_dump(exclude_none=True),
        environment=secret_variables(run.spec),
        seconds=180,
    )
    version = host.this_version()
    return {
        "engine": started.fields["handle"],
        "code": version.code,
        "environment": version.environment,
        "replacements": {**bundle.replacements, there["code"]: str(ROOT)},
    }


def alive(handle: Handle) -> bool:
    """Whether the engine there has not ended, as far as is known here."""
    return is_running_elsewhere(Path(handle["folder"])) if handle else False


def follow(handle: Handle, after_seq: int = 0) -> Iterator[str]:
    """Event lines with a seq above `after_seq` as they arrive here, until the engine has ended."""
    return store.follow_events(Run(Path(handle["folder"])), after_seq)


def control(handle: Handle, command: str) -> str:
    """Writes a command down, for the mirror to forward as soon as the machine answers. Returns its id."""
    command_id = f"{command}-{time.time_ns()}"
    run = Run(Path(handle["folder"]))
    with run.control.open("ab") as file:
        file.write(json.dumps({"id": command_id, "command": command}).encode() + b"\n")
    mirrors.ensure_mirror(run)
    return command_id


def stop(handle: Handle) -> str:
    """Asks the engine to save and stop; after a while the machine insists. Returns how far it had to go. Raises Problem
    where the machine is out of reach; the request then waits for it."""
    if not alive(handle):
        return "not running"
    control(handle, "stop")
    if _wait_until_ended(handle, _STOP_SECONDS):
        return "asked"
    run = Run(Path(handle["folder"]))
    answer = host.ask(get_machine(run.workspace, handle["machine"]), "stop", run=run.id, seconds=120)
    _wait_until_ended(handle, _STOP_SECONDS)
    return str(answer["how"])


def _wait_until_ended(handle: Handle, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while alive(handle):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def fetch(handle: Handle, paths: list[str], to: Path) -> list[Path]:
    """Copies files and folders of the run to `to`; the mirror has fetched them. Returns the copies."""
    return local.fetch(handle, paths, to)
