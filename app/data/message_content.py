"""Content of messages in one form: text, or a list of text and media parts."""

from __future__ import annotations

from app.data.fields import Cell
from app.data.json_cells import json_text
from app.data.train_flags import ALL_FLAG_KEYS

_TEXT_PART_TYPES = ("input_text", "output_text")  # OpenAI's Responses API
# Types of parts in public data; those that are neither text nor pictures are refused by app/data/images.py.
_PART_TYPES = {
    *("text", *_TEXT_PART_TYPES, "reasoning", "thinking", "refusal", "image", "image_url", "input_image"),
    *("audio", "audio_url", "input_audio", "video", "video_url", "file", "input_file", "document"),
    *("tool_use", "tool_result", "tool_call"),
}
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
    if isinstance(content, list) and content and all(_is_part(part) or isinstance(part, str) for part in content):
        return [_with_text_type(part) for part in content]
    return "" if content == [] else json_text(content)


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


def is_written_as_json(content: Cell) -> bool:
    """Whether this content becomes JSON text."""
    return content is not None and not isinstance(content, str) and isinstance(normalize_content(content), str)
