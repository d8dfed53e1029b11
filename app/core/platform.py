"""The one place for what differs between systems, and between a Space and a machine of one's own."""

from __future__ import annotations

import os


def is_space() -> bool:
    """Whether this page runs as a Hugging Face Space."""
    return os.environ.get("SYSTEM") == "spaces"
