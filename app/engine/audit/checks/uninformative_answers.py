"""Answers that teach nothing: pairs that say the same, and those that stand in the question already."""

from __future__ import annotations

from typing import Any

from app.engine.audit.base import Finding, Look, Named, Read, examples, finding, without
from app.engine.datasets.row_filter import leaks, says_the_same


class Check(Look):
    def __init__(self, job: Any, table: Any):
        super().__init__(job, table)
        self.same, self.leaked = Named(), Named()

    def row(self, read: Read) -> None:
        if says_the_same(read.row):
            self.same.add(read.number)
        if leaks(read.row):
            self.leaked.add(read.number)

    def findings(self) -> list[Finding]:
        found = []
        if self.same.count:
            text = (
                f"The two answers of {examples(self.same.count, 'say', 'say')} the same, so there is nothing to prefer."
            )
            found.append(finding("same", "wrong", text, self.same, without(self.job, "same", "Leave them out")))
        if self.leaked.count:
            text = f"{examples(self.leaked.count, 'has its', 'have their')} answer in the question already: the model may learn to copy. Right where it should quote."
            found.append(finding("leaks", "careful", text, self.leaked, without(self.job, "leaks", "Leave them out")))
        return found
