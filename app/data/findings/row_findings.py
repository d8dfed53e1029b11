"""Findings about the first rows of a source: which are left out and why, and columns of a wrong type."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from app.contracts import Finding, Severity
from app.data.apply_layout import UNKNOWN_ROLE, apply_layout
from app.data.columns import COLUMN_SPECS
from app.data.conversations.images import resolve_images
from app.data.conversations.media import placeholder_findings
from app.data.detect_layout import MIN_PLAUSIBLE_SHARE, share_of_valid_rows
from app.data.empty_words import is_empty_word_reason
from app.data.fields import Row, get_field
from app.data.findings.chat_text_findings import chat_text_findings
from app.data.findings.empty_cell_findings import empty_word_findings
from app.data.findings.form_findings import form_findings
from app.data.findings.label_findings import label_findings, unknown_label_rows
from app.data.findings.role_findings import turn_key_findings, unknown_role_findings
from app.data.layout_match import LayoutMatch
from app.data.pair_scores import score_findings
from app.data.refused_rows import refused_rows_finding
from app.data.row_finding import lowercase_first, make_finding
from app.data.row_types import UNJUDGED_STEP, UNKNOWN_LABEL, UNKNOWN_PREFERENCE
from app.data.table import Table
from app.data.unusable_cells import RefusalReason
from app.setup.spec import Source

_UNKNOWN_ROLE_START = UNKNOWN_ROLE.partition("{")[0]


def row_findings(
    match: LayoutMatch | None, table: Table, source: Source, spec_path: str, folder: Path | None = None
) -> list[Finding]:
    """Findings about unknown roles, dropped rows by reason, and keys of turns; or only about a column of a wrong type, or
    about verdicts that nobody explained.

    folder: of the rows' file; pictures are looked at only where it is known.
    """
    if match is None:
        return []
    about_labels = label_findings(match, table, source, spec_path)
    if match.undecided:
        return about_labels
    unknown_labels = unknown_label_rows(match, table, source)
    explained_rows = frozenset(number for numbers in unknown_labels.values() for number in numbers)
    outcomes = {number: _read_row(row, match, source, folder) for number, row in table.numbered_rows()}
    if not match.usable_share and share_of_valid_rows(match.module, match.columns, table, source) < MIN_PLAUSIBLE_SHARE:
        return [_wrong_column_type_finding(match, table)]
    return [
        *form_findings(match, table),
        *about_labels,
        *score_findings(match, table, source, spec_path),
        *unknown_role_findings(match, table, source, spec_path),
        *empty_word_findings(match, table, source, spec_path),
        *_unusable_row_findings(outcomes, source, spec_path, explained_rows),
        *placeholder_findings(outcomes),
        *turn_key_findings(match, table),
        *chat_text_findings(match, table, spec_path),
    ]


def _unusable_row_findings(
    outcomes: Mapping[int, Row | str], source: Source, spec_path: str, explained_rows: frozenset[int]
) -> list[Finding]:
    """Findings about refused rows, which a person may leave out, and about dropped ones, by reason.

    explained_rows: numbers of the rows whose verdicts a finding of its own names.
    """
    reasons: dict[str, list[int]] = {}
    refusals: dict[str, list[int]] = {}
    for number, outcome in outcomes.items():
        if isinstance(outcome, RefusalReason) and not source.skip_bad:
            refusals.setdefault(outcome, []).append(number)
        elif isinstance(outcome, str) and not _is_reported_elsewhere(outcome, number in explained_rows):
            reasons.setdefault(outcome, []).append(number)
    severity: Severity = "careful" if any(not isinstance(outcome, str) for outcome in outcomes.values()) else "wrong"
    refused_rows = [refused_rows_finding(rows, reason, [spec_path]) for reason, rows in refusals.items()]
    return refused_rows + [
        make_finding(
            "left_out",
            severity,
            f"{len(rows)} of the first {len(outcomes)} rows {'is' if len(rows) == 1 else 'are'} left out: {reason} (row {rows[0]}).",
            rows,
        )
        for reason, rows in reasons.items()
    ]


def _is_reported_elsewhere(reason: str, is_label_explained: bool) -> bool:
    """Whether a finding of its own says why a row is dropped for this reason."""
    if is_label_explained and reason in (UNKNOWN_LABEL, UNJUDGED_STEP, UNKNOWN_PREFERENCE):
        return True
    return reason.startswith(_UNKNOWN_ROLE_START) or is_empty_word_reason(reason)


def _read_row(row: Row, match: LayoutMatch, source: Source, folder: Path | None) -> Row | str:
    """The row as a run reads it, its pictures looked at, or the reason why it is dropped."""
    normalized_row = apply_layout(row, match.module, match.columns, source, real_words=match.real_words)
    if isinstance(normalized_row, str) or folder is None:
        return normalized_row
    return resolve_images(normalized_row, folder)


def _wrong_column_type_finding(match: LayoutMatch, table: Table) -> Finding:
    """The finding for the first needed column whose cells have a wrong type."""
    for target_column in match.module.NEEDS:
        source_column = match.columns[target_column]
        invalid_rows = [
            number
            for number, row in table.numbered_rows()
            if not COLUMN_SPECS[target_column].is_valid(get_field(row, source_column))
        ]
        if invalid_rows:
            column_types = {column["name"]: column["type"] for column in table.describe_columns()}
            column_spec = COLUMN_SPECS[target_column]
            actual_type = column_types.get(source_column, "something else")
            text = (
                f"`{source_column}` cannot be {lowercase_first(column_spec.title)}: it holds {actual_type}, "
                f"and should hold {column_spec.expected_type}."
            )
            return make_finding("form", "wrong", text, invalid_rows)
    return make_finding("form", "wrong", f"No row has {match.module.TELLING}.", table.numbers_of_rows())
