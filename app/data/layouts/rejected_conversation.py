"""Conversations with a worse last answer beside them, as ms-swift has them with `rejected_response`."""

from __future__ import annotations

from app.data.columns import COLUMN_SPECS
from app.data.conversations.messages import ROLE_ALIASES, is_message_list, unwrap_messages
from app.data.conversations.split_prompt import is_empty
from app.data.fields import Cell, Row

TITLE = "Conversations, each with a worse last answer"
KIND = "preference"
NEEDS = ("messages", "rejected")
MAY = ("system", "tools", "margin")
NAMES = {
    "rejected": ("rejected", "rejected_response", "rejected_answer", "rejected_output", "rejected_messages"),
}
TELLING = "turns, and a worse answer beside them"


def fits(row: Row) -> bool:
    if any(row.get(name) is not None for name in COLUMN_SPECS["chosen"].aliases):
        return False
    messages = unwrap_messages(row["messages"], is_conversation=True)
    if not is_message_list(messages):
        return False
    last_speaker = str(messages[-1].get("role", messages[-1].get("from"))).strip().lower()
    if ROLE_ALIASES.get(last_speaker) == "user":
        return False
    return not isinstance(row["rejected"], int | float) and COLUMN_SPECS["rejected"].is_valid(row["rejected"])


def row(mapped_row: Row) -> Row | str:
    """The row with the last answer of the conversation as the chosen one."""
    messages = unwrap_messages(mapped_row.get("messages"), is_conversation=True)
    rejected = mapped_row.get("rejected")
    if not is_message_list(messages) or len(messages) < 2 or messages[-1].get("role") != "assistant":
        return "the conversation does not end with an answer"
    if is_empty(rejected):
        return "an empty answer"
    other_columns = {name: cell for name, cell in mapped_row.items() if name != "messages"}
    if _is_conversation(rejected):
        return {**other_columns, "chosen": messages, "rejected": unwrap_messages(rejected)}
    rejected_messages = [{"role": "assistant", "content": rejected}] if isinstance(rejected, str) else rejected
    return {**other_columns, "prompt": messages[:-1], "chosen": messages[-1:], "rejected": rejected_messages}


def _is_conversation(rejected: Cell) -> bool:
    """Whether the worse answer comes with the turns before it."""
    rejected_messages = unwrap_messages(rejected)
    return is_message_list(rejected_messages) and any(message.get("role") == "user" for message in rejected_messages)
