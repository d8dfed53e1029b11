"""Questions and answers in two columns, whatever these are called."""

from __future__ import annotations

TITLE = "Questions and answers"
KIND = "prompt_completion"
NEEDS = ("prompt", "completion")
MAY = ("system",)
# Pairs of names that everybody uses so; others are a guess that one looks at.
KNOWN = (
    ("question", "answer"), ("question", "response"), ("input", "output"), ("prompt", "response"), ("query", "response"), ("query", "answer"),
    ("user", "assistant"), ("problem", "answer"), ("prompt", "answer"), ("prompt", "output"), ("q", "a"),
)  # fmt: skip
