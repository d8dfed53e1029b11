"""Two answers of which one is better: `chosen` and `rejected`, with the question beside them or at their beginning."""

from __future__ import annotations

from app.data.messages import Row, opened

TITLE = "Better and worse answers"
KIND = "preference"
NEEDS = ("chosen", "rejected")
MAY = ("prompt", "system", "margin")
NAMES = {
    "prompt": (
        "prompt",
        "question",
        "instruction",
        "input",
        "query",
        "user",
        "problem",
        "messages",
        "conversations",
        "conversation",
    )
}
KNOWN = (("preferred_output", "non_preferred_output"),)  # as OpenAI calls them


def row(given: Row) -> Row:
    """A conversation beside the answers may already end with one of them: the question ends where somebody asks."""
    asked = opened(given.get("prompt"))
    if not isinstance(asked, list) or not all(isinstance(turn, dict) for turn in asked):
        return given
    while asked and asked[-1].get("role") == "assistant":
        asked = asked[:-1]
    return {**given, "prompt": asked}
