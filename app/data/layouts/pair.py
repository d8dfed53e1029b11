"""Questions and answers in two columns, whatever these are called."""

from __future__ import annotations

TITLE = "Questions and answers"
KIND = "prompt_completion"
NEEDS = ("prompt", "completion")
MAY = ("system", "tools", "reasoning")
# Pairs of column names with one usual meaning; other pairs are a guess, which a person has to confirm.
_SPEAKERS = tuple(
    (user, assistant)
    for user in ("user", "human", "customer", "prompter")
    for assistant in ("assistant", "bot", "chatbot", "gpt", "ai", "agent", "model", "chatgpt")
)
KNOWN = (
    *_SPEAKERS,
    ("question", "answer"),
    ("question", "response"),
    ("input", "output"),
    ("prompt", "response"),
    ("query", "response"),
    ("query", "answer"),
    ("problem", "answer"),
    ("prompt", "answer"),
    ("prompt", "output"),
    ("q", "a"),
)
