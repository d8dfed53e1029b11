"""Audit check of fields that the chat template does not write, such as calls of tools: the model never sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engine.audit.base import AuditCheck, AuditedRow, Finding
from app.engine.preview.unwritten_fields import UnwrittenRows

if TYPE_CHECKING:
    from datasets import Dataset

    from app.engine.job import Job


class Check(AuditCheck):
    def __init__(self, job: Job, table: Dataset):
        super().__init__(job, table)
        self.unwritten_rows = UnwrittenRows(job)

    def check_row(self, audited_row: AuditedRow) -> None:
        self.unwritten_rows.add(audited_row.number, audited_row.row)

    def findings(self) -> list[Finding]:
        return self.unwritten_rows.findings(self.row_count)
