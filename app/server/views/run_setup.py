"""The view Setup of a run: the setup as a file, what repeats it, how it differs from its preset, and the run's files."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TypedDict

from app.core import platform
from app.core.sizes import format_bytes
from app.planning import links, presets
from app.planning.setup_changes import SettingChange, describe_setup_changes
from app.runs import store
from app.runs.store import Run
from app.server.error_boundary import as_response
from app.server.run_downloads import profile_of, setup_toml
from app.server.visitor import visitor_workspace
from components.run_setup import build_run_setup
from components.shell import build_view


class RunSetup(TypedDict):
    """What the view shows of a run. toml: the setup as a file. command: what repeats the run; empty on a Space, which has
    no terminal. preset: the title of the nearest one. log, profile, result: sizes in words; empty where there is none."""

    title: str
    toml: str
    command: str
    preset: str
    changes: list[SettingChange]
    folder: str
    log: str
    profile: str
    result: str


def build_run_setup_view() -> None:
    """Builds the view; its script calls the server function below."""
    with build_view("setup", "Setup", "Everything that repeats this run, and the files that it left."):
        build_run_setup(read_run_setup, elem_id="run-setup")


@as_response
def read_run_setup(run_id: str) -> RunSetup:
    """The setup of a run, and its files."""
    run = store.get_run(visitor_workspace(), run_id)
    spec = run.spec
    preset, _ = links.nearest_preset(spec)
    log, trace = run.path / "log.txt", profile_of(run)
    return {
        "title": store.run_title(run),
        "toml": setup_toml(run),
        "command": "" if platform.is_space() else _repeat_command(run),
        "preset": presets.describe_preset(preset)["title"],
        "changes": describe_setup_changes(spec, preset),
        "folder": str(run.path),
        "log": format_bytes(log.stat().st_size) if log.exists() else "",
        "profile": format_bytes(trace.stat().st_size) if trace else "",
        "result": format_bytes(_folder_size(run.adapter)) if run.adapter.is_dir() else "",
    }


def _repeat_command(run: Run) -> str:
    """The command line that trains the same again, in the same home."""
    home = os.environ.get("TUNESMITH_HOME")
    prefix = f"TUNESMITH_HOME={shlex.quote(str(run.workspace.path))} " if home else ""
    return f"{prefix}python -m app run {shlex.quote(str(run.path / 'spec.json'))}"


def _folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
