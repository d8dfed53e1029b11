"""Command `rehearse`: twenty real steps before a run, to see that it fits and how long it takes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from app.cli.options import AsJson, Changes, Setup
from app.cli.terminal import format_settings, print_document, print_text, read_setup
from app.core.workspace import local_workspace
from app.hub.model_choice import require_usable_model
from app.planning import launcher
from app.planning.rehearsal import RehearsalProgress, RehearsalResult, rehearse
from app.planning.rehearsal_findings import rehearsal_findings
from app.planning.resolve import resolve

_BYTES_PER_GB = 1_000_000_000


def rehearse_setup(
    setup: Setup,
    changes: Changes = [],  # noqa: B006 typer copies it
    machine: Annotated[str, typer.Option(help="Where: local, local:cpu, local:cuda:0.")] = "local",
    memory: Annotated[
        float | None, typer.Option(min=0.01, metavar="GB", help="Let it take no more than this, on the processor.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Takes twenty real steps on the longest examples; where memory runs out, finds the changes that make it fit."""
    limit = int(memory * _BYTES_PER_GB) if memory else None
    spec, launch = read_setup(setup, changes), launcher.create_launch(machine)
    require_usable_model(resolve(spec))
    attempts = 0
    for message in rehearse(local_workspace(), spec, launch, limit):
        if "settings" in message:
            print_document(message, as_json, _format_result)
        elif not as_json:
            attempts = _print_progress(message, attempts)


def _print_progress(progress: RehearsalProgress, attempts: int) -> int:
    """Prints to stderr what is new. Returns how many attempts ran out of memory."""
    if len(progress["attempts"]) > attempts:
        change = progress["attempts"][-1]["change"]
        print_text(f"Out of memory. Tries: {change['title']}. {change['reason']}", file=sys.stderr)
    elif progress["waiting"]:
        print_text(f"Waiting: {progress['waiting']} ahead.", file=sys.stderr)
    elif progress["done"]:
        print_text(f"step {progress['done']}/{progress['of']}", file=sys.stderr)
    return len(progress["attempts"])


def _format_result(result: RehearsalResult) -> str:
    lines = [f"{finding['severity']}: {finding['text']}" for finding in rehearsal_findings(result)]
    if result["settings"]:
        lines.append(f"It fits with: {format_settings(result['settings'])}")
    return "\n".join(lines)
