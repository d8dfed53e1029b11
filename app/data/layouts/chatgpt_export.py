"""Conversations exported from ChatGPT: a tree of messages in `mapping`, of which the branch up to `current_node` counts."""

from __future__ import annotations

from app.data.conversations.messages import Messages
from app.data.fields import Cell, Row

TITLE = "Conversations exported from ChatGPT"
KIND = "messages"
NEEDS = ("messages",)
NAMES = {"messages": ("mapping",)}
TELLING = "a tree of messages, read up to its current one"
NOTE = "Of each conversation, only the branch that was shown last is read, without tools and hidden messages."
_NO_TREE = "it holds no tree of messages"
_HAS_FILES = "a turn holds a picture or a file, which the export does not contain"
_TEXT_TYPES = ("text", "multimodal_text")  # others are code for tools, thoughts and notes of the program
_MAX_MESSAGES = 100_000  # a damaged tree may run in a circle


def fits(row: Row) -> bool:
    return bool(_message_branch(row.get("messages"), row.get("current_node")))


def row(mapped_row: Row) -> Row | str:
    branch = _message_branch(mapped_row.get("messages"), mapped_row.get("current_node"))
    if not branch:
        return _NO_TREE
    spoken = [message for message in branch if _is_spoken(message)]
    if any(not isinstance(part, str) for message in spoken for part in _parts(message)):
        return _HAS_FILES
    return {**mapped_row, "messages": _join_answers(spoken)}


def _message_branch(mapping: Cell, current_node: Cell) -> list[Row]:
    """The messages from the root of the tree to the current node, or to its last node where none is named."""
    if not isinstance(mapping, dict) or not mapping:
        return []
    node_id = current_node if isinstance(current_node, str) and current_node in mapping else [*mapping][-1]
    branch: list[Row] = []
    for _ in range(_MAX_MESSAGES):
        node = mapping.get(node_id) if isinstance(node_id, str) else None
        if not isinstance(node, dict):
            break
        if isinstance(node.get("message"), dict):
            branch.append(node["message"])
        node_id = node.get("parent")
    return [message for message in reversed(branch) if _role(message)]


def _role(message: Row) -> str:
    """The role of a message's author; empty for none."""
    author = message.get("author")
    return str(author.get("role") or "") if isinstance(author, dict) else ""


def _parts(message: Row) -> list[Cell]:
    """The parts of a message's content."""
    content = message.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    return parts if isinstance(parts, list) else []


def _is_spoken(message: Row) -> bool:
    """Whether a person or the model says this to the other: no tool, no call of a tool, nothing that was hidden."""
    content, metadata = message.get("content"), message.get("metadata")
    is_marked_hidden = isinstance(metadata, dict) and metadata.get("is_visually_hidden_from_conversation") is True
    is_hidden = message.get("weight") == 0 or is_marked_hidden
    is_text = isinstance(content, dict) and content.get("content_type") in _TEXT_TYPES
    is_to_all = message.get("recipient") in (None, "all")
    is_empty = not any(part.strip() if isinstance(part, str) else part for part in _parts(message))
    return (
        _role(message) in ("system", "user", "assistant") and is_text and is_to_all and not is_hidden and not is_empty
    )


def _join_answers(messages: list[Row]) -> Messages:
    """The turns of messages; parts of one answer, between which tools were called, become one turn."""
    turns: Messages = []
    for message in messages:
        role, text = _role(message), "".join(str(part) for part in _parts(message))
        if turns and turns[-1]["role"] == role == "assistant":
            turns[-1]["content"] += f"\n\n{text}"
        else:
            turns.append({"role": role, "content": text})
    return turns
