"""Command `storage`: what is kept on this machine, and deleting it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from app.cli.options import AsJson
from app.cli.terminal import print_document
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.pipelines import storage
from app.pipelines.storage import Deletion, StoredKind

_Delete = Annotated[
    list[str] | None,
    typer.Option("--delete", help=f"Delete all of a kind: {', '.join(storage.KINDS)}. Can be given several times."),
]


def manage_storage(
    delete: _Delete = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """How much room runs, pipelines, uploads and caches take; --delete removes them for good."""
    workspace = local_workspace()
    if not delete:
        print_document(storage.list_storage(workspace), as_json, _format_listing)
        return
    if not yes:
        if not sys.stdin.isatty():
            raise Problem("Deleting needs a yes.", advice="Add --yes if you are sure: it cannot be undone.")
        typer.confirm(f"Delete all {' and '.join(delete)} in {workspace.path} for good?", abort=True)
    print_document(storage.delete_storage(workspace, delete), as_json, _format_deletion)


def _format_listing(kinds: list[StoredKind]) -> str:
    lines = [f"{stored['kind']:<12}{stored['count']:>8}{stored['bytes'] / 1e6:>12,.1f} MB" for stored in kinds]
    return "\n".join(lines)


def _format_deletion(deletion: Deletion) -> str:
    in_use = f" In use, and kept: {', '.join(deletion['in_use'])}." if deletion["in_use"] else ""
    return f"Freed {deletion['bytes'] / 1e6:,.1f} MB.{in_use}"
