"""Report on the first rows of a source: their layout and why, their columns and roles, and findings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypedDict

from app.contracts import Finding
from app.core.json_types import JsonObject
from app.core.problems import Problem
from app.data.columns import COLUMN_SPECS, join_with_and
from app.data.detect_layout import DEFAULT_SOURCE, NUM_INSPECTED_ROWS, best_match_per_row_type, match_layouts
from app.data.fields import MISSING, Row, get_field
from app.data.findings.empty_cell_findings import empty_column_findings
from app.data.findings.label_findings import Verdict, choice_titles, describe_verdicts
from app.data.findings.layout_findings import ambiguity_findings, invalid_mapping_finding, without_foreign_remedies
from app.data.findings.role_findings import Speaker, describe_speakers
from app.data.findings.row_findings import row_findings
from app.data.findings.unread_columns import unread_columns, unread_findings
from app.data.guess_pair import guess_pair
from app.data.layout_match import LIKELY, POSSIBLE, ROW_TYPE_PRIORITY, SURE, LayoutMatch
from app.data.reading import files
from app.data.reading.unreadable_rows import UnreadableRows
from app.data.table import ColumnDescription, Table
from app.setup.sources import LabelChoice, Source

_CONFIDENCE_NAMES = {SURE: "sure", LIKELY: "likely", POSSIBLE: "possible"}


class LayoutDescription(TypedDict):
    """A layout that rows may have.

    layout: a module of app/data/layouts, None where none matches. kind: its row type. because: the reason for the
    layout. certainty: sure, likely, possible or none. mapping: {target column: source column or dotted path}, as in
    data.N.mapping of a spec.
    """

    layout: str | None
    title: str
    kind: str | None
    because: str
    certainty: str
    mapping: dict[str, str]


class LayoutColumn(TypedDict):
    """A target column of a layout. form: the expected type, in words. column: the source column, "" for none."""

    name: str
    title: str
    form: str
    needed: bool
    column: str


@dataclass(frozen=True)
class SourceReport:
    """The detected layout of the rows, and the alternatives.

    layout, title, kind, because, certainty, mapping: as in LayoutDescription. sentence: what such rows are. parts: the
    target columns of the layout. columns: of the table. verdicts: on answers or steps, with what they may say in
    verdict_choices. others: the alternatives. rows: how many were inspected.
    """

    layout: str | None
    title: str
    sentence: str
    kind: str | None
    because: str
    certainty: str
    mapping: dict[str, str]
    parts: list[LayoutColumn]
    columns: list[ColumnDescription]
    speakers: list[Speaker]
    verdicts: list[Verdict]
    verdict_choices: dict[LabelChoice, str]
    others: list[LayoutDescription]
    findings: list[Finding]
    rows: int

    def to_dict(self) -> JsonObject:
        """The report as JSON for the page and the command line."""
        return asdict(self)


def report_source(source: Source, source_index: int = 0, row_types: Iterable[str] = ROW_TYPE_PRIORITY) -> SourceReport:
    """`report_rows` for the first rows of a source. Raises Problem where they cannot be read."""
    path, unreadable = files.source_path(source), UnreadableRows()
    folder = files.image_folder(path) if path else None
    numbered_rows = files.read_numbered_rows(source, unreadable=unreadable, streaming=True)
    report = report_numbered_rows(numbered_rows, source, source_index, row_types, folder)
    return replace(report, findings=unreadable.findings(source_index, source.skip_bad) + report.findings)


def report_rows(
    rows: Iterable[Row],
    source: Source = DEFAULT_SOURCE,
    source_index: int = 0,
    row_types: Iterable[str] = ROW_TYPE_PRIORITY,
    folder: Path | None = None,
) -> SourceReport:
    """`report_numbered_rows` for all rows within the start and limit of a source."""
    return report_numbered_rows(enumerate(rows, (source.start or 0) + 1), source, source_index, row_types, folder)


def report_numbered_rows(
    rows: Iterable[files.NumberedRow],
    source: Source = DEFAULT_SOURCE,
    source_index: int = 0,
    row_types: Iterable[str] = ROW_TYPE_PRIORITY,
    folder: Path | None = None,
) -> SourceReport:
    """The report on rows under the settings of their source; settings that cannot be used become findings.

    source_index: of the source in its spec, for remedies. row_types: those that are considered, such as a method's.
    folder: of the rows' file; pictures are looked at only where it is known.
    """
    table = Table.from_numbered_rows(islice(rows, NUM_INSPECTED_ROWS))
    row_types, spec_path = tuple(row_types), f"data.{source_index}"
    matches, source, findings = _match_or_report(table, source, row_types, spec_path)
    best_match = matches[0] if matches else None
    unread = unread_columns(best_match, table, source) if best_match else []
    findings += [
        *ambiguity_findings(matches, table, source, row_types, spec_path),
        *empty_column_findings(best_match, table, source, row_types),
        *row_findings(best_match, table, source, spec_path, folder),
        *(unread_findings(unread, best_match, table, source, spec_path) if best_match else []),
    ]
    description = _describe_match(best_match, table, source) if best_match else _NO_LAYOUT
    has_unused = bool(unread) or any(finding["id"] == "placeholder" for finding in findings)
    if description["certainty"] == "sure" and has_unused and not source.layout:
        description["certainty"] = "likely"
    sentence = (best_match.module.__doc__ or "").partition("\n")[0] if best_match else ""
    return SourceReport(
        **description,
        sentence=sentence,
        parts=_describe_layout_columns(best_match) if best_match else [],
        columns=table.describe_columns(),
        speakers=describe_speakers(best_match, table, source) if best_match else [],
        verdicts=describe_verdicts(best_match, table, source) if best_match else [],
        verdict_choices=choice_titles(best_match) if best_match else {},
        others=[_describe_match(match, table, source) for match in best_match_per_row_type(matches)[1:]],
        findings=without_foreign_remedies(findings, row_types, spec_path),
        rows=len(table.rows),
    )


def _match_or_report(
    table: Table, source: Source, row_types: tuple[str, ...], spec_path: str
) -> tuple[list[LayoutMatch], Source, list[Finding]]:
    """(possible layouts, the source, findings): settings that cannot be used are reported and left out of the source."""
    findings: list[Finding] = []
    try:
        matches = match_layouts(table, source, row_types)
    except Problem as problem:
        findings.append(invalid_mapping_finding(problem, table, source, spec_path))
        source = source.model_copy(update={"layout": None, "mapping": {}, "templates": {}})
        matches = match_layouts(table, source, row_types)
    if not matches and not match_layouts(table, source):
        matches = guess_pair(table, row_types)
    return matches, source, findings


_NO_LAYOUT: LayoutDescription = {
    "layout": None,
    "title": "Nothing known",
    "kind": None,
    "because": "",
    "certainty": "none",
    "mapping": {},
}


def _describe_match(match: LayoutMatch, table: Table, source: Source) -> LayoutDescription:
    """The fields of a report that describe one layout."""
    return {
        "layout": match.layout,
        "title": match.module.TITLE,
        "kind": match.row_type,
        "because": _explain_match(match, table, source),
        "certainty": _CONFIDENCE_NAMES[match.confidence],
        "mapping": match.mapping,
    }


def _explain_match(match: LayoutMatch, table: Table, source: Source) -> str:
    """The reason for a layout, in words, such as “because every row has `question` and `answer`”."""
    if match.confidence == POSSIBLE:
        return "by the names and the texts of its columns"
    if source.layout:
        return "because you chose it"
    source_columns = [match.columns[column] for column in match.module.NEEDS]
    template_columns = {column for column in match.module.NEEDS if column in source.templates}
    notes = dict.fromkeys(template_columns, " (made by your text)")
    column_list = join_with_and([f"`{column}`{notes.get(column, '')}" for column in source_columns])
    row_columns = [column for column in source_columns if column not in template_columns]
    count = sum(all(get_field(row, column) not in (None, "", MISSING) for column in row_columns) for row in table.rows)
    subject = "every row has" if count == len(table.rows) else f"{count} of {len(table.rows)} rows have"
    content_reason = f": {match.module.TELLING}" if hasattr(match.module, "TELLING") and match.usable_share else ""
    return f"because {subject} {column_list}{content_reason}"


def _describe_layout_columns(match: LayoutMatch) -> list[LayoutColumn]:
    """The target columns of a layout, with the source columns assigned to them."""
    layout = match.module
    return [
        {
            "name": name,
            "title": COLUMN_SPECS[name].title,
            "form": COLUMN_SPECS[name].expected_type,
            "needed": name in layout.NEEDS,
            "column": match.columns.get(name, ""),
        }
        for name in (*layout.NEEDS, *getattr(layout, "MAY", ()))
    ]
