"""Visitor: the person behind a request, and the workspace that is theirs."""

from __future__ import annotations

from app.core.workspace import Workspace, local_workspace


def visitor_workspace() -> Workspace:
    """The workspace of the person whose request is being answered.

    Every handler takes runs, uploads and streams from it, so that a guessed id of somebody else's is the same as a
    missing one. A page serves one person today: whoever has the key on this machine, or the owner of a Space.
    """
    return local_workspace()
