"""Conversations: turns that say nothing, and speakers who do not take turns."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from app.data.rows import text_in
from app.engine.audit.base import Finding, Look, Named, Read, examples, finding


class Check(Look):
    def __init__(self, job: Any, table: Any):
        super().__init__(job, table)
        self.empty, self.broken, self.open = Named(), Named(), Named()

    def row(self, read: Read) -> None:
        turns = turns_of(read.row)
        if any(is_empty(turn) for turn in turns):
            self.empty.add(read.number)
        if is_broken([turn.get("role") for turn in turns]):
            self.broken.add(read.number)
        if isinstance(read.row.get("messages"), list) and turns[-1:] and turns[-1].get("role") in ("user", "system"):
            self.open.add(read.number)

    def findings(self) -> list[Finding]:
        found = []
        if self.empty.count:
            text = f"{examples(self.empty.count, 'has', 'have')} a turn that says nothing."
            found.append(finding("empty_turn", "careful", text, self.empty))
        if self.broken.count:
            text = f"In {self.broken.count:,} example{'' if self.broken.count == 1 else 's'} the same side speaks twice in a row, or the answer comes first."
            found.append(finding("alternation", "careful", text, self.broken))
        if self.open.count:
            text = f"{examples(self.open.count, 'ends', 'end')} with a question that nobody answers; it is only read."
            found.append(finding("unanswered", "careful", text, self.open))
        return found


def turns_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Of the conversation, or of the prompt and the first answer after it."""
    if isinstance(row.get("messages"), list):
        return row["messages"]
    named = [row.get("prompt"), row.get("completion", row.get("chosen"))]
    return [turn for part in named if isinstance(part, list) for turn in part if isinstance(turn, dict)]


def is_empty(turn: dict[str, Any]) -> bool:
    content = turn.get("content")
    return not (turn.get("tool_calls") or turn.get("reasoning_content") or text_in(content or "").strip() or has_more(content))  # fmt: skip


def has_more(content: Any) -> bool:
    """Pictures beside words."""
    return isinstance(content, list) and any(part.get("type") not in (None, "text") for part in content)


def is_broken(roles: list[Any]) -> bool:
    sides = [role for role in roles if role in ("user", "assistant")]
    calls = "tool" in roles  # between its calls an assistant may speak several times
    twice = any(one == other for one, other in pairwise(sides))
    return bool(sides) and (sides[0] == "assistant" or (twice and not calls))
