"""Wanted: what a person and the rows ask to be learned of a conversation, turn by turn and, within a turn, from letter to letter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate, groupby, pairwise
from typing import Any

from app.engine.masking.chat_template import Turns

Row = dict[str, Any]
THOUGHTS = ("<think>", "</think>")


@dataclass(frozen=True)
class LossMaskPolicy:
    """What of a conversation is learned. roles: whose turns. marked: what rows say themselves counts first. last: only the last
    turn that would be learned. ends: the marks that end learned turns are too: `all`, the `last` one or `none`. asked: also turns
    of a question that stands apart from its answer."""

    roles: tuple[str, ...] = ("assistant",)
    marked: bool = False
    last: bool = False
    ends: str = "all"
    splits_thoughts: bool = False
    asked: bool = False


@dataclass
class Turn:
    """A turn as its chat format gets it, and what of it is learned. parts: of some words, (from, to, learned) in characters."""

    told: Row
    learned: bool
    parts: dict[str, list[tuple[int, int, bool]]] = field(default_factory=dict)


def labeled_turns(row: Row, choice: LossMaskPolicy) -> list[Turn]:
    """All turns of a conversation, or of a question with its answer."""
    asked = row.get("prompt") or []
    told = row["messages"] if "messages" in row else [*asked, *(row.get("completion") or [])]
    made = [turn_of(turn, choice, number < len(asked)) for number, turn in enumerate(told)]
    if choice.last:
        kept = max((number for number, turn in enumerate(made) if turn.learned or turn.parts), default=-1)
        for number, turn in enumerate(made):
            if number != kept:
                turn.learned, turn.parts = False, {}
    return made


def turn_of(turn: Row, choice: LossMaskPolicy, asked: bool) -> Turn:
    learned = turn["role"] in choice.roles and (choice.asked or not asked)
    if choice.marked:
        own = flag(turn)
        learned = own if own is not None else learned or bool(turn.get("train_detail"))
    made = Turn({key: value for key, value in turn.items() if key not in ("train", "weight", "train_detail", "train_spans")}, learned)  # fmt: skip
    for name, parts in spoken(turn).items():
        made.told[name] = "".join(part["text"] for part in parts)
        flags = [flag(part) if choice.marked else None for part in parts]
        if any(one is not None for one in flags):
            made.parts[name] = placed(parts, [learned if one is None else one for one in flags])
    if (
        choice.marked
        and (ranges := turn.get("train_detail") or turn.get("train_spans"))
        and "content" not in made.parts
    ):
        made.parts["content"] = ranged(made.told.get("content") or "", ranges, learned)
    if choice.splits_thoughts and "content" not in made.parts and turn["role"] == "assistant":
        made.told |= without_thoughts(made.told)
    return made


def flag(marked: Row) -> bool | None:
    """`train`, or OpenAI's `weight` of 0 or 1; None where it says nothing."""
    if isinstance(marked.get("train"), bool):
        return marked["train"]
    weight = marked.get("weight")
    return bool(weight) if isinstance(weight, int | float) else None


def spoken(turn: Row) -> dict[str, list[Row]]:
    """{field: texts} of words that come in parts: thoughts may stand among them or apart."""
    found: dict[str, list[Row]] = {}
    for name in ("reasoning_content", "content"):
        for part in turn[name] if isinstance(turn.get(name), list) else []:
            thought = name == "reasoning_content" or part.get("type") == "reasoning"
            found.setdefault("reasoning_content" if thought else "content", []).append({**part, "text": part.get("text") or ""})  # fmt: skip
    return found | ({"content": []} if found and isinstance(turn.get("content"), list) and "content" not in found else {})  # fmt: skip


def placed(parts: list[Row], flags: list[bool]) -> list[tuple[int, int, bool]]:
    ends = list(accumulate((len(part["text"]) for part in parts), initial=0))
    return [(start, end, learned) for (start, end), learned in zip(pairwise(ends), flags, strict=True)]


def ranged(words: str, ranges: list[Row], learned: bool) -> list[tuple[int, int, bool]]:
    """Ranges whose last letter belongs to them; what none of them names is learned as its turn is."""
    flags = [learned] * len(words)
    for one in ranges:
        start, end = max(0, int(one["begin_offset"])), min(len(words), int(one["end_offset"]) + 1)
        flags[start:end] = [bool(one.get("train"))] * max(0, end - start)
    runs = [(told, len(list(run))) for told, run in groupby(flags)]
    ends = list(accumulate((size for _, size in runs), initial=0))
    return [(start, end, told) for (start, end), (told, _) in zip(pairwise(ends), runs, strict=True)]


def without_thoughts(told: Row) -> Row:
    """Thoughts at the beginning of an answer, apart from it: formats write them where they belong."""
    words = told.get("content")
    begin, end = THOUGHTS
    if told.get("reasoning_content") or not isinstance(words, str) or not words.lstrip().startswith(begin) or end not in words:  # fmt: skip
        return {}
    thoughts, _, rest = words.lstrip().removeprefix(begin).partition(end)
    return {"reasoning_content": thoughts.strip("\n"), "content": rest.lstrip("\n")}


def loose_ends(turns: list[Turn]) -> Iterator[str]:
    """Words that end in white space where the next are learned otherwise: that space belongs to a token of both."""
    for turn in turns:
        for name, parts in turn.parts.items():
            for (start, end, learned), (_, _, next_learned) in pairwise(parts):
                words = turn.told[name][start:end]
                if learned != next_learned and words != words.rstrip(" \t"):
                    yield words


def as_told(turns: list[Turn]) -> Turns:
    return [turn.told for turn in turns]
