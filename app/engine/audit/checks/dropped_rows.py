"""Audit check of rows that are left out of training, by reason."""

from __future__ import annotations

from app.engine.audit.base import MAX_FINDING_ROWS, AuditCheck, Finding, FlaggedRows, build_finding, build_remedy
from app.engine.datasets.row_filter import DROP_REASONS
from app.engine.preview.findings import left_out_text, too_long_reason


class Check(AuditCheck):
    def findings(self) -> list[Finding]:
        """Rows that cannot be used, rows that the Spec drops, and rows that the trainer leaves out as too long."""
        data = self.job.data
        findings = [*data.findings]
        for reason, count in data.dropped.items():
            text = left_out_text(count, reason)
            if reason in DROP_REASONS.values():
                findings.append(build_finding("dropped", "good", text, FlaggedRows(count)))
            else:
                row_numbers = data.dropped_row_numbers.get(reason, [])
                findings.append(build_finding("left_out", "careful", text, FlaggedRows(count, row_numbers)))
        return findings + self._too_long()

    def _too_long(self) -> list[Finding]:
        if self.row_indices is None:
            return []
        count = self.row_count - len(self.row_indices)
        limit = getattr(self.job.knobs, "max_length", None)
        if count <= 0 or limit is None or {"cut", "untrained"} & {*self.job.spec.drop}:
            return []
        present = {*(self.row_indices + 1).tolist()}
        missing_numbers = [number for number in range(1, self.row_count + 1) if number not in present]
        missing = FlaggedRows(count, missing_numbers[:MAX_FINDING_ROWS])
        text = left_out_text(count, too_long_reason(self.job))
        title = f"Double the maximum length to {limit * 2:,} tokens"
        remedy = build_remedy(title, knobs__max_length=limit * 2)
        return [build_finding("too_long", "wrong", text, missing, remedy)]
