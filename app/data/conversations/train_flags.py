"""Train flags: which messages, or parts of their content, are trained on, as the rows themselves say.

A message or a content part may carry `train` (true or false), `weight` (as OpenAI writes it), or one of the other names
in the tables below, which are brought to `train`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from app.data.fields import Cell, Row

TRAIN_FLAG_KEYS = ("train", "weight")  # after normalization
# Names under which datasets say that a message is trained, or with which weight: ms-swift, Axolotl, OpenAI, H2O and others.
_TRAINED_ALIASES = (
    "training",
    "trained",
    "trainable",
    "is_trained",
    "do_train",
    "loss",
    "loss_weight",
    "loss_scale",
    "loss_mask",
    "learn",
    "learned",
)
_UNTRAINED_ALIASES = ("mask", "masked", "is_masked", "ignore", "ignore_loss", "no_loss")  # true: not trained
# A bare `mask` is 1 for what is trained in some data and for what is hidden in others, so it is named where it is read.
AMBIGUOUS_FLAG_KEYS = ("mask",)
ALL_FLAG_KEYS = (*TRAIN_FLAG_KEYS, *_TRAINED_ALIASES, *_UNTRAINED_ALIASES)
_FLAG_ALIASES = {*_TRAINED_ALIASES, *_UNTRAINED_ALIASES}
_CONTENT_FIELDS = ("content", "reasoning_content")


def normalize_train_flags(message: Row) -> Row:
    """A message with `train` as true or false, and with the character ranges of Axolotl's `train_detail` as content
    parts."""
    message = _with_one_flag(message)
    for content_field in _CONTENT_FIELDS:
        if isinstance(message.get(content_field), list):
            message = message | {
                content_field: [_normalize_content_part(content_part) for content_part in message[content_field]]
            }
    ranges = message.get("train_detail")
    if not isinstance(ranges, list) or not isinstance(message.get("content"), str):
        return message
    other_fields = {key: value for key, value in message.items() if key != "train_detail"}
    return other_fields | {"content": _split_at_ranges(message["content"], ranges)}


def _with_one_flag(marked: Row) -> Row:
    """A message or a part with its train flag as `train`, whatever its name in the data; `train` and `weight` come
    first. A flag that says neither stays under its own name, so that it is reported as unread."""
    if isinstance(marked.get("weight"), str) and (is_trained := parse_train_flag(marked["weight"])) is not None:
        marked = marked | {"weight": int(is_trained)}
    if not (_FLAG_ALIASES | {"train"}) & marked.keys():
        return marked
    flags = {
        name: flag if name not in _UNTRAINED_ALIASES else not flag
        for name in ("train", *_TRAINED_ALIASES, *_UNTRAINED_ALIASES)
        if name in marked and (flag := parse_train_flag(marked[name])) is not None
    }
    other_fields = {key: field for key, field in marked.items() if key not in flags and key != "train"}
    if "weight" in marked and "train" not in flags:
        return other_fields
    return other_fields | ({"train": next(iter(flags.values()))} if flags else {})


def parse_train_flag(flag: Cell) -> bool | None:
    """A train flag as a bool, also from text or a weight, which trains unless it is 0; None where it says neither."""
    flags_by_text = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    if isinstance(flag, bool) or flag is None:
        return flag
    flag_text = str(flag).strip().lower()
    try:
        return float(flag_text) > 0
    except ValueError:  # boundary: a person's file
        return flags_by_text.get(flag_text)


def _normalize_content_part(content_part: Cell) -> Cell:
    """A content part with its text under `text`; images and other types stay as they are."""
    if isinstance(content_part, str):
        return {"type": "text", "text": content_part}
    if not isinstance(content_part, dict) or content_part.get("type", "text") not in ("text", "reasoning"):
        return content_part
    text = next((content_part[name] for name in ("text", "content", "value") if content_part.get(name) is not None), "")
    other_fields = {
        key: value for key, value in content_part.items() if key not in ("text", "content", "value", "type")
    }
    return {"type": content_part.get("type", "text"), "text": str(text)} | _with_one_flag(other_fields)


def _split_at_ranges(text: str, ranges: Sequence[Cell]) -> list[Row] | str:
    """Content parts of a text, split at its flagged character ranges; the text between ranges gets no flag.

    ranges: [{"begin_offset", "end_offset" (inclusive), "train"}].
    """
    content_parts: list[Row] = []
    position = 0
    valid_ranges = [character_range for character_range in ranges if _is_character_range(character_range)]
    for character_range in sorted(valid_ranges, key=lambda valid_range: valid_range["begin_offset"]):
        start, end = max(position, character_range["begin_offset"]), min(len(text), character_range["end_offset"] + 1)
        if start >= end:
            continue
        if text[position:start]:
            content_parts.append({"type": "text", "text": text[position:start]})
        content_parts.append(
            {"type": "text", "text": text[start:end], "train": parse_train_flag(character_range.get("train"))}
        )
        position = end
    if text[position:]:
        content_parts.append({"type": "text", "text": text[position:]})
    return content_parts or text


def _is_character_range(character_range: Cell) -> TypeGuard[Row]:
    """Whether both offsets are whole numbers, not negative."""
    return isinstance(character_range, dict) and all(
        isinstance(character_range.get(name), int) and character_range[name] >= 0
        for name in ("begin_offset", "end_offset")
    )


def has_train_flags(messages: Cell) -> bool:
    """Whether some message, or some part of its content, carries a train flag."""
    if not isinstance(messages, list):
        return False
    return any(isinstance(message, dict) and _is_flagged(message) for message in messages)


def _is_flagged(message: Row) -> bool:
    """Whether this message, or a part of its content, carries a train flag."""
    if any(message.get(key) is not None for key in TRAIN_FLAG_KEYS):
        return True
    part_lists = [message[name] for name in _CONTENT_FIELDS if isinstance(message.get(name), list)]
    return any(
        isinstance(content_part, dict) and ("train" in content_part or "weight" in content_part)
        for content_parts in part_lists
        for content_part in content_parts
    )


def without_train_flags(message: Row) -> Row:
    """A message without train flags, for methods that do not read them: text parts are joined to one text, and parts
    of type `reasoning` become `reasoning_content`."""
    if len(message) == 2 and isinstance(message.get("content"), str):
        return message
    message = {key: value for key, value in message.items() if key not in TRAIN_FLAG_KEYS}
    content_parts = message.get("content")
    if _is_text_parts(content_parts) and any(content_part["type"] == "reasoning" for content_part in content_parts):
        message |= {
            "content": _join_part_texts(content_parts, "text"),
            "reasoning_content": _join_part_texts(content_parts, "reasoning"),
        }
    for content_field in _CONTENT_FIELDS:
        if _is_text_parts(message.get(content_field)):
            message |= {
                content_field: "".join(str(content_part.get("text", "")) for content_part in message[content_field])
            }
    return message


def _is_text_parts(content_parts: Cell) -> TypeGuard[list[Row]]:
    """Whether this is a list of text and reasoning parts only, without images."""
    return isinstance(content_parts, list) and all(
        isinstance(content_part, dict) and content_part.get("type") in ("text", "reasoning")
        for content_part in content_parts
    )


def _join_part_texts(content_parts: list[Row], part_type: str) -> str:
    """The texts of all parts of one type, joined."""
    return "".join(
        str(content_part.get("text", "")) for content_part in content_parts if content_part["type"] == part_type
    )
