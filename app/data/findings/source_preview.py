"""Preview of a source for the page: its table, the detected layout, and its first training example."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from itertools import islice
from typing import Any, TypedDict

from app.contracts import Finding
from app.core.json_types import JsonObject
from app.core.problems import Problem
from app.core.validation import validate
from app.data.apply_layout import apply_layout
from app.data.column_words import is_text_column
from app.data.columns import COLUMN_SPECS
from app.data.conversations.messages import content_text, is_dict_list
from app.data.detect_layout import NUM_INSPECTED_ROWS
from app.data.fields import MISSING, Cell, Row, get_field
from app.data.findings import compatible_methods, source_report
from app.data.findings.layout_findings import without_foreign_remedies
from app.data.layout_match import ROW_TYPE_PRIORITY
from app.data.reading import files, uploads
from app.data.reading.unreadable_rows import UnreadableRows
from app.data.rows import require_layout
from app.data.table import ColumnDescription, abbreviate
from app.engine.contracts import load_method
from app.setup.spec import Source

MAX_TABLE_ROWS = 5
_MAX_TABLE_COLUMNS = 60
MAX_CELL_LENGTH = 600  # characters
_MAX_TEXT_LENGTH = 2_000  # characters of a text in the first example
_MAX_MESSAGES = 12  # of the first example


class PreviewedColumn(ColumnDescription):
    """A column of the table. example: the first of its examples, "" without any."""

    example: str


class _PreviewedMessage(TypedDict):
    """A message, a segment or a text. role_or_mask: the role of a message, the loss mask of a segment ("learned" or
    "read only"), "" of a text."""

    role_or_mask: str
    text: str


class _ExampleColumn(TypedDict):
    """A target column of the first example."""

    title: str
    messages: list[_PreviewedMessage]


class _FirstExample(TypedDict, total=False):
    """The columns of the first example, or why there is none."""

    columns: list[_ExampleColumn]
    why: str


class _FileDescription(TypedDict):
    """The file of a source, as in SourceDescription; of a dataset on the Hub, only the name is known."""

    name: str
    rows: int | None
    headless: bool


class SourcePreview(_FileDescription):
    """The first rows of a source, and how a method reads them.

    cells: [the texts of a row, by column]. numbers: of these rows in their file, from 1. guess, now: a SourceReport without its columns, without and with the layout
    settings of the source. fits: whether the method trains on these rows. fit: the compatible methods, None while the
    settings of the source are invalid.
    """

    source: str
    columns: list[PreviewedColumn]
    guess: JsonObject
    cells: list[list[str]]
    numbers: list[int]
    now: JsonObject
    fits: bool
    first_example: _FirstExample
    fit: compatible_methods.Compatibility | None


def preview_source(request: dict[str, Any]) -> SourcePreview:
    """The preview that the page asks for.

    request: {"source": as in a spec, "place": its index there, "method"}. Raises Problem.
    """
    source, source_index = validate(Source, request["source"], "The source"), int(request.get("place", 0))
    method = load_method(str(request["method"]))
    row_types = method.row_types
    numbered_rows = first_rows(source)
    rows = [row for _, row in numbered_rows]
    file_description, file_findings = _describe_file(source, source_index)
    source_without_mapping = source.model_copy(
        update={"mapping": {}, "templates": {}, "layout": None, "roles": {}, "labels": {}}
    )
    current_report = _report_for_method(numbered_rows, source, source_index, row_types)
    guessed_report = _report_for_method(numbered_rows, source_without_mapping, source_index, row_types)
    columns = sorted(current_report.columns, key=lambda column: _is_beside_text(column, rows))[:_MAX_TABLE_COLUMNS]
    findings = [*file_findings, *current_report.findings]
    return {
        **file_description,
        "source": source.source,
        "columns": [{**column, "example": (column["examples"] or [""])[0]} for column in columns],
        "guess": _report_without_columns(guessed_report),
        "cells": [[_cell_text(row, column["name"]) for column in columns] for row in rows[:MAX_TABLE_ROWS]],
        "numbers": [number for number, _ in numbered_rows[:MAX_TABLE_ROWS]],
        "now": _report_without_columns(replace(current_report, findings=findings)),
        "fits": current_report.kind in row_types,
        "first_example": _preview_first_example(numbered_rows, source, row_types, method.title),
        "fit": _compatible_methods_of_rows(rows, source),
    }


def _is_beside_text(column: ColumnDescription, rows: list[Row]) -> bool:
    """Whether a column is an id, a date, a verdict or the like; columns of text and conversations are shown first."""
    if column["type"] != "text":
        return "conversation" not in column["type"] and "turn" not in column["type"]
    return not is_text_column([get_field(row, column["name"]) for row in rows])


def first_rows(source: Source) -> list[files.NumberedRow]:
    """The first readable rows of a source, with their numbers; none where its encoding is not known yet. Raises Problem."""
    try:
        if files.source_path(source) is None:
            hub_settings = {"source", "config", "split", "revision", "start", "limit"}
            return _fetch_hub_rows(source.model_dump_json(include=hub_settings))
        lenient_source = source.model_copy(update={"skip_bad": True})
        return list(islice(files.read_numbered_rows(lenient_source, unreadable=UnreadableRows()), NUM_INSPECTED_ROWS))
    except Problem as problem:
        if problem.reason != "encoding":
            raise
        return []


@lru_cache(maxsize=8)  # every change to the column settings asks for the preview again, and the Hub is slow
def _fetch_hub_rows(source_json: str) -> list[files.NumberedRow]:
    """The first rows of a dataset on the Hub. source_json: the source, as JSON so that it can be a key of the cache."""
    source = Source.model_validate_json(source_json)
    return list(islice(files.read_numbered_rows(source, streaming=True), NUM_INSPECTED_ROWS))


def _describe_file(source: Source, source_index: int) -> tuple[_FileDescription, list[Finding]]:
    """The file of a source, and the findings about it."""
    path = files.source_path(source)
    if path is None:
        return {"name": files.display_name(source), "rows": None, "headless": False}, []
    setting_names = {"split", "start", "limit", "skip_bad", "headless", "parts", "encoding"}
    settings = source.model_dump(include=setting_names, exclude_none=True)
    description = uploads.describe_source(source.source, source_index, **settings)
    file_description: _FileDescription = {
        "name": description["name"],
        "rows": description["rows"],
        "headless": description["headless"],
    }
    return file_description, description["findings"]


def _report_for_method(
    rows: list[files.NumberedRow], source: Source, source_index: int, row_types: tuple[str, ...]
) -> source_report.SourceReport:
    """The report for the row types of a method; where none of these match, for all row types."""
    path = files.source_path(source)
    folder = files.image_folder(path) if path else None
    report = source_report.report_numbered_rows(rows, source, source_index, row_types, folder)
    if report.layout or not rows:
        return report
    foreign_report = source_report.report_numbered_rows(rows, source, source_index, ROW_TYPE_PRIORITY, folder)
    findings = without_foreign_remedies(foreign_report.findings, row_types, f"data.{source_index}")
    return replace(foreign_report, findings=findings)


def _compatible_methods_of_rows(rows: list[Row], source: Source) -> compatible_methods.Compatibility | None:
    """The compatible methods of these rows; None while the settings of the source are invalid."""
    try:
        return compatible_methods.find_compatible_methods(rows, source)
    except Problem:  # it is shown as a finding of `now`
        return None


def _report_without_columns(report: source_report.SourceReport) -> JsonObject:
    """A report as JSON without its columns, which the preview holds once."""
    return {name: value for name, value in report.to_dict().items() if name != "columns"}


def _cell_text(row: Row, column: str) -> str:
    """A cell as short text; empty for a missing one."""
    cell = get_field(row, column)
    return "" if cell is MISSING or cell is None else abbreviate(cell)[:MAX_CELL_LENGTH]


# -- the first example -------------------------------------------------------------------------------------------------

# Columns of a normalized row that are shown, in this order.
_EXAMPLE_COLUMNS = (
    "messages",
    "prompt",
    "completion",
    "chosen",
    "rejected",
    "reference",
    "completions",
    "label",
    "labels",
    "privileged_context",
    "text",
    "segments",
    "input_ids",
)


def _preview_first_example(
    numbered_rows: list[files.NumberedRow], source: Source, row_types: tuple[str, ...], title: str
) -> _FirstExample:
    """The first row as the method reads it."""
    if not numbered_rows:
        return {"why": ""}
    first_number, first_row = numbered_rows[0]
    try:
        match = require_layout([row for _, row in numbered_rows], source, row_types, title)
    except Problem as problem:
        return {"why": f"{problem.text} {problem.advice}".strip()}
    normalized_row = apply_layout(first_row, match.module, match.columns, source, real_words=match.real_words)
    if isinstance(normalized_row, str):
        return {"why": f"Row {first_number} is left out: {normalized_row}."}
    column_names = [name for name in _EXAMPLE_COLUMNS if normalized_row.get(name) is not None]
    columns: list[_ExampleColumn] = [
        {"title": COLUMN_SPECS[name].title, "messages": _preview_messages(name, normalized_row[name])}
        for name in column_names
    ]
    return {"columns": columns}


def _preview_messages(column: str, cell: Cell) -> list[_PreviewedMessage]:
    """A text, messages or segments, for the page."""
    if not is_dict_list(cell):
        return [{"role_or_mask": "", "text": _truncate_text(cell)}]
    if column == "segments":
        return [
            {"role_or_mask": "learned" if segment["train"] else "read only", "text": _truncate_text(segment["text"])}
            for segment in cell[:_MAX_MESSAGES]
        ]
    return [{"role_or_mask": message["role"], "text": _message_text(message)} for message in cell[:_MAX_MESSAGES]]


def _message_text(message: Row) -> str:
    """The text of a message, with the names of the tools that it calls."""
    calls = [
        f"[calls {tool_call.get('function', {}).get('name', 'a tool')}]"
        for tool_call in message.get("tool_calls") or ()
        if isinstance(tool_call, dict)
    ]
    content = message.get("content")
    text = content_text(content) if isinstance(content, list) else _truncate_text(content or "")
    return _truncate_text("\n".join(filter(None, [text, *calls])))


def _truncate_text(cell: Cell) -> str:
    """A value as text of limited length."""
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    text = cell if isinstance(cell, str) else abbreviate(cell)
    return text if len(text) <= _MAX_TEXT_LENGTH else f"{text[:_MAX_TEXT_LENGTH]} …"
