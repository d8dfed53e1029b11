"""Message spans: where in a conversation, as the model reads it, the text of each message stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import NamedTuple

from app.data.conversations.messages import Messages
from app.engine.masking.chat_template import Span
from app.engine.model.template_source import TEMPLATE_ERRORS

_TEXT_FIELDS = ("reasoning_content", "content")  # of a message, in the order templates write them
_PLACEHOLDER = re.compile("\ue000(\\d+)\ue001")  # of the Unicode private use area: it occurs in no text


@dataclass(frozen=True)
class MessageSpan:
    """Characters from `start` to `end` of the rendered conversation that are one field of a message.

    skipped: how many characters at the beginning of the field the template left out.
    """

    start: int
    end: int
    message_index: int
    field: str
    skipped: int = 0


class _FieldText(NamedTuple):
    """The text of one field of a message, for which a placeholder stands in the frame."""

    message_index: int
    field: str
    text: str


def find_message_spans(
    render: Callable[[Messages], tuple[str, list[Span]]],
    messages: Messages,
    text: str,
    open_end: bool = False,
    exact_indices: Container[int] | None = None,
) -> list[MessageSpan] | None:
    """The spans of all message texts in `text`, in their order; None where they are not certain, as the template
    rewrites them.

    The conversation is rendered once more with a placeholder for each text; with the texts put back it must be exactly
    `text`. render: as `ChatTemplate.render`. open_end: `text` may stop anywhere. exact_indices: messages whose texts must
    stand there as they are, None for all; of others, which are only read, the template may write something else, such as
    a tool's result escaped as JSON.
    """
    with_placeholders: Messages = []
    field_texts: list[_FieldText] = []
    for index, message in enumerate(messages):
        copy = dict(message)
        for field in _TEXT_FIELDS:
            if isinstance(field_text := message.get(field), str) and field_text.strip():
                copy[field] = f"\ue000{len(field_texts)}\ue001"
                field_texts.append(_FieldText(index, field, field_text))
        with_placeholders.append(copy)
    try:
        frame = render(with_placeholders)[0]
    except TEMPLATE_ERRORS:  # boundary: a chat template is foreign code and may refuse our placeholders
        return None
    return _locate_texts(frame, field_texts, text, open_end, exact_indices)


def _locate_texts(
    frame: str,
    field_texts: list[_FieldText],
    text: str,
    open_end: bool = False,
    exact_indices: Container[int] | None = None,
) -> list[MessageSpan] | None:
    """The spans where the placeholders' texts stand in `text`; None where frame and texts together are not `text`."""
    spans: list[MessageSpan] = []
    text_end = frame_end = 0
    for placeholder in _PLACEHOLDER.finditer(frame):
        between = frame[frame_end : placeholder.start()]
        if open_end and between.startswith(text[text_end:]):
            return spans
        if not text.startswith(between, text_end):
            return None
        text_end, frame_end = text_end + len(between), placeholder.end()
        index, field, field_text = field_texts[int(placeholder.group(1))]
        following = frame[frame_end : frame_end + 40].partition("\ue000")[0]
        variants = _whitespace_variants(field_text)
        written = next((variant for variant in variants if text.startswith(variant + following, text_end)), None)
        if written is None and exact_indices is not None and index not in exact_indices:
            written = _rewritten_text(text, text_end, frame[frame_end:])
        if written is None and open_end and field_text.startswith(text[text_end:]):
            return [*spans, MessageSpan(text_end, len(text), index, field)]
        if written is None:
            return None
        spans.append(MessageSpan(text_end, text_end + len(written), index, field, max(0, field_text.find(written))))
        text_end += len(written)
    rest = frame[frame_end:]
    return spans if text[text_end:] == rest or (open_end and rest.startswith(text[text_end:])) else None


def _rewritten_text(text: str, start: int, rest_of_frame: str) -> str | None:
    """What stands there instead of a text that the template rewrote: all up to what the frame has next; None where that
    does not follow."""
    following = rest_of_frame.partition("\ue000")[0]
    end = text.find(following, start) if rest_of_frame.startswith(following + "\ue000") else len(text) - len(following)
    return text[start:end] if end >= start and text.startswith(following, end) else None


def _whitespace_variants(text: str) -> list[str]:
    """The ways in which templates write a text: as it is, or without white space around it."""
    variants = [
        text,
        text.strip(),
        text.strip("\n"),
        text.rstrip(),
        text.lstrip(),
        text.lstrip("\n"),
        text.rstrip("\n"),
    ]
    return list(dict.fromkeys(variants))
