"""Conversations written as one text, in which Human and Assistant speak in turn, as Anthropic's hh-rlhf has them."""

from __future__ import annotations

import re
from typing import Any

from app.data.messages import Row, Turns

TITLE = "Conversations written as one text"
KIND = "messages"
NEEDS = ("text",)
MAY = ("system", "tools")
NAMES = {"text": ("text", "transcript", "conversation", "conversations", "dialogue", "dialog", "chat", "messages", "content", "body", "document")}  # fmt: skip
TELLING = "“Human:” and “Assistant:” in turn"
NOT_ONE = "it is no conversation of Human and Assistant"

# What stands before a speaker's name, the first that fits the whole text: OpenAssistant writes the hashes, hh-rlhf the blank line.
BEFORE = (r"### ", r"\n\n", r"\n")
ASKS, ANSWERS = ("Human", "User"), ("Assistant", "AI")


def fits(row: Row) -> bool:
    return turns_of(row["text"]) is not None


def row(given: Row) -> Row | str:
    turns = turns_of(given.get("text"))
    if turns is None:
        return NOT_ONE
    return {**{name: value for name, value in given.items() if name != "text"}, "messages": turns}


def turns_of(text: Any) -> Turns | None:
    """The turns of such a text, without an answer at its end that was left open; None where it is none."""
    if not isinstance(text, str):
        return None
    text = text.strip()
    asks = next((name for name in ASKS if re.match(rf"(?:### )?(?:System:.*?\s)?(?:### )?{name}:", text, re.DOTALL)), None)  # fmt: skip
    answers = next((name for name in ANSWERS if f"{name}:" in text), None)
    if asks is None or answers is None:
        return None
    roles = {"System": "system", asks: "user", answers: "assistant"}
    found = next((turns for before in BEFORE if says_both(turns := parted(text, before, roles))), None)
    if found and found[-1] == {"role": "assistant", "content": ""}:
        found = found[:-1]
    return found


def parted(text: str, before: str, roles: dict[str, str]) -> Turns:
    """[] where somebody else begins."""
    marks = [*re.finditer(rf"(?:^(?:### )?|{before})({'|'.join(roles)}):", text)]
    if not marks or marks[0].start() > 0:
        return []
    ends = [*(one.start() for one in marks[1:]), len(text)]
    return [{"role": roles[one[1]], "content": text[one.end() : end].strip()} for one, end in zip(marks, ends, strict=True)]  # fmt: skip


def says_both(turns: Turns) -> bool:
    """Somebody asks before somebody answers, in words or not yet."""
    said = [turn["role"] for turn in turns if turn["role"] != "system"]
    return len(said) > 1 and said[0] == "user" and "assistant" in said
