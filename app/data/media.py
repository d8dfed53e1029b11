"""Sound and films in rows, which no model here can use: rows that speak of them are refused."""

from __future__ import annotations

from collections.abc import Mapping

from app.contracts import Finding
from app.data.fields import Cell, Row
from app.data.messages import MESSAGE_COLUMNS, content_text, is_dict_list
from app.data.row_finding import make_finding

MEDIA_REFUSAL = "it has sound or a film, which no model here can use"
MEDIA_COLUMNS = frozenset({"audio", "audios", "video", "videos"})
_PLACEHOLDERS = ("<audio>", "<video>", "<|audio|>", "<|video|>")
_PART_TYPES = frozenset({"audio", "input_audio", "audio_url", "video", "input_video", "video_url"})


def media_refusal(raw_row: Row, row: Row) -> str | None:
    """The reason why a row is dropped whose messages have sound or films as parts, or placeholders for those that a
    column of the raw row holds; None for any other."""
    has_column = any(raw_row.get(name) not in (None, "", []) for name in MEDIA_COLUMNS)
    for name in MESSAGE_COLUMNS:
        messages = row.get(name)
        contents = [message.get("content") for message in messages] if is_dict_list(messages) else [messages]
        for content in contents:
            if _has_media_part(content) or (has_column and _has_placeholder(content)):
                return MEDIA_REFUSAL
    return MEDIA_REFUSAL if has_column and _has_placeholder(row.get("text")) else None


def _has_media_part(content: Cell) -> bool:
    """Whether the content of a message has a part that is sound or a film."""
    return is_dict_list(content) and any(part.get("type") in _PART_TYPES for part in content)


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
    contents = [row.get("text")]
    for name in MESSAGE_COLUMNS:
        messages = row.get(name)
        contents += [message.get("content") for message in messages] if is_dict_list(messages) else [messages]
    texts = [content for content in contents if isinstance(content, str)]
    return [placeholder for placeholder in ("<image>", *_PLACEHOLDERS) if any(placeholder in text for text in texts)]
