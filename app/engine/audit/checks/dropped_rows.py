"""Rows that are not learned from, by reason."""

from __future__ import annotations

from app.engine.audit.base import Finding, Look, Named, finding, remedy
from app.engine.datasets.row_filter import WHY
from app.engine.preview.findings import left_out, too_long


class Check(Look):
    def findings(self) -> list[Finding]:
        """Those that cannot be used, that a person said to drop, and that the trainer leaves out as they are too long."""
        found = [*self.job.data.findings]
        for reason, count in self.job.data.dropped.items():
            wanted = reason in WHY.values()
            rows = [] if wanted else getattr(self.job.data, "left_out", {}).get(reason, [])
            found.append(finding("dropped" if wanted else "left_out", "good" if wanted else "careful", left_out(count, reason), Named(count, rows)))  # fmt: skip
        return found + self.too_long()

    def too_long(self) -> list[Finding]:
        count = self.rows - len(self.numbers) if self.numbers is not None else 0
        limit = getattr(self.job.knobs, "max_length", None)
        if count <= 0 or limit is None or {"cut", "untrained"} & {*self.job.spec.drop}:
            return []
        there = {*(self.numbers + 1).tolist()}
        missing = Named(count, [number for number in range(1, self.rows + 1) if number not in there][:20])
        text = left_out(count, too_long(self.job))
        return [finding("too_long", "wrong", text, missing, remedy(f"Double the maximum length to {limit * 2:,} tokens", knobs__max_length=limit * 2))]  # fmt: skip
