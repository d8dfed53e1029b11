"""Questions and answers in two columns, whatever these are called."""

from __future__ import annotations

TITLE = "Questions and answers"
KIND = "prompt_completion"
NEEDS = ("prompt", "completion")
MAY = ("system", "tools", "reasoning")
# Pairs of column names with one usual meaning; other pairs are a guess, which a person has to confirm.
KNOWN = (
    ("question", "answer"),
    ("question", "response"),
    ("input", "output"),
    ("prompt", "response"),
    ("query", "response"),
    ("query", "answer"),
    ("user", "assistant"),
    ("problem", "answer"),
    ("prompt", "answer"),
    ("prompt", "output"),
    ("q", "a"),
)
