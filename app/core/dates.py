"""Dates as the page and the command line write them."""

from __future__ import annotations

import time


def format_date(seconds: float) -> str:
    """Unix time as “1 Dec 2026, 15:10”, in this machine's time zone; components/format.js writes the same."""
    return time.strftime("%d %b %Y, %H:%M", time.localtime(seconds)).lstrip("0")
