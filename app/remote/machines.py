"""The machines that a person added: one file each in the workspace, by their names."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Annotated

from pydantic import Field

from app.core import registry
from app.core.json_files import DamagedFile, load_json, write_json
from app.core.problems import Problem
from app.core.validation import FrozenModel, validate
from app.core.workspace import Workspace

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
DEFAULT_FOLDER = ".tunesmith-remote"


class RemoteMachine(FrozenModel):
    """A machine that runs can be sent to.

    name: as in launch.json, after its backend. host: as `ssh` takes it, such as `me@lab.example` or a name of its
    configuration file. config: another configuration file of ssh. folder: for everything that is put there, below the
    home folder there unless it begins with a slash. python: an environment there that has the libraries already; without
    it one is made. dollars_per_hour: what it costs.
    """

    name: Annotated[str, Field(pattern=f"^{_NAME.pattern}$")]
    backend: str
    # never an option of ssh, whose options can run programs
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:@%-]{0,250}$")]
    config: str | None = Field(default=None, min_length=1, max_length=1000)
    folder: str = Field(default=DEFAULT_FOLDER, pattern=r"^[A-Za-z0-9_./+ -]{1,500}$")
    python: str | None = Field(default=None, pattern=r"^/[A-Za-z0-9_./+ -]{1,500}$")
    dollars_per_hour: float | None = Field(default=None, gt=0)

    @property
    def address(self) -> str:
        """Its name in launch.json, such as `ssh:lab`."""
        return f"{self.backend}:{self.name}"


def create_machine(workspace: Workspace, **fields: str | float | None) -> RemoteMachine:
    """Adds a machine, or replaces the one of this name. Raises Problem for a field that cannot be used."""
    given = {name: value for name, value in fields.items() if value not in (None, "")}
    machine = validate(RemoteMachine, given, "The machine")
    registry.require_known("backends", machine.backend)
    write_json(_path(workspace, machine.name), machine.model_dump(exclude_none=True))
    return machine


def list_machines(workspace: Workspace, backend: str | None = None) -> list[RemoteMachine]:
    """All machines, or those of a backend, by name. One whose file is damaged is left out."""
    machines = []
    for path in sorted(workspace.folder("machines").glob("*.json")):
        try:
            machines.append(_read(path))
        except DamagedFile:  # boundary: the disk; `get_machine` says so to whoever needs this one
            continue
    return [machine for machine in machines if backend in (None, machine.backend)]


def get_machine(workspace: Workspace, name: str) -> RemoteMachine:
    """The machine of this name. Raises Problem where there is none."""
    path = _path(workspace, name) if _NAME.fullmatch(name) else None
    if path is None or not path.exists():
        names = [machine.name for machine in list_machines(workspace)]
        advice = registry.suggest_name(name, names) if names else "Add one: python -m app machines add NAME HOST"
        raise Problem(f"There is no machine called “{name}”.", advice=advice)
    return _read(path)


def remove_machine(workspace: Workspace, name: str) -> None:
    """Forgets a machine; nothing is changed there. Raises Problem where there is none."""
    get_machine(workspace, name)
    _path(workspace, name).unlink()


def home_id(workspace: Workspace) -> str:
    """Identifies this workspace on other machines: random, and the same for ever."""
    path = workspace.folder("machines") / ".home-id"
    if not path.exists():
        path.write_text(secrets.token_hex(8))
    return path.read_text().strip()


def _read(path: Path) -> RemoteMachine:
    data = load_json(path, dict[str, object], "Add the machine again.")
    return validate(RemoteMachine, data, f"The machine in {path.name}")


def _path(workspace: Workspace, name: str) -> Path:
    return workspace.folder("machines") / f"{name}.json"
