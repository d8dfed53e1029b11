"""Who speaks in the messages of a source: the speakers, and findings about unknown roles and keys of turns."""

from __future__ import annotations

from collections import Counter
from typing import TypedDict

from app.contracts import Finding
from app.data.columns import TURN_COLUMNS
from app.data.conversations.messages import ROLE_ALIASES, TOOL_CALL_ROLES, Messages, unwrap_messages
from app.data.conversations.turn_keys import TurnKeys
from app.data.fields import Row, get_field
from app.data.layout_match import LayoutMatch
from app.data.row_finding import make_finding
from app.data.table import Table
from app.setup.spec import Source


class Speaker(TypedDict):
    """Who speaks in the messages of a table. name: in the rows. role: a standard role, None for an unknown name.
    turns: the number of messages."""

    name: str
    role: str | None
    turns: int


def describe_speakers(match: LayoutMatch, table: Table, source: Source) -> list[Speaker]:
    """The speakers of the messages, the most frequent first."""
    num_messages = Counter(_role_name(message) for row in table.rows for message in _messages_of_row(match, row))
    return [
        {"name": name[:60], "role": _standard_role(name, source), "turns": count}
        for name, count in num_messages.most_common(40)
    ]


def _standard_role(name: str, source: Source) -> str | None:
    """The standard role of a role in the data, by the source or the aliases; None for an unknown one."""
    lower_name = name.strip().lower()
    tool_call_role = "assistant" if lower_name in TOOL_CALL_ROLES else None
    return source.roles.get(name) or source.roles.get(lower_name) or ROLE_ALIASES.get(lower_name) or tool_call_role


def unknown_role_findings(match: LayoutMatch, table: Table, source: Source, spec_path: str) -> list[Finding]:
    """A finding for each unknown role, with the rows where it occurs and its likely standard role as the remedy."""
    rows_by_name: dict[str, list[int]] = {}
    likely_roles: dict[str, str] = {}
    for number, row in table.numbered_rows():
        messages = _messages_of_row(match, row)
        for message_index, message in enumerate(messages):
            name = _role_name(message)
            if _standard_role(name, source) is None:
                rows_by_name.setdefault(name, []).append(number)
                previous_role = (
                    _standard_role(_role_name(messages[message_index - 1]), source) if message_index else None
                )
                likely_roles.setdefault(name, "assistant" if previous_role == "user" else "user")
    return [
        make_finding(
            "speaker",
            "wrong",
            f"Row {rows[0]} has a turn by “{name[:60]}”, and nobody knows who that is: say whether it is the system, the user, the assistant or a tool.",
            [*dict.fromkeys(rows)],
            {
                "title": f"“{name[:60]}” is the {likely_roles[name]}",
                "changes": {f"{spec_path}.roles": source.roles | {name: likely_roles[name]}},
            },
        )
        for name, rows in rows_by_name.items()
    ]


def turn_key_findings(match: LayoutMatch, table: Table) -> list[Finding]:
    """Findings on train flags, and on keys of turns that nobody knows."""
    turn_keys = TurnKeys()
    for number, row in table.numbered_rows():
        turn_keys.add_row(number, _messages_of_row(match, row))
    return turn_keys.findings()


def _messages_of_row(match: LayoutMatch, row: Row) -> Messages:
    """All messages in the columns of a raw row that hold conversations."""
    conversations = [
        unwrap_messages(get_field(row, source_column), is_conversation=target_column == "messages")
        for target_column, source_column in match.columns.items()
        if target_column in TURN_COLUMNS
    ]
    message_lists = [conversation for conversation in conversations if isinstance(conversation, list)]
    return [message for messages in message_lists for message in messages if isinstance(message, dict)]


def _role_name(message: Row) -> str:
    """The role of a raw message, under its name in the data."""
    return str(message.get("role") or message.get("from") or "user")
