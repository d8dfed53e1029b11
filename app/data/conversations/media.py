"""Sound and films in rows, which no model here can use: rows that speak of them are refused."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from app.contracts import Finding
from app.data.column_words import MEDIA_WORDS, name_words
from app.data.conversations.messages import MESSAGE_COLUMNS, content_text, is_dict_list
from app.data.fields import Cell, Row
from app.data.row_finding import make_finding

MEDIA_REFUSAL = "it has sound or a film, which no model here can use"
_PLACEHOLDERS = ("<audio>", "<video>", "<|audio|>", "<|video|>")
_PART_TYPES = frozenset({"audio", "input_audio", "audio_url", "video", "input_video", "video_url"})
# Words beside a word for media that say how it is held; others, as in `video_title`, say that it is something else.
_HOLDER_WORDS = frozenset(
    ["file", "files", "path", "paths", "url", "urls", "link", "clip", "clips", "raw", "source", "bytes"]
)
_SUFFIXES = "wav|mp3|flac|ogg|opus|m4a|aac|mp4|webm|mkv|mov|avi"
_MEDIA_FILE = re.compile(rf"data:(?:audio|video)/\S+|\S+\.(?:{_SUFFIXES})(?:[?#]\S*)?", re.IGNORECASE)


def media_refusal(raw_row: Row, row: Row) -> str | None:
    """The reason why a row is dropped whose messages have sound or films as parts, or placeholders for those that a
    column of the raw row holds; None for any other."""
    contents = _contents(row)
    if any(map(_has_media_part, contents)):
        return MEDIA_REFUSAL
    if any(map(_has_placeholder, contents)) and any(holds_media(name, [cell]) for name, cell in raw_row.items()):
        return MEDIA_REFUSAL
    return None


def holds_media(name: str, cells: Sequence[Cell]) -> bool:
    """Whether a column holds sound or films: its cells are such, or its name says so and its cells may be such."""
    present_cells = [cell for cell in cells if cell not in (None, "", [], {})]
    if not present_cells:
        return False
    if all(map(_is_media, present_cells)):
        return True
    naming_words = {word for word in name_words(name) if not word.isdigit()} - _HOLDER_WORDS
    return bool(naming_words) and naming_words <= MEDIA_WORDS and all(map(_may_be_media, present_cells))


def _is_media(cell: Cell) -> bool:
    """Whether a cell is sound or a film, or names a file of it."""
    if isinstance(cell, list):
        return bool(cell) and all(map(_is_media, cell))
    if isinstance(cell, dict):
        has_samples = {"array", "sampling_rate"} <= cell.keys()
        return has_samples or any(_is_media(cell.get(key)) for key in ("path", "url"))
    return isinstance(cell, str) and bool(_MEDIA_FILE.fullmatch(cell.strip()))


def _may_be_media(cell: Cell) -> bool:
    """Whether a cell may stand for sound or a film: an object, bytes, or a single word such as an address."""
    if isinstance(cell, list):
        return all(map(_may_be_media, cell))
    return isinstance(cell, dict | bytes) or (isinstance(cell, str) and len(cell.split()) == 1)


def _contents(row: Row) -> list[Cell]:
    """What is said in all messages and texts of a row."""
    contents = [row.get("text")]
    for name in MESSAGE_COLUMNS:
        messages = row.get(name)
        contents += [message.get("content") for message in messages] if is_dict_list(messages) else [messages]
    return contents


def _has_media_part(content: Cell) -> bool:
    """Whether the content of a message has a part that is sound or a film."""
    return is_dict_list(content) and any(str(part.get("type")) in _PART_TYPES for part in content)


def _has_placeholder(content: Cell) -> bool:
    """Whether a text marks the place of sound or a film."""
    text = content if isinstance(content, str) else content_text(content) if is_dict_list(content) else ""
    return any(placeholder in text for placeholder in _PLACEHOLDERS)


def placeholder_findings(outcomes: Mapping[int, Row | str]) -> list[Finding]:
    """A finding for each kind of placeholder that stands in the texts of rows without pictures, sound or films.

    outcomes: {row number: the row as it is read, or the reason why it is dropped}.
    """
    rows_by_placeholder: dict[str, list[int]] = {}
    for number, row in outcomes.items():
        for placeholder in _placeholders_in(row) if not isinstance(row, str) else ():
            rows_by_placeholder.setdefault(placeholder, []).append(number)
    return [
        make_finding(
            "placeholder",
            "careful",
            f"`{placeholder}` stands in {len(rows)} of the first {len(outcomes)} rows, and nothing to put there beside it: it is read and learned as plain text.",
            rows,
        )
        for placeholder, rows in rows_by_placeholder.items()
    ]


def _placeholders_in(row: Row) -> list[str]:
    """The placeholders of pictures, sound and films that are left in the texts of a row."""
    texts = [content for content in _contents(row) if isinstance(content, str)]
    return [placeholder for placeholder in ("<image>", *_PLACEHOLDERS) if any(placeholder in text for text in texts)]
