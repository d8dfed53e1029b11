"""Conversations written as one text, in which Human and Assistant speak in turn, as Anthropic's hh-rlhf has them."""

from __future__ import annotations

import re

from app.data.conversations.messages import Messages
from app.data.fields import Cell, Row

TITLE = "Conversations written as one text"
KIND = "messages"
NEEDS = ("text",)
MAY = ("system", "tools")
NAMES = {
    "text": (
        "text",
        "transcript",
        "conversation",
        "conversations",
        "dialogue",
        "dialog",
        "chat",
        "messages",
        "content",
        "body",
        "document",
    )
}
TELLING = "“Human:” and “Assistant:” in turn"
NOT_A_TRANSCRIPT = "it is no conversation of Human and Assistant"

# Patterns before the name of a speaker, tried in this order: OpenAssistant writes hashes, hh-rlhf a blank line.
_ROLE_PREFIXES = (r"### ", r"\n\n", r"\n")
_USER_NAMES, _ASSISTANT_NAMES = ("Human", "User"), ("Assistant", "AI")


def fits(row: Row) -> bool:
    return parse_transcript(row["text"]) is not None


def row(mapped_row: Row) -> Row | str:
    messages = parse_transcript(mapped_row.get("text"))
    if messages is None:
        return NOT_A_TRANSCRIPT
    return {**{name: value for name, value in mapped_row.items() if name != "text"}, "messages": messages}


def parse_transcript(text: Cell) -> Messages | None:
    """The messages of a transcript, without an empty answer at its end; None where the text is no transcript."""
    if not isinstance(text, str):
        return None
    text = text.strip()
    beginning = r"(?:### )?(?:System:.*?\s)?(?:### )?"
    user_name = next((name for name in _USER_NAMES if re.match(f"{beginning}{name}:", text, re.DOTALL)), None)
    assistant_name = next((name for name in _ASSISTANT_NAMES if f"{name}:" in text), None)
    if user_name is None or assistant_name is None:
        return None
    roles = {"System": "system", user_name: "user", assistant_name: "assistant"}
    splits = (_split_by_role(text, role_prefix, roles) for role_prefix in _ROLE_PREFIXES)
    messages = next((split for split in splits if _has_user_then_assistant(split)), None)
    if messages and messages[-1] == {"role": "assistant", "content": ""}:
        messages = messages[:-1]
    return messages


def _split_by_role(text: str, role_prefix: str, roles: dict[str, str]) -> Messages:
    """The messages of a text split at “prefix + name:”; empty where the text does not begin with one of the names."""
    role_matches = [*re.finditer(rf"(?:^(?:### )?|{role_prefix})({'|'.join(roles)}):", text)]
    if not role_matches or role_matches[0].start() > 0:
        return []
    ends = [*(role_match.start() for role_match in role_matches[1:]), len(text)]
    return [
        {"role": roles[role_match[1]], "content": text[role_match.end() : end].strip()}
        for role_match, end in zip(role_matches, ends, strict=True)
    ]


def _has_user_then_assistant(messages: Messages) -> bool:
    """Whether the conversation begins with the user and has an answer of the assistant, even an empty one."""
    roles = [message["role"] for message in messages if message["role"] != "system"]
    return len(roles) > 1 and roles[0] == "user" and "assistant" in roles
