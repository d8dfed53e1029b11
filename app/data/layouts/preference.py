"""Two answers of which one is better: `chosen` and `rejected`, with the question beside them or at their beginning."""

from __future__ import annotations

from app.data.conversations.messages import is_message_list, unwrap_messages
from app.data.fields import Row

TITLE = "Better and worse answers"
KIND = "preference"
NEEDS = ("chosen", "rejected")
MAY = ("prompt", "system", "tools", "margin")
NAMES = {
    "prompt": (
        "prompt",
        "question",
        "instruction",
        "input",
        "query",
        "user",
        "problem",
        "messages",
        "conversations",
        "conversation",
    )
}
KNOWN = (("preferred_output", "non_preferred_output"),)  # column names of OpenAI


def row(mapped_row: Row) -> Row:
    """The row with a prompt that ends with a question: a conversation beside the answers may already end with one of
    them."""
    prompt = unwrap_messages(mapped_row.get("prompt"))
    if not isinstance(prompt, list) or not all(isinstance(message, dict) for message in prompt):
        return mapped_row
    if not is_message_list(prompt):  # of another form: the answers have to repeat the question
        return {name: cell for name, cell in mapped_row.items() if name != "prompt"}
    while prompt and prompt[-1].get("role") == "assistant":
        prompt = prompt[:-1]
    return {**mapped_row, "prompt": prompt}
