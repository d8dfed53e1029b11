"""Questions to try, often with a column that holds the right answer."""

from __future__ import annotations

TITLE = "Questions"
KIND = "prompt"
NEEDS = ("prompt",)
MAY = ("system",)
KNOWN = (("question",), ("problem",), ("query",))
