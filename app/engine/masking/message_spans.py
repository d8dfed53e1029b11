"""Places: where in a conversation, as the model reads it, each turn's words stand."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from app.engine.masking.chat_template import Format, Turns

SAID = ("reasoning_content", "content")  # what a turn says, in the order formats write it
MARKED = re.compile("\ue000(\\d+)\ue001")  # characters that stand in no text: of the private use area


@dataclass(frozen=True)
class Place:
    """From and to in characters. turn: its number. skipped: so many characters of the words' beginning the format left out."""

    start: int
    end: int
    turn: int
    field: str
    skipped: int = 0


def places(form: Format, turns: Turns, text: str, *, open_end: bool = False, **options: Any) -> list[Place] | None:
    """Of all words in `text`, in their order; None where that cannot be told for certain, as the format writes them anew.
    open_end: the text may stop anywhere.

    The conversation is written once more with a mark in place of each text; with the texts put back it must be the very same.
    """
    named, said = [], []
    for number, turn in enumerate(turns):
        made = dict(turn)
        for field in SAID:
            if isinstance(words := turn.get(field), str) and words.strip():
                made[field] = f"\ue000{len(said)}\ue001"
                said.append((number, field, words))
        named.append(made)
    try:
        frame = form.written(named, **options)[0]
    except Exception:  # a border: a template is a stranger's program and may refuse our marks
        return None
    return put_back(frame, said, text, open_end)


def put_back(frame: str, said: list[tuple[int, str, str]], text: str, open_end: bool = False) -> list[Place] | None:
    found: list[Place] = []
    at = done = 0
    for mark in MARKED.finditer(frame):
        between = frame[done : mark.start()]
        if open_end and between.startswith(text[at:]):
            return found
        if not text.startswith(between, at):
            return None
        at, done = at + len(between), mark.end()
        turn, field, words = said[int(mark.group(1))]
        following = frame[done : done + 40].partition("\ue000")[0]
        told = next((one for one in forms(words) if text.startswith(one + following, at)), None)
        if told is None and open_end and words.startswith(text[at:]):
            return [*found, Place(at, len(text), turn, field)]
        if told is None:
            return None
        found.append(Place(at, at + len(told), turn, field, words.find(told)))
        at += len(told)
    return found if text[at:] == frame[done:] or (open_end and frame[done:].startswith(text[at:])) else None


def forms(words: str) -> list[str]:
    """As formats write them: as they are, or without white space around."""
    return list(dict.fromkeys([words, words.strip(), words.strip("\n"), words.rstrip(), words.lstrip(), words.lstrip("\n"), words.rstrip("\n")]))  # fmt: skip
