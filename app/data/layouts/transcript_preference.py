"""Better and worse answers at the end of conversations written as one text, as Anthropic's hh-rlhf has them."""

from __future__ import annotations

from app.data.layouts.transcript import NOT_ONE, turns_of
from app.data.messages import Row

TITLE = "Better and worse answers, written as one text"
KIND = "preference"
NEEDS = ("chosen", "rejected")
MAY = ("prompt", "system", "margin")
TELLING = "“Human:” and “Assistant:” in turn"


def fits(row: Row) -> bool:
    return all(turns_of(row[name]) is not None for name in NEEDS)


def row(given: Row) -> Row | str:
    """The question beside the answers may be written so too."""
    read = {name: turns_of(given.get(name)) for name in NEEDS}
    if None in read.values():
        return NOT_ONE
    asked = turns_of(given.get("prompt"))
    return {**given, **read, **({"prompt": asked} if asked else {})}
