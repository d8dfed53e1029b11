"""Audit: what a look at all examples found: each finding with its examples and the way to mend it, and where to cut what is long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from components.theme import alone, page, safe

JS = "\n".join((Path(__file__).parent / name).read_text(encoding="utf-8") for name in ("length_limit.js", "audit.js"))


def audit(told: dict[str, Any]) -> str:
    """Drawn by audit.js from data beside it: examples are strangers' text, which nothing here takes for HTML.

    told: {"state": "none"}; {"state": "asked"}: it waits for a click; {"state": "busy", "progress": as the worker tells it};
    {"state": "refused", "text"}; {"state": "done", "result": as the worker tells it, "limits": of the maximum length}.
    """
    data = safe(json.dumps(told, separators=(",", ":")))
    return f'<div class="audit"><pre hidden class="data">{data}</pre></div>'


def example() -> None:
    found = [
        {"id": "duplicates", "severity": "careful", "text": "3 examples repeat an earlier one.", "count": 3, "rows": [3, 9, 12],
         "remedy": {"title": "Drop the repeated ones", "changes": {"drop": ["duplicates"]}}},
        {"id": "private", "severity": "wrong", "text": "1 example holds an e-mail address that looks real.", "count": 1, "rows": [5], "remedy": None},
        {"id": "ends", "severity": "good", "text": "Every answer ends with an end token.", "count": 0, "rows": [], "remedy": None},
    ]  # fmt: skip
    lengths = {"counts": [[20, 40], [40, 210], [60, 160], [120, 3]], "needed": [[10, 413]], "width": 1, "limit": 100, "maximum": 100,
               "longest": 120, "median": 40, "p99": 60, "total": 18_760}  # fmt: skip
    result = {"rows": 413, "held_out": 20, "dropped": [{"reason": "empty answer", "count": 2, "rows": [4, 77]}], "again": False, "seconds": 0.8,
              "tokens": {"all": 18_760, "trained": 6_200}, "lengths": lengths, "counts": {}, "findings": found,
              "cost": {"steps": 130, "effective_batch": 16, "padding": 0.31, "step_tokens": 900, "packed_rows": 190, "packed_steps": 60},
              "examples": {"3": "Where is my parcel?", "5": "Write to a…@… please"}}  # fmt: skip
    for told in (
        {"state": "asked"},
        {"state": "busy", "progress": {"what": "Looking at words", "done": 120, "total": 413, "seconds_left": 3}},
        {"state": "done", "result": result, "limits": [16, 4096]},
    ):
        page(audit(told), js_on_load=JS)


if __name__ == "__main__":
    alone(example)
