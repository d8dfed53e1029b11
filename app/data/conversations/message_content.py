"""Content of messages in one form: text, or a list of text and media parts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from app.data.conversations.train_flags import ALL_FLAG_KEYS
from app.data.fields import Cell
from app.data.reading.json_cells import json_text

_TEXT_PART_TYPES = ("input_text", "output_text")  # OpenAI's Responses API
# Types of parts in public data; those that are neither text nor pictures are refused by app/data/conversations/images.py.
_PART_TYPES = {
    *("text", *_TEXT_PART_TYPES, "reasoning", "thinking", "refusal", "image", "image_url", "input_image"),
    *("audio", "audio_url", "input_audio", "video", "video_url", "file", "input_file", "document"),
    *("tool_use", "tool_result", "tool_call"),
}
_MIN_WORDS = 3  # of a single text that is no name or value
_SENTENCE_ENDS = (".", "?", "!", "…", ":", "。", "？", "！")
_UNTYPED_PART_KEYS = {"text", "image", "image_url", *ALL_FLAG_KEYS}


def normalize_content(content: Cell) -> str | list[Cell]:
    """Content as text or as a list of parts. A number, an object or a list that is no list of parts becomes JSON text:
    a model that is to answer in JSON learns JSON, and what a tool returned is read as JSON."""
    if isinstance(content, str):
        return content
    if content is None:
        return ""
    if isinstance(content, dict) and _is_part(content):
        content = [content]
    if isinstance(content, list) and content and _is_part_list(content):
        return [_with_text_type(part) for part in content]
    return "" if content == [] else json_text(content)


def _is_part_list(elements: Sequence[Cell]) -> bool:
    """Whether these are parts of a content, some of which may be bare text. Bare texts alone are parts where they are
    pieces of one text; a list of words is an answer in JSON."""
    texts = [element for element in elements if isinstance(element, str)]
    if len(texts) < len(elements):
        return all(isinstance(element, str) or _is_part(element) for element in elements)
    if len(texts) == 1:
        return len(texts[0].split()) >= _MIN_WORDS or texts[0].rstrip().endswith(_SENTENCE_ENDS)
    return all(first[-1:].isspace() or second[:1].isspace() for first, second in pairwise(texts))


def _is_part(part: Cell) -> bool:
    """Whether this is a part of a content: it has the type of one, or nothing but text or a picture, and maybe a train
    flag."""
    if not isinstance(part, dict) or not part:
        return False
    if "type" in part:
        return isinstance(part["type"], str) and part["type"] in _PART_TYPES
    return bool({"text", "image", "image_url"} & part.keys()) and part.keys() <= _UNTYPED_PART_KEYS


def _with_text_type(part: Cell) -> Cell:
    """The part with the type `text`, where it has another name for it or is bare text."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if isinstance(part, dict) and part.get("type") in _TEXT_PART_TYPES:
        return part | {"type": "text"}
    return part
