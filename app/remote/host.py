"""A machine that has been prepared: its environment, the engine's code there, and sending what a run needs."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from app.core.problems import Problem
from app.remote.bundle import Bundle
from app.remote.channel import Channel, ConnectionLost
from app.remote.engine_code import code_archive, code_version, requirements_version
from app.remote.machines import RemoteMachine
from app.remote.ssh import EngineVersion, agent_command, connection_problem, run_script

_CHUNK_BYTES = 1_000_000
_READY_MARK = ".complete"  # in a folder of code or of an environment that is complete

Report = Callable[[int, int], None]  # bytes that are there, and of how many


def this_version() -> EngineVersion:
    """The engine as it is here."""
    return EngineVersion(code_version(), requirements_version())


def python_path(machine: RemoteMachine) -> str:
    """The program that runs engines of this version there, below the home folder unless it begins with a slash."""
    return machine.python or f"{machine.folder}/environments/{requirements_version()}/bin/python"


@contextlib.contextmanager
def connect(machine: RemoteMachine) -> Iterator[Channel]:
    """A channel to the agent on a machine. Raises Problem where the machine is out of reach, now or in the `with` block."""
    try:
        with Channel(agent_command(machine, this_version())) as channel:
            yield channel
    except ConnectionLost as error:  # boundary: the network
        raise connection_problem(machine, str(error)) from error


def ensure_code(machine: RemoteMachine) -> bool:
    """Sends the engine's code unless this version is there. Returns whether it was sent. Raises Problem."""
    folder = shlex.quote(f"{machine.folder}/code/{code_version()}")
    if run_script(machine, f"test -e {folder}/{_READY_MARK} && echo there || true").strip() == "there":
        return False
    draft = f"{folder}.$$"
    script = f"umask 077 && mkdir -p {draft} && tar -xzf - -C {draft} && touch {draft}/{_READY_MARK} && rm -rf {folder} && mv {draft} {folder}"
    run_script(machine, script, code_archive(), seconds=1800)
    return True


def require_prepared(machine: RemoteMachine) -> None:
    """Raises Problem where the machine has no environment for this version's packages."""
    python = shlex.quote(python_path(machine))
    if run_script(machine, f"test -x {python} && echo there || true").strip() != "there":
        raise Problem(
            f"“{machine.name}” has no environment for training yet, or one of an earlier version.",
            advice=f"Prepare it: python -m app machines prepare {machine.name}",
            reason="not_prepared",
        )


def send_files(channel: Channel, bundle: Bundle, report: Report = lambda done, total: None) -> int:
    """Sends what is not there yet, going on where an earlier attempt was cut. Returns the number of bytes sent."""
    sizes = {file_hash: path.stat().st_size for file_hash, path in bundle.local_paths.items()}
    answer = channel.request("present", hashes=[*sizes]).fields
    complete, partial = {*answer["complete"]}, answer["partial"]
    offsets = {name: size if name in complete else min(partial.get(name, 0), size) for name, size in sizes.items()}
    total, sent = sum(sizes.values()), 0
    report(sum(offsets.values()), total)
    for file_hash in [name for name in sizes if name not in complete]:
        is_complete = False
        while not is_complete:
            chunk = _read_chunk(bundle.local_paths[file_hash], offsets[file_hash])
            answer = channel.request(
                "put", chunk, hash=file_hash, offset=offsets[file_hash], size=sizes[file_hash]
            ).fields
            offsets[file_hash], is_complete, sent = answer["size"], answer["complete"], sent + len(chunk)
            report(sum(offsets.values()), total)
    return sent


def _read_chunk(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(_CHUNK_BYTES)


def ask(machine: RemoteMachine, operation: str, **fields: Any) -> dict[str, Any]:
    """The answer to one request. Raises Problem."""
    with connect(machine) as channel:
        return channel.request(operation, **fields).fields
