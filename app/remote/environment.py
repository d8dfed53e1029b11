"""Preparing a machine: what it has, and an environment of its own there with the packages of this version."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Generator, Iterator
from typing import TypedDict

from app.core.problems import Problem, shorten
from app.remote.engine_code import engine_requirements, pinned_versions, requirements_version
from app.remote.host import ensure_code, python_path
from app.remote.machines import RemoteMachine
from app.remote.ssh import run_script

_PYTHONS = ("python3.11", "python3.12", "python3.13", "python3")
_SUPPORTED = ((3, 11), (3, 13))  # first and last
_NEEDED_BYTES = 12_000_000_000  # of packages with CUDA; those for a processor take 3 GB
_NEEDED_BYTES_ON_CPU = 4_000_000_000
_INSTALL_SECONDS = 3600
_POLL_SECONDS = 2.0
# The CUDA that each build of torch 2.13 brings, and the first major version of NVIDIA's driver that runs it; best first.
_CUDA_BUILDS = ((580, ""), (525, "cu126"))
_BUILD_INDEX = "https://download.pytorch.org/whl/"

_PROBE = """
for python in {pythons}; do
  command -v $python >/dev/null 2>&1 && echo "python=$(command -v $python) $($python -c 'import sys; print(sys.version.split()[0])')"
done
python3 -c 'import venv, ensurepip' >/dev/null 2>&1 && echo "venv=yes"
mkdir -p {folder} && echo "free=$(df -Pk {folder} | tail -1 | awk '{{print $4}}')"
command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | sed 's/^/gpu=/'
echo "cores=$(getconf _NPROCESSORS_ONLN 2>/dev/null)"
test -x {target} && echo "prepared=yes"
true
"""


class MachineReport(TypedDict):
    """What a machine has. python: a program of a supported version; empty where there is none. free: bytes on its disk.
    gpus: their names. driver: major version of NVIDIA's driver, 0 without. prepared: it has the packages of this version."""

    python: str
    found_pythons: list[str]
    has_venv: bool
    free: int
    gpus: list[str]
    driver: int
    cores: int
    prepared: bool


def probe(machine: RemoteMachine) -> MachineReport:
    """What a machine has now. Raises Problem where it is out of reach."""
    script = _PROBE.format(
        pythons=" ".join(_PYTHONS), folder=shlex.quote(machine.folder), target=shlex.quote(python_path(machine))
    )
    lines = [line.partition("=")[::2] for line in run_script(machine, script).splitlines()]

    def values(name: str) -> list[str]:
        return [value for key, value in lines if key == name]

    pythons = [
        value.split() for value in values("python") if len(value.split()) == 2
    ]  # a shim may have no program behind it
    gpus = [value.split(", ") for value in values("gpu")]
    return {
        "python": next((path for path, version in pythons if _is_supported(version)), ""),
        "found_pythons": sorted({version for _, version in pythons}),
        "has_venv": bool(values("venv")),
        "free": int((values("free") or ["0"])[0] or 0) * 1024,
        "gpus": [fields[0] for fields in gpus],
        "driver": int(gpus[0][1].partition(".")[0]) if gpus and gpus[0][1:] else 0,
        "cores": int((values("cores") or ["1"])[0] or 1),
        "prepared": bool(values("prepared")),
    }


def describe_machine(found: MachineReport) -> list[str]:
    """What a machine has, in sentences."""
    python = found["python"] or f"none from 3.11 to 3.13 (found: {', '.join(found['found_pythons']) or 'none'})"
    return [
        f"Graphics cards: {', '.join(found['gpus']) or 'none; training runs on its processor'}.",
        f"Cores: {found['cores']}. Free: {found['free'] / 1e9:.1f} GB. Python: {python}.",
        "It has the packages of this version." if found["prepared"] else "It is not prepared yet.",
    ]


def _is_supported(version: str) -> bool:
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    return _SUPPORTED[0] <= numbers <= _SUPPORTED[1]


def prepare(machine: RemoteMachine) -> Iterator[str]:
    """Makes an environment on a machine, or checks the one that its owner named, and sends the engine's code. Nothing
    outside the machine's folder is changed. Yields a sentence about each step. Raises Problem."""
    found = probe(machine)
    if machine.python:
        _require_packages(machine)
    elif not found["prepared"]:
        _require_usable(machine, found)
        yield f"Installing packages with {found['python']}; this takes some minutes."
        yield from _install(machine, found)
    yield "Sending the engine’s code."
    ensure_code(machine)


def _require_usable(machine: RemoteMachine, found: MachineReport) -> None:
    """Raises Problem for what keeps an environment from being made."""
    if not found["python"]:
        versions = ", ".join(found["found_pythons"]) or "none"
        raise Problem(
            f"“{machine.name}” has no Python from 3.11 to 3.13 (found: {versions}).",
            advice="Install one there, or name an environment that has the packages (--python).",
        )
    needed = _NEEDED_BYTES if found["gpus"] else _NEEDED_BYTES_ON_CPU
    if found["free"] < needed:
        raise Problem(
            f"“{machine.name}” has {found['free'] / 1e9:.1f} GB free, and the packages take about {needed / 1e9:.0f} GB.",
            advice="Choose a folder on a larger disk there (--folder).",
            reason="disk_full",
        )


def _require_packages(machine: RemoteMachine) -> None:
    """Raises Problem where the environment that the owner named has other versions: results would differ."""
    pins = pinned_versions()
    program = (
        "import json; from importlib.metadata import version, PackageNotFoundError\n"
        f"found = {{}}\nfor name in {sorted(pins)!r}:\n"
        "    try: found[name] = version(name)\n    except PackageNotFoundError: found[name] = None\n"
        "print(json.dumps(found))"
    )
    output = run_script(machine, f"{shlex.quote(python_path(machine))} -c {shlex.quote(program)}")
    found = {name: str(version).partition("+")[0] for name, version in json.loads(output).items() if version}
    other = [
        f"{name} {found.get(name, 'missing')} instead of {version}"
        for name, version in sorted(pins.items())
        if found.get(name) != version
    ]
    if other:
        raise Problem(
            f"The environment {machine.python} on “{machine.name}” has other packages: {'; '.join(other)}.",
            advice="Leave it out, and one is made there.",
        )


def torch_index(driver: int) -> str:
    """The package index with the build of torch that a machine's driver runs; empty for the usual one. driver: major
    version of NVIDIA's, 0 for a machine without a card."""
    if not driver:
        return f"{_BUILD_INDEX}cpu"
    build = next((name for first_driver, name in _CUDA_BUILDS if driver >= first_driver), None)
    if build is None:
        raise Problem(
            f"NVIDIA's driver {driver} there is too old for this version of torch.",
            advice="Ask for driver 525 or later.",
        )
    return f"{_BUILD_INDEX}{build}" if build else ""


def _install(machine: RemoteMachine, found: MachineReport) -> Iterator[str]:
    """Makes the environment by a process there that goes on when the connection is cut; running it again waits for it."""
    folder = f"{machine.folder}/environments/{requirements_version()}"
    draft, index = f"{folder}.draft", torch_index(found["driver"])
    torch_pin = next(line for line in engine_requirements() if line.startswith("torch=="))
    torch_command = (
        f"bin/pip install --index-url {index} {torch_pin} || bin/pip install {torch_pin}" if index else "true"
    )
    steps = f"{shlex.quote(found['python'])} -m venv . && ( {torch_command} ) && bin/pip install -r requirements.txt"
    script = (
        f"umask 077; mkdir -p {shlex.quote(draft)} && cd {shlex.quote(draft)} && "
        "{ kill -0 $(cat pid 2>/dev/null) 2>/dev/null || { cat > requirements.txt; rm -f status; "
        f"setsid sh -c {shlex.quote(f'echo $$ > pid; ( {steps} ) > log.txt 2>&1; echo $? > status')} "
        "</dev/null >/dev/null 2>&1 & }; }"
    )
    run_script(machine, script, "\n".join(engine_requirements()).encode())
    status = yield from _wait_for_status(machine, draft)
    if status != "0":
        log = run_script(machine, f"tail -n 3 {shlex.quote(draft)}/log.txt")
        raise Problem(
            f"The packages could not be installed on “{machine.name}”: {shorten(' '.join(log.split()), 300)}",
            advice="Can that machine reach a package index? Its pip configuration holds, so a mirror of one's own works.",
        )
    run_script(machine, f"rm -rf {shlex.quote(folder)} && mv {shlex.quote(draft)} {shlex.quote(folder)}")


def _wait_for_status(machine: RemoteMachine, draft: str) -> Generator[str, None, str]:
    """The exit status of the installation, as it says there. Yields what is being installed meanwhile."""
    deadline, told = time.monotonic() + _INSTALL_SECONDS, ""
    look = f"cd {shlex.quote(draft)} && cat status 2>/dev/null; grep -E '^(Collecting|Installing)' log.txt 2>/dev/null | tail -n 1"
    while time.monotonic() < deadline:
        lines = run_script(machine, f"{look}; true").strip().splitlines()
        if lines and lines[0].isdigit():
            return lines[0]
        if lines and lines[-1] != told:
            told = lines[-1]
            yield shorten(told, 120)
        time.sleep(_POLL_SECONDS)
    raise Problem(f"The installation on “{machine.name}” takes more than an hour.", advice="Look at its network.")
