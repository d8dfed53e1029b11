"""Access keys of the page on this machine: each signs in one browser, and is void after that."""

from __future__ import annotations

import math
import os
import secrets
import time

from app.core.workspace import Workspace

_NAME_FILE = "page-name"


class AccessKeys:
    """The keys that were issued and not used yet."""

    def __init__(self) -> None:
        self._deadlines: dict[str, float] = {}  # in seconds of time.monotonic, by key

    def issue(self, seconds: float = math.inf) -> str:
        """A new key, which is good for so many seconds."""
        key = secrets.token_urlsafe(16)
        self._deadlines[key] = time.monotonic() + seconds
        return key

    def is_valid(self, candidate: str) -> bool:
        """Whether this is a key that was not used and is not too old."""
        return self._find(candidate) is not None

    def use_up(self, candidate: str) -> None:
        """Makes a valid key void."""
        key = self._find(candidate)
        if key is not None:
            del self._deadlines[key]

    def _find(self, candidate: str) -> str | None:
        now = time.monotonic()
        self._deadlines = {key: deadline for key, deadline in self._deadlines.items() if deadline > now}
        matches = [key for key in self._deadlines if is_same_secret(candidate, key)]
        return matches[0] if matches else None


def is_same_secret(candidate: str, secret: str) -> bool:
    """Whether the two are equal, in a time that does not tell how much of them is."""
    return secrets.compare_digest(candidate.encode(), secret.encode())


def page_name(workspace: Workspace) -> str:
    """The host name of this workspace's page, which nobody else knows; browsers resolve it to this machine. It stays the
    same from start to start, because the browser keeps drafts by it."""
    path = workspace.folder() / _NAME_FILE
    name = path.read_text() if path.exists() else ""
    if not name.endswith(".localhost"):
        name = f"tunesmith-{secrets.token_hex(6)}.localhost"
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
            file.write(name)
    return name
