"""Thumbs and judged steps: whether both kinds are there, and how many of each."""

from __future__ import annotations

from typing import Any

from app.engine.audit.base import Finding, Look, Named, Read, finding

RARE = 0.1  # of all labels


class Check(Look):
    def __init__(self, job: Any, table: Any):
        super().__init__(job, table)
        self.of = {True: Named(), False: Named()}

    def row(self, read: Read) -> None:
        label = read.row.get("label")
        judged = [label] if isinstance(label, bool) else read.row.get("labels") or ()
        for one in judged:
            if isinstance(one, bool):
                self.of[one].add(read.number)

    def findings(self) -> list[Finding]:
        good, bad = self.of[True].count, self.of[False].count
        if not good + bad:
            return []
        steps = "labels" in self.job.data.train.column_names
        named = ("steps are right", "wrong") if steps else ("answers are liked", "disliked")
        text = f"{good:,} {named[0]} and {bad:,} {named[1]}."
        rare = self.of[good < bad]
        if not rare.count:
            return [finding("labels", "wrong", f"{text} With one kind alone there is nothing to tell apart.")]
        if rare.count / (good + bad) < RARE:
            return [finding("labels", "careful", f"{text} The rarer kind may be learned too little.", rare)]
        return [finding("labels", "good", text)]
