"""Turns: who speaks, under which name, what they say and call, and which of it is learned, in one form whoever wrote it."""

from __future__ import annotations

import ast
import json
from typing import Any

Row = dict[str, Any]
Turns = list[Row]

OURS = ("system", "user", "assistant", "tool")
ROLES = {
    "system": "system", "developer": "system", "instructions": "system",
    "user": "user", "human": "user", "prompter": "user", "customer": "user", "question": "user", "usr": "user",
    "assistant": "assistant", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant", "ai": "assistant",
    "bing": "assistant", "bard": "assistant", "claude": "assistant", "chatbot": "assistant", "agent": "assistant", "answer": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "tool_response": "tool", "tool_result": "tool", "function_response": "tool",
    "ipython": "tool",
}  # fmt: skip
CALLS = ("function_call", "tool_call", "tool_calls")  # roles of turns that only call a tool
PLACES = ("messages", "prompt", "completion", "chosen", "rejected", "reference")
SPEAKERS = ("role", "from")  # without these words no text is turns
PICTURE = "<image>"
WRAPS = ("messages", "conversations", "conversation")
LONGEST = 2_000_000  # characters of a cell that is looked at as JSON


class Unknown(Exception):
    """A speaker whom nobody knows."""


def read(turns: Turns, roles: dict[str, str]) -> Turns:
    """Turns as role and content. Raises Unknown with the name of a speaker who is in neither table."""
    return [as_turn(turn, roles, strict=True) for turn in turns]


def as_turn(turn: Row, roles: dict[str, str] | None = None, strict: bool = False) -> Row:
    """ShareGPT's from/value become role/content, the usual other names of roles are mapped, calls and marks get one form."""
    if len(turn) == 2 and not roles and turn.get("role") in OURS and isinstance(turn.get("content"), str):
        return turn  # most turns are so, of hundreds of thousands
    name = str(turn.get("role") or turn.get("from") or "user")
    rest = {key: value for key, value in turn.items() if key not in ("role", "from", "value", "content")}
    content = turn.get("content", turn.get("value"))
    content = "" if content is None else content
    lower = name.strip().lower()
    own = (roles or {}).get(name) or (roles or {}).get(lower)
    if own is None and lower in CALLS:
        return calling(content, rest)
    role = own or ROLES.get(lower)
    if role is None and strict:
        raise Unknown(name)
    return marked({"role": role or lower, "content": content} | called(rest))


def calling(content: Any, rest: Row) -> Row:
    """A turn whose content is the call of a tool, as JSON; what is no such call stays what the assistant says."""
    calls = unpacked(content)
    calls = calls if isinstance(calls, list) else [calls]
    if calls and all(isinstance(one, dict) and isinstance(one.get("function", one), dict) for one in calls):
        return marked({"role": "assistant", "content": ""} | called({"tool_calls": calls}) | rest)
    return marked({"role": "assistant", "content": content} | rest)


def called(rest: Row) -> Row:
    """Calls of tools as {"type", "function": {"name", "arguments": an object}}: templates write the arguments as JSON themselves."""
    old = rest.get("function_call")  # OpenAI's form before there were several
    if isinstance(old, dict) and "tool_calls" not in rest:
        rest = {key: value for key, value in rest.items() if key != "function_call"} | {"tool_calls": [old]}
    calls = unpacked(rest.get("tool_calls"))
    if not isinstance(calls, list) or not all(isinstance(one, dict) for one in calls):
        return rest
    return rest | {"tool_calls": [call(one) for one in calls]}


def call(one: Row) -> Row:
    what = one.get("function", one)
    if not isinstance(what, dict):
        return one
    arguments = unpacked(what.get("arguments"))
    told = what | ({"arguments": arguments} if isinstance(arguments, dict) else {})
    return one | {"function": told} if "function" in one else {"type": "function", "function": told}


# -- what is learned of a turn --------------------------------------------------------------------------------------


def marked(turn: Row) -> Row:
    """`train` as true or false, ranges of letters as parts with marks of their own: as Axolotl's `train_detail` counts them."""
    turn = turn | {"train": flag(turn["train"])} if "train" in turn else turn
    for place in ("content", "reasoning_content"):
        if isinstance(turn.get(place), list):
            turn = turn | {place: [part(one) for one in turn[place]]}
    ranges = turn.get("train_detail")
    if not isinstance(ranges, list) or not isinstance(turn.get("content"), str):
        return turn
    rest = {key: value for key, value in turn.items() if key != "train_detail"}
    return rest | {"content": in_parts(turn["content"], ranges)}


def flag(value: Any) -> Any:
    words = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    return value if isinstance(value, bool) or value is None else words.get(str(value).strip().lower().removesuffix(".0"))  # fmt: skip


def part(one: Any) -> Any:
    """A part with its text as `text`; pictures and the like stay as they are."""
    if isinstance(one, str):
        return {"type": "text", "text": one}
    if not isinstance(one, dict) or one.get("type", "text") not in ("text", "reasoning"):
        return one
    said = next((one[name] for name in ("text", "content", "value") if one.get(name) is not None), "")
    kept = {key: value for key, value in one.items() if key not in ("text", "content", "value", "type")}
    return {"type": one.get("type", "text"), "text": str(said)} | kept | ({"train": flag(kept["train"])} if "train" in kept else {})  # fmt: skip


def in_parts(text: str, ranges: list[Any]) -> Any:
    """[{"begin_offset", "end_offset" (the last letter that belongs to it), "train"}] as parts; what lies between has no mark."""
    parts, done = [], 0
    for one in sorted((one for one in ranges if is_range(one)), key=lambda one: one["begin_offset"]):
        start, end = max(done, one["begin_offset"]), min(len(text), one["end_offset"] + 1)
        if start >= end:
            continue
        if text[done:start]:
            parts.append({"type": "text", "text": text[done:start]})
        parts.append({"type": "text", "text": text[start:end], "train": flag(one.get("train"))})
        done = end
    if text[done:]:
        parts.append({"type": "text", "text": text[done:]})
    return parts or text


def is_range(one: Any) -> bool:
    return isinstance(one, dict) and all(
        isinstance(one.get(name), int) and one[name] >= 0 for name in ("begin_offset", "end_offset")
    )


def has_marks(turns: Any) -> bool:
    """Whether some turn says itself that it is learned, or is not."""
    if not isinstance(turns, list):
        return False
    return any(isinstance(turn, dict) and (turn.get("train") is not None or turn.get("weight") is not None or any(
        isinstance(one, dict) and ("train" in one or "weight" in one)
        for place in ("content", "reasoning_content") if isinstance(turn.get(place), list) for one in turn[place]))
        for turn in turns)  # fmt: skip


def plain(turn: Row) -> Row:
    """Without marks, for a method that reads none: texts in parts become one text, parts that reason `reasoning_content`."""
    if len(turn) == 2 and isinstance(turn.get("content"), str):
        return turn
    turn = {key: value for key, value in turn.items() if key not in ("train", "weight")}
    parts = turn.get("content")
    if is_words(parts) and any(one["type"] == "reasoning" for one in parts):
        turn |= {"content": joined(parts, "text"), "reasoning_content": joined(parts, "reasoning")}
    for place in ("content", "reasoning_content"):
        if is_words(turn.get(place)):
            turn |= {place: "".join(str(one.get("text", "")) for one in turn[place])}
    return turn


def is_words(parts: Any) -> bool:
    """Parts that are all words: no picture among them."""
    return isinstance(parts, list) and all(isinstance(one, dict) and one.get("type") in ("text", "reasoning") for one in parts)  # fmt: skip


def joined(parts: list[Row], kind: str) -> str:
    return "".join(str(one.get("text", "")) for one in parts if one["type"] == kind)


# -- where pictures stand ---------------------------------------------------------------------------------------------


def pictured(turns: Turns) -> Turns:
    """Turns in which each <image> of a text is a place for a picture, as LLaVA and ShareGPT write it."""
    return [turn | {"content": split(turn["content"])} if isinstance(turn.get("content"), str) and PICTURE in turn["content"] else turn
            for turn in turns]  # fmt: skip


def split(text: str) -> list[Row]:
    first, *rest = text.split(PICTURE)
    parts = [{"type": "text", "text": first}] if first.strip() else []
    for after in rest:
        words = after.removeprefix("\n")
        parts += [{"type": "image"}] + ([{"type": "text", "text": words}] if words.strip() else [])
    return parts


# -- what wraps them ----------------------------------------------------------------------------------------------


def opened(value: Any) -> Any:
    """Turns out of what data sets wrap them in: {"messages": […]}, a single turn, or either as text in a table's cell."""
    if isinstance(value, str) and not any(word in value for word in SPEAKERS):
        return value
    made = unpacked(value)
    if made is not value and not speaks(made):
        return value  # an answer may be JSON
    if not isinstance(made, dict):
        return made
    inner = next((made[name] for name in WRAPS if made.get(name) is not None), None)
    return inner if inner is not None else [made] if {"role", "from", "content", "value"} & {*made} else value


def speaks(made: Any) -> bool:
    """Whether what was text is surely turns: each with a speaker and words."""
    if isinstance(made, dict):
        made = next((made[name] for name in WRAPS if made.get(name) is not None), [made])
    return is_turns(made) and all({"content", "value", "tool_calls"} & {*turn} for turn in made)


def unpacked(value: Any) -> Any:
    """What a cell holds as JSON, or as Python writes a list of dictionaries; other text stays what it is."""
    if not isinstance(value, str) or len(value) > LONGEST or value.lstrip()[:1] not in ("[", "{"):
        return value
    for reader in (json.loads, ast.literal_eval):
        try:
            made = reader(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):  # a border: a person's cell
            continue
        return made if isinstance(made, list | dict) else value
    return value


def is_turns(value: Any) -> bool:
    """A list of turns in which somebody speaks."""
    return isinstance(value, list) and bool(value) and all(
        isinstance(turn, dict) and ("role" in turn or "from" in turn) for turn in value
    )  # fmt: skip
