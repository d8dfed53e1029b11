"""Audit check of the columns that are not used: verdicts, worse answers, further texts, thoughts and media."""

from __future__ import annotations

from itertools import islice

from app.data.detect_layout import NUM_INSPECTED_ROWS, select_layout
from app.data.findings.layout_findings import without_foreign_remedies
from app.data.findings.unread_columns import unread_columns, unread_findings
from app.data.layout_match import LayoutMatch
from app.data.reading import files
from app.data.reading.unreadable_rows import UnreadableRows
from app.data.table import Table
from app.engine.audit.base import AuditCheck, Finding
from app.setup.spec import Source


class Check(AuditCheck):
    def findings(self) -> list[Finding]:
        return [
            finding
            for source_index, source in enumerate(self.job.spec.data)
            for finding in self._source_findings(source, source_index)
        ]

    def _source_findings(self, source: Source, source_index: int) -> list[Finding]:
        """The findings about the first rows of one source, as the report on it has them."""
        all_rows = files.read_source_rows(source, unreadable=UnreadableRows())
        first_rows = list(islice(all_rows, NUM_INSPECTED_ROWS))
        match = select_layout(first_rows, source, self.job.method.row_types)
        if not isinstance(match, LayoutMatch):
            return []
        table, spec_path = Table(first_rows), f"data.{source_index}"
        findings = unread_findings(unread_columns(match, table, source), match, table, source, spec_path)
        return without_foreign_remedies(findings, self.job.method.row_types, spec_path)
