"""Unread: which rows of a source could not be read, counted, and what a person can do about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.data.text_lines import Bad

MOST_NAMED = 20
Finding = dict[str, Any]


@dataclass
class Unread:
    """count: how many rows. first: {number of the row, from 1: why} of the first of them. encoding: how many may be right in another encoding."""

    count: int = 0
    first: dict[int, str] = field(default_factory=dict)
    encoding: int = 0

    def add(self, bad: Bad, number: int) -> None:
        self.count += 1
        self.encoding += bad.kind == "encoding"
        if len(self.first) < MOST_NAMED:
            self.first[number] = bad.why

    def findings(self, source: int = 0, skipped: bool = False, encoding: str | None = None) -> list[Finding]:
        """source: its place in the Spec's data. skipped: a person has said that they are left out. encoding: what the file may be in."""
        if not self.count:
            return []
        which = next(iter(self.first.values()))
        several = f"{self.count:,} rows cannot be read, first: {which}."
        text = f"A row cannot be read: {which}." if self.count == 1 else several
        found = {"id": "unreadable_rows", "count": self.count, "rows": [*self.first]}
        if skipped:
            return [found | {"severity": "careful", "text": f"{text} {self.them} left out.", "remedy": None}]
        offers = [found | {"severity": "wrong", "text": text, "remedy": remedy(f"Leave {'it' if self.count == 1 else 'them'} out", f"data.{source}.skip_bad", True)}]  # fmt: skip
        if not (encoding and self.encoding):
            return offers
        name = {"windows-1252": "Windows-1252", "latin-1": "Latin-1"}[encoding]
        said = (
            f"{text} It may be in {name}, as older programs in Western Europe and America write: look at its letters."
        )
        whole = found | {"id": "encoding", "severity": "wrong", "text": said}
        offer = remedy(f"Read it as {name}", f"data.{source}.encoding", encoding)
        return [whole | {"remedy": offer}, *(offers if self.encoding < self.count else [])]

    @property
    def them(self) -> str:
        return "It is" if self.count == 1 else "They are"


def remedy(title: str, path: str, value: Any) -> dict[str, Any]:
    return {"title": title, "changes": {path: value}}
