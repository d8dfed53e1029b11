"""Chat messages in one form: role, content and tool calls, whichever tool or dataset wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

from app.data.conversations.conversation_forms import convert_turns
from app.data.conversations.message_content import normalize_content
from app.data.conversations.tool_calls import normalize_tool_call, normalize_tool_calls
from app.data.conversations.train_flags import normalize_train_flags
from app.data.conversations.turn_keys import REASONING_KEYS
from app.data.fields import Cell, Row
from app.data.reading.json_cells import parse_json_cell, parse_nested_json_cell

Messages = list[Row]  # of one conversation, in order

STANDARD_ROLES = ("system", "user", "assistant", "tool")
ROLE_ALIASES = {
    "system": "system",
    "developer": "system",
    "instructions": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "customer": "user",
    "question": "user",
    "usr": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "ai": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "claude": "assistant",
    "chatbot": "assistant",
    "agent": "assistant",
    "answer": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "tool_response": "tool",
    "tool_result": "tool",
    "function_response": "tool",
    "ipython": "tool",
}
TOOL_CALL_ROLES = ("function_call", "tool_call", "tool_calls")  # roles of messages that only call a tool
MESSAGE_COLUMNS = ("messages", "prompt", "completion", "chosen", "rejected", "reference")
_ROLE_KEYS = ("role", "from")  # text without these words is never parsed as messages
_IMAGE_PLACEHOLDER = "<image>"
_WRAPPER_KEYS = ("messages", "conversations", "conversation", "contents", "chat_messages")


class UnknownRole(Exception):
    """A role that is neither a standard one, nor an alias, nor mapped by the source."""


def normalize_messages(messages: Messages, roles: Mapping[str, str]) -> Messages:
    """Messages with `role` and `content`.

    Raises UnknownRole with the name of a role that is neither in `roles` nor an alias.
    """
    return [normalize_message(message, roles, is_strict=True) for message in messages]


def normalize_message(message: Row, roles: Mapping[str, str] | None = None, is_strict: bool = False) -> Row:
    """One message with `role` and `content`: ShareGPT's `from` and `value` are renamed, role aliases are mapped, and
    tool calls and train flags get one form.

    roles: {name in the data: standard role}, before the aliases. is_strict: raise UnknownRole instead of keeping an
    unknown role. Raises UnusableCell for a field that has no such form.
    """
    if (
        len(message) == 2
        and not roles
        and message.get("role") in STANDARD_ROLES
        and isinstance(message.get("content"), str)
    ):
        return message  # fast path: most of the hundreds of thousands of messages need no change
    name = str(message.get("role") or message.get("from") or "user")
    other_fields = {key: value for key, value in message.items() if key not in ("role", "from", "value", "content")}
    content = normalize_content(message.get("content", message.get("value")))
    other_fields = _reasoning_under_standard_name(other_fields)
    lower_name = name.strip().lower()
    mapped_role = (roles or {}).get(name) or (roles or {}).get(lower_name)
    if mapped_role is None and lower_name in TOOL_CALL_ROLES:
        return _tool_call_message(content, other_fields)
    role = mapped_role or ROLE_ALIASES.get(lower_name)
    if role is None and is_strict:
        raise UnknownRole(name)
    return normalize_train_flags({"role": role or lower_name, "content": content} | normalize_tool_calls(other_fields))


def _tool_call_message(content: Cell, other_fields: Row) -> Row:
    """An assistant message for a role such as `function_call`, whose content is the tool call as JSON.

    Other content stays text.
    """
    parsed = parse_nested_json_cell(content)
    tool_calls = parsed if isinstance(parsed, list) else [parsed]
    if tool_calls and all(isinstance(tool_call, dict) for tool_call in tool_calls):
        calls = [normalize_tool_call(tool_call) for tool_call in tool_calls]
        return normalize_train_flags({"role": "assistant", "content": "", "tool_calls": calls} | other_fields)
    return normalize_train_flags({"role": "assistant", "content": content} | other_fields)


def _reasoning_under_standard_name(fields: Row) -> Row:
    """The fields with the reasoning as `reasoning_content`, where most chat templates look for it. `thinking` stays as
    well, for those that look there."""
    if fields.get("reasoning_content"):
        return fields
    key = next((key for key in REASONING_KEYS if isinstance(fields.get(key), str) and fields[key].strip()), None)
    if key is None:
        return fields
    other_fields = {name: field for name, field in fields.items() if name != key or name == "thinking"}
    return other_fields | {"reasoning_content": fields[key]}


# -- text --------------------------------------------------------------------------------------------------------------


def content_text(content: Cell) -> str:
    """The text of a message's content, which may be a list of text and image parts."""
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return str(content)


def last_message_text(text_or_messages: str | Messages) -> str:
    """The text itself, or that of the last of several messages; empty without any."""
    if isinstance(text_or_messages, str):
        return text_or_messages
    return content_text(text_or_messages[-1].get("content") or "") if text_or_messages else ""


# -- placeholders of images --------------------------------------------------------------------------------------------


def insert_image_parts(messages: Messages) -> Messages:
    """Messages with each `<image>` in a text replaced by an image part, as LLaVA and ShareGPT mark images."""
    return [
        message | {"content": _split_at_images(message["content"])}
        if isinstance(message.get("content"), str) and _IMAGE_PLACEHOLDER in message["content"]
        else message
        for message in messages
    ]


def _split_at_images(text: str) -> list[Row]:
    """Text and image parts of a text with `<image>` placeholders; blank texts are left out."""
    first, *rest = text.split(_IMAGE_PLACEHOLDER)
    content_parts = [{"type": "text", "text": first}] if first.strip() else []
    for after in rest:
        text_after_image = after.removeprefix("\n")
        content_parts += [{"type": "image"}] + (
            [{"type": "text", "text": text_after_image}] if text_after_image.strip() else []
        )
    return content_parts


# -- unwrapping --------------------------------------------------------------------------------------------------------


def unwrap_messages(cell: Cell, is_conversation: bool = False) -> Cell:
    """The list of messages in a cell: datasets wrap it as {"messages": […]}, give a single message, write either as
    JSON text, or write turns in a form of their own. Any other cell is returned unchanged.

    is_conversation: the name of the column says that the cell holds a conversation; see `convert_turns`.
    """
    return _unwrap(cell, is_conversation)[0]


def conversation_form(cell: Cell, is_conversation: bool = False) -> str:
    """A sentence about the form in which a cell's messages are written, where it is not a usual one; else empty."""
    return _unwrap(cell, is_conversation)[1]


def _unwrap(cell: Cell, is_conversation: bool) -> tuple[Cell, str]:
    """(`unwrap_messages`, `conversation_form`) of a cell."""
    if isinstance(cell, str) and not is_conversation and not any(role_key in cell for role_key in _ROLE_KEYS):
        return cell, ""
    parsed = parse_json_cell(cell)
    is_sure = parsed is cell or _is_complete_message_list(parsed)
    if not is_sure and not is_conversation:
        return cell, ""  # an answer in plain text may itself be JSON
    if isinstance(parsed, dict):
        wrapped = next((parsed[name] for name in _WRAPPER_KEYS if parsed.get(name) is not None), None)
        if wrapped is None and not {"role", "from", "content", "value"} & {*parsed}:
            return cell, ""
        parsed = [parsed] if wrapped is None else wrapped
    converted = convert_turns(parsed, is_conversation)
    return converted or (parsed if is_sure else cell, "")


def _is_complete_message_list(parsed: Cell) -> bool:
    """Whether something parsed from text is surely a conversation: each message has a role and content or tool
    calls."""
    if isinstance(parsed, dict):
        parsed = next((parsed[name] for name in _WRAPPER_KEYS if parsed.get(name) is not None), [parsed])
    return is_message_list(parsed) and all({"content", "value", "tool_calls"} & {*message} for message in parsed)


def is_dict_list(elements: Cell) -> TypeGuard[list[Row]]:
    """Whether this is a list of objects, which may be empty."""
    return isinstance(elements, list) and all(isinstance(element, dict) for element in elements)


def is_message_list(messages: Cell) -> TypeGuard[Messages]:
    """Whether this is a non-empty list of messages, each with a role (`role` or `from`)."""
    return (
        is_dict_list(messages)
        and bool(messages)
        and all("role" in message or "from" in message for message in messages)
    )
