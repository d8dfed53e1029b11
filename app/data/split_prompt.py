"""Apart: where the prompt of two answers ends and where they begin, whichever way the three were written down."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from app.data.messages import Row, Turns, as_turn


def without_prompt(asked: Any, chosen: Any, rejected: Any) -> tuple[Any, Any, Any] | str:
    """(prompt, chosen, rejected), where the answers may repeat the prompt or hold it alone."""
    if not (is_text_or_turns(chosen) and is_text_or_turns(rejected)):
        return "chosen or rejected is neither text nor a list of turns"
    if isinstance(chosen, list) != isinstance(rejected, list):
        return "one answer is text and the other a list of turns"
    if isinstance(chosen, list):
        return turns_apart(asked, [as_turn(turn) for turn in chosen], [as_turn(turn) for turn in rejected])
    chosen, rejected = str(chosen), str(rejected)
    if not is_empty(asked):
        repeats = isinstance(asked, str) and chosen.startswith(asked) and rejected.startswith(asked)
        return (asked, chosen[len(asked) :], rejected[len(asked) :]) if repeats else (asked, chosen, rejected)
    length = len(common(chosen, rejected))
    length = max(chosen.rfind(" ", 0, length), chosen.rfind("\n", 0, length)) + 1  # no word is cut in two
    return (chosen[:length], chosen[length:], rejected[length:]) if chosen[:length].strip() else "no prompt"


def turns_apart(asked: Any, chosen: Turns, rejected: Turns) -> tuple[Any, Turns, Turns] | str:
    shared = [turn for turn, _ in takewhile(lambda both: both[0] == both[1], zip(chosen, rejected, strict=False))]
    while shared and shared[-1]["role"] == "assistant":
        shared.pop()  # where both give the same answer, that is the answer
    if is_empty(asked):
        return (shared, chosen[len(shared) :], rejected[len(shared) :]) if shared else "no prompt"
    named = as_messages(asked, "user")
    repeated = alike(shared[: len(named)], named) or alike(
        shared[-len(named) :], named
    )  # it may name only the last question
    return shared if repeated else named + shared, chosen[len(shared) :], rejected[len(shared) :]


def alike(some: Turns, others: Turns) -> bool:
    """The same turns, whatever white space stands around their words."""
    return [said(turn) for turn in some] == [said(turn) for turn in others]


def said(turn: Row) -> Row:
    return turn | {"content": turn["content"].strip() if isinstance(turn["content"], str) else turn["content"]}


def common(one: str, other: str) -> str:
    """What both begin with. Halving is quick also with megabytes."""
    alike, most = 0, min(len(one), len(other))
    while alike < most:
        tried = (alike + most + 1) // 2
        if one[alike:tried] == other[alike:tried]:
            alike = tried
        else:
            most = tried - 1
    return one[:alike]


def is_empty(value: Any) -> bool:
    """Nothing, or only white space; 0 and False are answers."""
    return value is None or value == [] or not str(value).strip()


def is_text_or_turns(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(turn, dict) for turn in value)
    return isinstance(value, str | int | float)


def as_messages(value: Any, role: str) -> Turns:
    return [as_turn(turn) for turn in value] if isinstance(value, list) else [{"role": role, "content": str(value)}]
