"""Findings on fields that the chat template does not write, with a template that writes them as the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.contracts import Finding, Remedy, Severity
from app.engine.audit.base import FlaggedRows, build_finding, build_remedy
from app.engine.masking.unwritten_fields import FIELD_TITLES, KNOWN_FIELDS, PROMPT_TOOLS, UnwrittenFields
from app.engine.tokens.template_candidates import find_writing_template

if TYPE_CHECKING:
    from app.data.fields import Row
    from app.engine.job import Job

_MAX_SAMPLE_ROWS = 8  # of different unwritten fields, that another template is tried on


class UnwrittenRows:
    """Counts the rows with fields that the job's chat template does not write, by field."""

    def __init__(self, job: Job):
        self._job = job
        template = job.rendering_template if job.prompts_are_chat and job.processor is None else None
        self._unwritten_fields = (
            UnwrittenFields(job.trainers_tokenizer, template, job.template_arguments, job.method.row_types)
            if template
            else None
        )
        self._flagged: dict[str, FlaggedRows] = {}
        self._sample_rows: dict[frozenset[str], Row] = {}

    def add(self, number: int, row: Row) -> frozenset[str]:
        """Takes a row as the method takes it. Returns the names of its unwritten fields."""
        names = self._unwritten_fields(row) if self._unwritten_fields else frozenset()
        for name in names:
            self._flagged.setdefault(name, FlaggedRows()).add(number)
        if names and names not in self._sample_rows and len(self._sample_rows) < _MAX_SAMPLE_ROWS:
            self._sample_rows[names] = row
        return names

    def findings(self, row_count: int) -> list[Finding]:
        """A finding for each field: wrong where a known field is lost, careful for an unknown one and for the reasoning before
        earlier answers, which many chat formats leave out on purpose."""
        remedy = self._remedy() if self._flagged.keys() & KNOWN_FIELDS else None
        return [
            self._finding(name, flagged, row_count, remedy)
            for name, flagged in sorted(self._flagged.items(), key=lambda item: -item[1].count)
        ]

    def _finding(self, name: str, flagged: FlaggedRows, row_count: int, remedy: Remedy | None) -> Finding:
        is_known = name in KNOWN_FIELDS
        severity: Severity = "wrong" if is_known else "careful"
        first = f" (first: example {flagged.row_numbers[0]:,})" if row_count > 1 else ""
        where = f"In {flagged.count:,} of {row_count:,} examples{first}"
        if name == PROMPT_TOOLS:
            text = (
                f"{where} {FIELD_TITLES[name]} are not used: prompts are given only the tools that the settings name."
            )
            return build_finding("unwritten", severity, text, flagged)
        loss = ": the model never sees them" if is_known else ""
        text = f"{where} the chat format does not write {FIELD_TITLES.get(name, f'{name} of a turn')}{loss}."
        return build_finding("unwritten", severity, text, flagged, remedy if is_known else None)

    def _remedy(self) -> Remedy | None:
        """The remedy that takes a chat template which writes all of it, where one is known."""
        rows = [row for names, row in self._sample_rows.items() if names & KNOWN_FIELDS - {PROMPT_TOOLS}]
        template = find_writing_template(self._job, rows) if rows else None
        if template is None:
            return None
        name = template.removeprefix("trl:")
        title = f"Take TRL’s chat format “{name}”" if template else "Take the model’s own chat format"
        return build_remedy(title, model__template=template or None)
