"""Commands on a machine through the plain `ssh` program, so that a person's configuration, agent, jump hosts and known hosts hold."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from app.core.problems import Problem, shorten
from app.remote.machines import RemoteMachine

_OPTIONS = (
    "BatchMode=yes",  # nobody is there to type a password
    "StrictHostKeyChecking=yes",
    "ConnectTimeout=10",
    "ServerAliveInterval=5",  # seconds; without an answer to three of them the connection counts as lost
    "ServerAliveCountMax=3",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
)
_SSH_FAILED = 255  # its exit status where it is not that of the command there


class _KnownFailure(NamedTuple):
    """pattern: in what ssh prints, in lower case."""

    pattern: str
    text: str
    advice: str


_KNOWN_FAILURES = (
    _KnownFailure(
        "host identification has changed",
        "“{host}” shows another host key than before.",
        "Ask its administrator whether that is right. If it is, remove the old key (`ssh-keygen -R HOST`) and connect once by hand.",
    ),
    _KnownFailure(
        "host key verification failed",
        "The host key of “{host}” is not known here yet.",
        "Connect once in a terminal (`ssh HOST`), compare the key it shows with its administrator's, and say yes.",
    ),
    _KnownFailure(
        "could not resolve hostname",
        "There is no machine of the name “{host}” in this network.",
        "Check the spelling; a name of your ssh configuration works too.",
    ),
    _KnownFailure(
        "permission denied",
        "“{host}” refuses your key.",
        "Put your public key there (`ssh-copy-id HOST`), or load it into your agent (`ssh-add`).",
    ),
    _KnownFailure(
        "connection refused",
        "“{host}” is there, but takes no ssh connections.",
        "Check the port, and whether its ssh server runs.",
    ),
    _KnownFailure("broken pipe", "The connection to “{host}” was cut.", "It is tried again."),
    _KnownFailure("closed by remote host", "The connection to “{host}” was cut.", "It is tried again."),
    _KnownFailure("connection reset", "The connection to “{host}” was cut.", "It is tried again."),
    _KnownFailure("timed out", "“{host}” does not answer.", "Is it switched on, and are you in its network?"),
    _KnownFailure("no route to host", "“{host}” cannot be reached.", "Is it switched on, and are you in its network?"),
    _KnownFailure("network is unreachable", "“{host}” cannot be reached.", "Check this machine's own connection."),
    _KnownFailure(
        "can't open user config", "The ssh configuration file of “{host}” cannot be read.", "Check its path."
    ),
)


def ssh_command(machine: RemoteMachine, command: str) -> list[str]:
    """The command line here that runs a shell command there."""
    if not shutil.which("ssh"):
        raise Problem("The program `ssh` is not installed here.", advice="Install OpenSSH's client.")
    config = ["-F", str(Path(machine.config).expanduser())] if machine.config else []
    options = [part for option in _OPTIONS for part in ("-o", option)]
    return ["ssh", "-T", *config, *options, "--", machine.host, command]


class EngineVersion(NamedTuple):
    """Which engine on another machine. code: of the program's files. environment: of the packages."""

    code: str
    environment: str


def agent_command(machine: RemoteMachine, version: EngineVersion) -> list[str]:
    """The command line here whose other end is the agent on that machine. Raises Problem."""
    if not all(re.fullmatch(r"[0-9a-f]{12,20}", part) for part in version):
        raise Problem("Which engine trains this run is not known.", advice="Start it again.")
    python = shlex.quote(machine.python) if machine.python else f'"$root"/environments/{version.environment}/bin/python'
    script = (
        f"root={shlex.quote(machine.folder)}; case $root in /*) ;; *) root=$PWD/$root;; esac; "
        f'cd "$root"/code/{version.code} && '
        f'TUNESMITH_HOME="$root"/home PYTHONDONTWRITEBYTECODE=1 exec {python} -m app.remote.agent'
    )
    return ssh_command(machine, f"sh -c {shlex.quote(script)}")


def run_script(machine: RemoteMachine, script: str, content: bytes = b"", seconds: float = 120) -> str:
    """What a POSIX shell script prints there; it may read `content` from its stdin. Raises Problem where the machine is
    out of reach or the script fails."""
    command = ssh_command(machine, f"sh -c {shlex.quote(script)}")
    try:
        finished = subprocess.run(command, input=content, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as error:  # boundary: the network
        raise Problem(
            f"“{machine.host}” does not answer.", advice="Try again in a moment.", reason="no_contact"
        ) from error
    errors = finished.stderr.decode(errors="replace")
    if finished.returncode == _SSH_FAILED:
        raise connection_problem(machine, errors)
    if finished.returncode:
        last_line = (errors.strip().splitlines() or ["no reason given"])[-1]
        raise Problem(
            f"A command on “{machine.host}” failed: {shorten(last_line, 300)}",
            advice="Check that machine: its disk, and the rights of your account there.",
        )
    return finished.stdout.decode(errors="replace")


def connection_problem(machine: RemoteMachine, errors: str) -> Problem:
    """What keeps ssh from connecting, in words. errors: what it printed."""
    for failure in _KNOWN_FAILURES:
        if failure.pattern in errors.lower():
            text = failure.text.format(host=machine.host)
            return Problem(text, advice=failure.advice.replace("HOST", machine.host), reason="no_contact")
    last_line = (errors.strip().splitlines() or ["the connection was closed"])[-1]
    return Problem(
        f"“{machine.host}” cannot be reached: {shorten(last_line, 300)}",
        advice="Try `ssh` to it in a terminal.",
        reason="no_contact",
    )
