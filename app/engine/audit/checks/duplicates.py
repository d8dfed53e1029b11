"""Rows that are there more than once, or are also held out."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from app.engine.audit.base import Finding, Look, Named, Read, examples, finding, without


class Check(Look):
    def __init__(self, job: Any, table: Any):
        super().__init__(job, table)
        self.seen: Counter[bytes] = Counter()
        self.wanted = max(math.ceil(source.weight) for source in job.spec.data)  # a weight repeats rows on purpose
        self.repeated, self.shared = Named(), Named()
        self.held_out: set[bytes] = set()

    def aside(self, read: Read) -> None:
        self.held_out.add(read.mark)

    def row(self, read: Read) -> None:
        self.seen[read.mark] += 1
        if self.seen[read.mark] > self.wanted:
            self.repeated.add(read.number)
        if read.mark in self.held_out:
            self.shared.add(read.number)

    def findings(self) -> list[Finding]:
        found = []
        if self.repeated.count:
            severity = "wrong" if self.repeated.count > self.rows / 2 else "careful"
            text = f"{examples(self.repeated.count, 'repeats another', 'repeat others')} word for word: the model learns them more often than the rest."
            found.append(finding("duplicates", severity, text, self.repeated, without(self.job, "duplicates", "Keep one of each")))  # fmt: skip
        if self.shared.count:
            text = f"{examples(self.shared.count, 'is', 'are')} also kept aside to test on: the test would look better than the model is."
            found.append(finding("held_out", "wrong", text, self.shared, without(self.job, "held_out", "Learn only from the others")))  # fmt: skip
        return found
