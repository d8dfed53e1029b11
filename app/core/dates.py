"""Dates and durations as the page and the command line write them."""

from __future__ import annotations

import time


def format_date(seconds: float) -> str:
    """Unix time as “1 Dec 2026, 15:10”, in this machine's time zone; components/format.js writes the same."""
    return time.strftime("%d %b %Y, %H:%M", time.localtime(seconds)).lstrip("0")


def format_duration(seconds: float) -> str:
    """Duration such as "14 s", "3 min" or "2 h 5 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
