"""Audit check of conversations: empty messages, roles that do not alternate, and a last question without an answer."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from app.data.conversations.messages import Messages, content_text
from app.data.fields import Row
from app.data.row_types import rendered_columns
from app.engine.audit.base import AuditCheck, AuditedRow, Finding, FlaggedRows, build_finding, count_examples

if TYPE_CHECKING:
    from datasets import Dataset

    from app.engine.job import Job


class Check(AuditCheck):
    def __init__(self, job: Job, table: Dataset):
        super().__init__(job, table)
        self.empty, self.not_alternating, self.unanswered = FlaggedRows(), FlaggedRows(), FlaggedRows()

    def check_row(self, audited_row: AuditedRow) -> None:
        row = rendered_columns(audited_row.row, self.job.method.row_types)
        messages = _messages_of_row(row)
        if any(_is_empty_message(message) for message in messages):
            self.empty.add(audited_row.number)
        if _breaks_alternation([message.get("role") or "" for message in messages]):
            self.not_alternating.add(audited_row.number)
        if isinstance(row.get("messages"), list) and messages and messages[-1].get("role") in ("user", "system"):
            self.unanswered.add(audited_row.number)

    def findings(self) -> list[Finding]:
        findings = []
        if count := self.empty.count:
            text = f"{count_examples(count, 'has', 'have')} a turn that says nothing."
            findings.append(build_finding("empty_turn", "careful", text, self.empty))
        if count := self.not_alternating.count:
            text = f"In {count:,} example{'' if count == 1 else 's'} the same side speaks twice in a row, or the answer comes first."
            findings.append(build_finding("alternation", "careful", text, self.not_alternating))
        if count := self.unanswered.count:
            text = f"{count_examples(count, 'ends', 'end')} with a question that nobody answers; it is only read."
            findings.append(build_finding("unanswered", "careful", text, self.unanswered))
        return findings


def _messages_of_row(row: Row) -> Messages:
    """The messages of the conversation, or those of the prompt and the completion or chosen answer after it."""
    if isinstance(row.get("messages"), list):
        return row["messages"]
    columns = [row.get("prompt"), row.get("completion", row.get("chosen"))]
    return [
        message for column in columns if isinstance(column, list) for message in column if isinstance(message, dict)
    ]


def _is_empty_message(message: Row) -> bool:
    if message.get("tool_calls") or message.get("reasoning_content"):
        return False
    content = message.get("content")
    return not (content_text(content or "").strip() or _has_images(content))


def _has_images(content: str | Messages | None) -> bool:
    """Whether the content has parts other than text."""
    return isinstance(content, list) and any(part.get("type") not in (None, "text") for part in content)


def _breaks_alternation(roles: list[str]) -> bool:
    speakers = [role for role in roles if role in ("user", "assistant")]
    if not speakers:
        return False
    has_calls = "tool" in roles  # between its tool calls an assistant may send several messages in a row
    repeats = any(role == next_role for role, next_role in pairwise(speakers))
    return speakers[0] == "assistant" or (repeats and not has_calls)
