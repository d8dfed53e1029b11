"""Conversations in the forms that datasets and chat assistants write them, as turns with `role` and `content`.

A turn may name its speaker and text differently (`speaker` and `text`, Gemini's `role` and `parts`), be a pair of a
question and its answer, or be only a text, where the name of the column says that these are turns.
"""

from __future__ import annotations

import json
from typing import NamedTuple

from app.data.fields import Cell, Row

SPEAKER_KEYS = ("role", "from", "speaker", "author", "sender", "name")  # of a turn, the most certain first
_TEXT_KEYS = ("content", "value", "text", "message", "body", "utterance", "parts")
_WEAK_SPEAKER_KEYS = ("author", "sender", "name")  # files and products have these as well
_NAMED_CONTENT_KEYS = frozenset(("content", "value", "tool_calls", "function_call"))
# What exports write beside a turn, and nobody trains on.
_BOOKKEEPING_KEYS = frozenset(
    [
        "uuid",
        "id",
        "created_at",
        "updated_at",
        "timestamp",
        "create_time",
        "parent_message_uuid",
        "attachments",
        "files",
        "files_v2",
        "index",
    ]
)
_PAIR_ROLES = {
    "system": ("system",),
    "user": ("input", "question", "instruction", "prompt", "query", "q", "user", "human", "customer", "message"),
    "assistant": ("output", "answer", "response", "completion", "reply", "a", "assistant", "gpt", "bot", "chatbot"),
}
_ROLE_BY_PAIR_KEY = {key: role for role, keys in _PAIR_ROLES.items() for key in keys}
_MIN_TEXTS = 2  # a single text is no exchange


class ConvertedTurns(NamedTuple):
    """Turns with `role` and `content`, and a sentence about the form in which they were written."""

    turns: list[Row]
    sentence: str


def convert_turns(elements: Cell, is_conversation: bool = False) -> ConvertedTurns | None:
    """The turns of a list that is written in another form; None where it is in a usual form already, or no
    conversation.

    is_conversation: the name of the column says that this is a conversation, so its speakers may have any names.
    """
    if not isinstance(elements, list) or not elements or not all(isinstance(element, dict) for element in elements):
        return None
    if all(map(_is_usual_turn, elements)):
        return None
    return _convert_speakers(elements, is_conversation) or _convert_pairs(elements)


def _is_usual_turn(turn: Row) -> bool:
    """Whether a turn has the keys of OpenAI's or ShareGPT's form."""
    return ("role" in turn or "from" in turn) and not _NAMED_CONTENT_KEYS.isdisjoint(turn)


# -- turns that name their speaker -------------------------------------------------------------------------------------


def _convert_speakers(elements: list[Row], is_conversation: bool) -> ConvertedTurns | None:
    """Turns with a speaker and a text under other names; None where an element has none of them."""
    speaker_keys = {_speaker_key(element) for element in elements}
    turns = [convert_turn(element) for element in elements]
    if None in speaker_keys or None in turns:
        return None
    speakers = {str(turn.get("role", turn.get("from"))) for turn in turns if turn}
    is_surely_conversation = is_conversation or not speaker_keys & {*_WEAK_SPEAKER_KEYS}
    if not is_surely_conversation and len(speakers) == len(elements):
        return None  # a list of files or people, each with its own name
    first_turn = next(element for element in elements if not _is_usual_turn(element))
    if "parts" in first_turn:
        sentence = "The turns are in Gemini's form: their texts stand under `parts`."
    else:
        speaker_key, text_key = _speaker_key(first_turn), _text_key(first_turn)
        sentence = f"Who speaks stands under `{speaker_key}`, and what is said under `{text_key}`."
    return ConvertedTurns([turn for turn in turns if turn], sentence)


def convert_turn(turn: Row) -> Row | None:
    """A turn with `role` and `content`; None where it names no speaker or has no text."""
    if _is_usual_turn(turn):
        return turn
    speaker_key, text_key = _speaker_key(turn), _text_key(turn)
    if speaker_key is None or text_key is None:
        return None
    speaker, text = turn[speaker_key], turn[text_key]
    role = speaker if isinstance(speaker, str) else speaker.get("role") or speaker.get("name")
    other_fields = {
        key: field
        for key, field in turn.items()
        if key not in (speaker_key, *_TEXT_KEYS) and key not in _BOOKKEEPING_KEYS
    }
    if text_key == "parts":
        spoken = _join_parts(text)
        return None if spoken is None else {"role": role} | spoken | other_fields
    if isinstance(text, list) and speaker_key not in ("role", "from"):
        text = "\n\n".join(part["text"] for part in text if _is_text_part(part))  # beside it, calls of Claude's tools
    return {"role": role, "content": text} | other_fields


def _is_text_part(part: Cell) -> bool:
    """Whether a content part is a text that somebody says."""
    return isinstance(part, dict) and part.get("type", "text") == "text" and isinstance(part.get("text"), str)


def _speaker_key(turn: Row) -> str | None:
    """The key under which a turn names its speaker: a text, or as in ChatGPT's export an object with a role."""
    return next(
        (
            key
            for key in SPEAKER_KEYS
            if isinstance(speaker := turn.get(key), str)
            or (isinstance(speaker, dict) and isinstance(speaker.get("role") or speaker.get("name"), str))
        ),
        None,
    )


def _text_key(turn: Row) -> str | None:
    """The key under which a turn has its text: the first that is not empty, else the first that is there."""
    present = [key for key in _TEXT_KEYS if isinstance(turn.get(key), str | list) and key != _speaker_key(turn)]
    texts_first = sorted(present, key=lambda key: isinstance(turn[key], list))  # an export repeats its text in parts
    return next((key for key in texts_first if turn[key]), texts_first[0] if texts_first else None)


def _join_parts(parts: Cell) -> Row | None:
    """{"content", "reasoning_content", "tool_calls"} of the parts of a turn in Gemini's form; None for parts that are
    neither texts nor calls of functions, such as images."""
    part_list = parts if isinstance(parts, list) else [parts]
    texts: list[str] = []
    thoughts: list[str] = []
    tool_calls: list[Row] = []
    for part in part_list:
        part = {"text": part} if isinstance(part, str) else part
        if not isinstance(part, dict):
            return None
        call = part.get("functionCall") or part.get("function_call")
        response = part.get("functionResponse") or part.get("function_response")
        if isinstance(part.get("text"), str):
            (thoughts if part.get("thought") is True else texts).append(part["text"])
        elif isinstance(call, dict):
            function = {"name": call.get("name"), "arguments": call.get("args") or {}}
            tool_calls.append({"type": "function", "function": function})
        elif isinstance(response, dict):
            texts.append(json.dumps(response.get("response"), ensure_ascii=False))
        else:
            return None
    reasoning = {"reasoning_content": "".join(thoughts)} if thoughts else {}
    calls = {"tool_calls": tool_calls} if tool_calls else {}
    is_response = any(
        isinstance(part, dict) and {"functionResponse", "function_response"} & {*part} for part in part_list
    )
    return {"content": "".join(texts)} | reasoning | calls | ({"role": "tool"} if is_response else {})


def system_text(cell: Cell) -> Cell:
    """The text of a system prompt that is a turn or a list of parts; any other cell as it is."""
    if isinstance(cell, dict):
        text_key = _text_key(cell)
        cell = cell[text_key] if text_key else cell
    if not isinstance(cell, list):
        return cell
    spoken = _join_parts(cell)
    return cell if spoken is None else spoken["content"]


# -- pairs and texts ---------------------------------------------------------------------------------------------------


def _convert_pairs(elements: list[Row]) -> ConvertedTurns | None:
    """Turns of objects that have the text of the user, of the assistant, or of both under such a name."""
    pairs = [_pair_keys(element) for element in elements]
    all_keys = {key: None for pair in pairs for key in pair.values()}
    if not all(pairs) or not {"user", "assistant"} <= {role for pair in pairs for role in pair}:
        return None
    turns = [
        {"role": role, "content": element[pair[role]]}
        for element, pair in zip(elements, pairs, strict=True)
        for role in _PAIR_ROLES
        if role in pair
    ]
    names = " and ".join(f"`{key}`" for key in all_keys)
    return ConvertedTurns(turns, f"What is asked and what is answered stand under {names}.")


def _pair_keys(element: Row) -> dict[str, str]:
    """{role: the key of its text} of an object; empty where two keys would have one role."""
    keys: dict[str, str] = {}
    for key, text in element.items():
        role = _ROLE_BY_PAIR_KEY.get(key.strip().lower()) if isinstance(text, str) else None
        if role in keys:
            return {}
        if role is not None:
            keys[role] = key
    return keys


def texts_in_turn(elements: Cell) -> list[Row]:
    """The turns of a list of texts, or of pairs of texts, in which the user and the assistant speak in turn; empty for
    anything else. Only the name of its column says that such a list is a conversation."""
    if not isinstance(elements, list):
        return []
    pairs = [element for element in elements if isinstance(element, list) and len(element) == 2]
    texts = [text for pair in pairs for text in pair] if len(pairs) == len(elements) else elements
    if len(texts) < _MIN_TEXTS or not all(isinstance(text, str) for text in texts):
        return []
    return [{"role": "assistant" if index % 2 else "user", "content": text} for index, text in enumerate(texts)]
