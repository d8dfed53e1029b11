"""Rank zero: which of several processes that train one model together writes events, files and caches."""

from __future__ import annotations

import os


def is_main_process() -> bool:
    """Whether this process writes. The launchers of torch and accelerate number the processes in $RANK; alone, it is 0."""
    return int(os.environ.get("RANK") or 0) == 0
