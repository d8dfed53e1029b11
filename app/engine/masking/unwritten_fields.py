"""Fields of conversations that a chat template does not write: the model never sees them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from app.data.apply_layout import drop_train_flags
from app.data.conversations.messages import MESSAGE_COLUMNS, Messages, is_message_list
from app.data.conversations.turn_keys import HARMLESS_KEYS, REASONING_KEYS
from app.data.fields import Row
from app.data.row_types import rendered_columns
from app.engine.masking.chat_template import ChatTemplate, TemplateKwargs
from app.engine.masking.masked_dataset import row_template_kwargs
from app.engine.masking.template_refusals import (
    conversation_shape,
    is_blank,
    is_open_prompt,
    row_conversations,
)
from app.engine.model.template_source import TEMPLATE_ERRORS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TOOLS, CALLS, RESULTS = "tools", "tool_calls", "tool turns"
REASONING, EARLIER_REASONING = "reasoning", "earlier reasoning"
SYSTEM, TEXT_BESIDE_CALL = "system", "text beside a call"
PROMPT_TOOLS = "tools of a prompt"  # whatever the template: trainers give prompts the tools of their settings only
# What a field holds, in words.
FIELD_TITLES = {
    TOOLS: "the tools that may be called (`tools`)",
    PROMPT_TOOLS: "the tools of the rows (`tools`)",
    CALLS: "calls of tools (`tool_calls`)",
    RESULTS: "what tools return (turns of `tool`)",
    REASONING: "the reasoning before answers (`reasoning_content`)",
    EARLIER_REASONING: "the reasoning before earlier answers (`reasoning_content`)",
    SYSTEM: "system messages",
    TEXT_BESIDE_CALL: "what is said beside a call of a tool",
}
# Known fields, whose loss changes what a model learns. Nobody knows whether an unknown key should be written.
KNOWN_FIELDS = frozenset(FIELD_TITLES) - {EARLIER_REASONING}
_MARKER = "xq"  # added to a field's text, to see whether the rendered text changes with it
_PLAIN_KEYS = {"role", "content"}
_PLAIN_ROLES = {"user", "assistant"}
_OWN_FIELD_KEYS = {"role", "content", "tool_calls", *REASONING_KEYS}


class UnwrittenFields:
    """Called with a row as a method takes it: the names of its fields that its chat template does not write, as in
    FIELD_TITLES, and unknown keys of its messages.

    Each field is changed by itself and the conversation rendered again; a field that changes nothing is not written.
    Rows whose conversations have one shape are rendered once. template_kwargs: what the template gets beside the messages.
    row_types: of the method.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template: str,
        template_kwargs: TemplateKwargs,
        row_types: Sequence[str],
    ):
        self._chat_template = ChatTemplate(tokenizer, template)
        self._template_kwargs, self._row_types = template_kwargs, row_types
        self._names_by_shape: dict[object, frozenset[str]] = {}

    def __call__(self, row: Row) -> frozenset[str]:
        row = rendered_columns(row, self._row_types)
        if not _has_fields(row):
            return frozenset()  # fast path: most rows are questions and answers only
        row = drop_train_flags(row)
        names: set[str] = set()
        for messages in row_conversations(row):
            shape = conversation_shape(messages, row)
            if shape not in self._names_by_shape:
                self._names_by_shape[shape] = self._unwritten_names(messages, row)
            names |= self._names_by_shape[shape]
        return frozenset(names)

    def _unwritten_names(self, messages: Messages, row: Row) -> frozenset[str]:
        text = self._render(messages, row)
        if text is None:
            return frozenset()  # it is refused, which is reported elsewhere
        written: dict[str, list[bool]] = {}
        for name, changed_messages in _changed_messages(messages):
            written.setdefault(name, []).append(self._render(changed_messages, row) != text)
        if row.get("tools") and is_open_prompt(row):
            written[PROMPT_TOOLS] = [False]
        elif row.get("tools"):
            written[TOOLS] = [self._render(messages, row | {"tools": _renamed_tools(row["tools"])}) != text]
        names = {name for name, is_written in written.items() if not all(is_written)}
        if REASONING in names and any(written[REASONING]):
            names = names - {REASONING} | {EARLIER_REASONING}
        return frozenset(names)

    def _render(self, messages: Messages, row: Row) -> str | None:
        """The conversation as text; None where the template refuses it."""
        own_kwargs = (
            {} if is_open_prompt(row) else row_template_kwargs(row)
        )  # trainers give prompts their own tools only
        try:
            return self._chat_template.render(messages, self._template_kwargs | own_kwargs, is_open_prompt(row))[0]
        except TEMPLATE_ERRORS:  # boundary: a chat template is foreign code
            return None


def _has_fields(row: Row) -> bool:
    """Whether a row has more than questions and answers."""
    if row.get("tools"):
        return True
    columns = (row.get(name) for name in MESSAGE_COLUMNS)
    return any(
        message["role"] not in _PLAIN_ROLES or not message.keys() <= _PLAIN_KEYS
        for messages in columns
        if is_message_list(messages)
        for message in messages
    )


def _changed_messages(messages: Messages) -> Iterator[tuple[str, Messages]]:
    """(name of a field, the conversation with this one field of one message changed)."""
    for index, message in enumerate(messages):
        for name, changed_message in _changed_fields(message):
            yield name, [*messages[:index], changed_message, *messages[index + 1 :]]


def _changed_fields(message: Row) -> Iterator[tuple[str, Row]]:
    content, calls = message.get("content"), message.get("tool_calls")
    has_text = isinstance(content, str) and bool(content.strip())
    changed_content = message | {"content": f"{content}{_MARKER}"}
    if message["role"] == "system" and has_text:
        yield SYSTEM, changed_content
    if message["role"] == "tool" and has_text:
        yield RESULTS, changed_content
    if calls:
        yield CALLS, message | {"tool_calls": _renamed_tools(calls)}
        if has_text:
            yield TEXT_BESIDE_CALL, changed_content
    reasoning = {key: message[key] for key in REASONING_KEYS if not is_blank(message.get(key))}
    if reasoning:
        yield REASONING, message | {key: f"{text}{_MARKER}" for key, text in reasoning.items()}
    for key, field in message.items():
        if key not in _OWN_FIELD_KEYS | HARMLESS_KEYS and not is_blank(field):
            yield f"`{key}`", {name: other for name, other in message.items() if name != key}


def _renamed_tools(tools: list[Row]) -> list[Row]:
    """Tools, or calls of tools, with other names."""
    return [tool | {"function": tool["function"] | {"name": f"{tool['function']['name']}{_MARKER}"}} for tool in tools]
