"""Which rows a chat template refuses, and why, found while the rows are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from app.core.problems import shorten
from app.data.apply_layout import drop_train_flags
from app.data.conversations.messages import Messages, is_message_list
from app.data.fields import Cell, Row
from app.data.row_types import rendered_columns
from app.engine.masking.chat_template import ChatTemplate, TemplateKwargs
from app.engine.masking.masked_dataset import row_template_kwargs
from app.engine.model.template_source import TEMPLATE_ERRORS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ANSWER_COLUMNS = ("completion", "chosen", "rejected", "reference")
_MAX_REASON_LENGTH = 120  # characters
_Shape = tuple[tuple[object, ...], ...]


class TemplateRefusals:
    """Called with a normalized row: why the chat template refuses it, in a few words; empty where it does not.

    Templates refuse by the order of roles and the presence of fields, so conversations of one shape are rendered once.
    row_types: of the method. is_thorough: every row is rendered, because refused ones are to be left out whatever the reason.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template: str,
        template_kwargs: TemplateKwargs,
        row_types: Sequence[str],
        is_thorough: bool = False,
    ):
        self._chat_template = ChatTemplate(tokenizer, template)
        self._template_kwargs, self._row_types, self._is_thorough = template_kwargs, row_types, is_thorough
        self._reasons: dict[_Shape, str] = {}

    def __call__(self, row: Row) -> str:
        row = drop_train_flags(rendered_columns(row, self._row_types))
        return next(filter(None, (self._reason(messages, row) for messages in row_conversations(row))), "")

    def _reason(self, messages: Messages, row: Row) -> str:
        shape = conversation_shape(messages, row)
        if self._is_thorough or shape not in self._reasons:
            self._reasons[shape] = self._render(messages, row)
        return self._reasons[shape]

    def _render(self, messages: Messages, row: Row) -> str:
        template_kwargs = self._template_kwargs | row_template_kwargs(row)
        try:
            self._chat_template.render(messages, template_kwargs, is_open_prompt(row))
        except TEMPLATE_ERRORS as error:  # boundary: a chat template is foreign code and refuses some conversations
            return shorten(str(error) or type(error).__name__, _MAX_REASON_LENGTH).rstrip(".")
        return ""


def row_conversations(row: Row) -> Iterator[Messages]:
    """The conversations that a method renders of a row: one, or the prompt with each of its answers. None of a row of
    plain text, and of one with pictures, which a processor renders."""
    if is_message_list(row.get("messages")):
        conversations = [row["messages"]]
    elif is_message_list(row.get("prompt")):
        answers = [row[name] for name in _ANSWER_COLUMNS if is_message_list(row.get(name))]
        conversations = [row["prompt"] + answer for answer in answers] or [row["prompt"]]
    else:
        return
    yield from (messages for messages in conversations if not any(map(_has_media, messages)))


def is_open_prompt(row: Row) -> bool:
    """Whether the row is a prompt without an answer, which is rendered with the header of one."""
    return "messages" not in row and not any(is_message_list(row.get(name)) for name in _ANSWER_COLUMNS)


def conversation_shape(messages: Messages, row: Row) -> _Shape:
    """Equal for conversations that differ only in what is said: roles, fields and numbers of calls, and whether there
    are tools."""
    return (
        (bool(row.get("tools")), is_open_prompt(row), *sorted((row.get("chat_template_kwargs") or {}).keys())),
        *(_message_shape(message) for message in messages),
    )


def _message_shape(message: Row) -> tuple[object, ...]:
    calls = message.get("tool_calls")
    call_count = len(calls) if isinstance(calls, Sequence) else 0
    return (message["role"], call_count, *sorted(key for key, field in message.items() if not is_blank(field)))


def is_blank(field: Cell) -> bool:
    """Whether a field of a message says nothing: null, empty, or only white space."""
    return field is None or field in ([], {}) or (isinstance(field, str) and not field.strip())


def _has_media(message: Row) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(part.get("type", "text") not in ("text", "reasoning") for part in content)
