"""Audit check of the columns that are not used: verdicts, worse answers, further texts, thoughts and media."""

from __future__ import annotations

from itertools import islice

from app.core import registry
from app.data import files
from app.data.detect_layout import NUM_INSPECTED_ROWS, LayoutMatch, select_layout
from app.data.table import Table
from app.data.unread_columns import unread_columns, unread_findings
from app.data.unreadable_rows import UnreadableRows
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
        return [self._without_foreign_remedy(finding, f"{spec_path}.layout") for finding in findings]

    def _without_foreign_remedy(self, finding: Finding, layout_path: str) -> Finding:
        """The finding without a remedy that only another method can use."""
        layout = ((finding["remedy"] or {"changes": {}})["changes"]).get(layout_path)
        is_foreign = layout and registry.load_module("layouts", layout).KIND not in self.job.method.row_types
        return {**finding, "remedy": None} if is_foreign else finding
