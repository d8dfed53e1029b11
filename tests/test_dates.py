"""Dates: written in one way everywhere."""

from __future__ import annotations

import re
import time

from app.core.dates import format_date
from app.core.paths import ROOT


def test_a_date_has_day_month_year_and_time() -> None:
    assert format_date(time.mktime((2026, 9, 1, 5, 7, 0, 0, 0, -1))) == "1 Sep 2026, 05:07"


def test_nothing_else_on_the_page_writes_a_date_of_its_own() -> None:
    own_formats = re.compile(r"%b|DateTimeFormat|toLocaleDateString|toLocaleTimeString")
    files = [
        path for folder in ("app", "components") for kind in ("*.py", "*.js") for path in (ROOT / folder).rglob(kind)
    ]
    assert [path.name for path in files if own_formats.search(path.read_text("utf-8"))] == ["dates.py"]
