"""Detection of the layout of a table, by the names of its columns and the contents of its first rows."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from types import ModuleType

from app.core import registry
from app.core.problems import Problem, shorten
from app.data.apply_layout import LABEL_COLUMNS, apply_layout, label_choices, rename_columns
from app.data.column_words import is_text_column, names_role
from app.data.columns import COLUMN_SPECS
from app.data.conversations.messages import parse_json_cell
from app.data.empty_words import find_real_words
from app.data.fields import MISSING, Cell, Row, get_field, template_columns
from app.data.labels import undecided_numbers
from app.data.layout_match import LIKELY, ROW_TYPE_PRIORITY, SURE, LayoutMatch
from app.data.table import Table, normalize_column_name
from app.setup.spec import Source

NUM_INSPECTED_ROWS = 50  # at the beginning of a source
_MIN_CERTAIN_SHARE = 0.9  # of the rows must hold valid cells before a column of another name is taken
MIN_PLAUSIBLE_SHARE = 0.5  # the same for a layout that is recognised by its contents
DEFAULT_SOURCE = Source(source="path:.")


@cache
def _layout_names() -> tuple[str, ...]:
    """The names of all layouts."""
    return tuple(registry.names("layouts"))


def match_layouts(
    table: Table, source: Source = DEFAULT_SOURCE, row_types: Iterable[str] = ROW_TYPE_PRIORITY
) -> list[LayoutMatch]:
    """All layouts of these row types that the rows may have, the best first.

    A layout and columns that the source names are binding.

    Raises Problem where the source names a layout or a column that does not exist.
    """
    require_columns(table, source)
    accepted = set(row_types)
    names = [source.layout] if source.layout else _layout_names()
    if source.layout:
        registry.require_known("layouts", source.layout)
    accepted_names = [name for name in names if registry.load_module("layouts", name).KIND in accepted]
    matches = [match for name in accepted_names if (match := _match_layout(name, table, source))]
    return sorted(matches, key=lambda match: match.sort_key)


def _match_layout(name: str, table: Table, source: Source) -> LayoutMatch | None:
    """How the rows match this layout; None where they do not."""
    layout = registry.load_module("layouts", name)
    columns = assign_columns(layout, table, source)
    needed_columns = tuple(columns.get(column, "") for column in layout.NEEDS)
    if not table.rows or not all(needed_columns):
        return None
    specified_columns = {*source.mapping, *source.templates}
    names_match = all(
        target_column == source_column or target_column in specified_columns
        for target_column, source_column in zip(layout.NEEDS, needed_columns, strict=True)
    )
    is_chosen, valid_share = source.layout is not None, share_of_valid_rows(layout, columns, table, source)
    undecided = undecided_labels(layout, columns, table.rows, source)
    real_words = find_real_words(table, columns, source.templates)
    read_rows = [] if undecided else table.rows
    outcomes = [apply_layout(row, layout, columns, source, real_words=real_words) for row in read_rows]
    usable_share = sum(not isinstance(outcome, str) for outcome in outcomes) / len(table.rows)
    if not is_chosen and not _is_plausible(layout, name, names_match, valid_share, bool(usable_share or undecided)):
        return None
    if not names_match and not is_chosen and source.source.startswith("sample:"):
        return None  # the shipped samples have standard column names: another name is no guess to offer
    normalized_columns = tuple(map(normalize_column_name, needed_columns))
    has_known_form = hasattr(layout, "fits") or normalized_columns in getattr(layout, "KNOWN", ())
    is_known = is_chosen or names_match or (valid_share >= _MIN_CERTAIN_SHARE and has_known_form)
    num_mapped_columns = sum(column in specified_columns for column in columns)
    is_doubtful = not num_mapped_columns and not is_chosen and getattr(layout, "doubtful", lambda _: False)(table)
    confidence = SURE if is_known and usable_share and not is_doubtful else LIKELY
    return LayoutMatch(name, columns, confidence, usable_share, names_match, num_mapped_columns, real_words, undecided)


def _is_plausible(layout: ModuleType, name: str, names_match: bool, valid_share: float, is_usable: bool) -> bool:
    """Whether column names or contents indicate this layout.

    Standard names are enough even when no row is usable, so that the page can say why. A layout that is recognised by
    its contents (`fits`) needs them, except the basic layout of a row type.
    """
    if hasattr(layout, "fits"):
        return valid_share >= MIN_PLAUSIBLE_SHARE or (names_match and name == layout.KIND)
    return names_match or (valid_share >= _MIN_CERTAIN_SHARE and is_usable)


def assign_columns(layout: ModuleType, table: Table, source: Source) -> dict[str, str]:
    """{target column: source column}, each source column once: as the source maps it, else by its name."""
    columns: dict[str, str] = {}
    for target_column in (*layout.NEEDS, *getattr(layout, "MAY", ())):
        used_columns = {*columns.values(), *source.mapping.values()}
        source_column = (
            target_column
            if target_column in source.templates
            else source.mapping.get(target_column) or _guess_source_column(target_column, layout, table, used_columns)
        )
        if source_column:
            columns[target_column] = source_column
    return columns


def _guess_source_column(target_column: str, layout: ModuleType, table: Table, used_columns: set[str]) -> str | None:
    """The source column for a target column, by its aliases, else by parts of its name; a column without any cell only
    if it has the standard name."""
    aliases = getattr(layout, "NAMES", {}).get(target_column) or COLUMN_SPECS[target_column].aliases
    candidates = [
        source_column
        for alias in aliases
        if (source_column := table.find_column(alias)) is not None and source_column not in used_columns
    ]
    non_empty_column = next((source_column for source_column in candidates if table.has_values(source_column)), None)
    standard_column = next(
        (source_column for source_column in candidates if normalize_column_name(source_column) == target_column), None
    )
    is_named_by_layout = target_column in getattr(layout, "NAMES", {})
    column_by_words = None if is_named_by_layout else _column_by_words(target_column, table, used_columns)
    return non_empty_column or standard_column or column_by_words


def _column_by_words(target_column: str, table: Table, used_columns: set[str]) -> str | None:
    """The column of text whose name has a word that promises what the target column holds, such as “Agent reply”."""
    words = COLUMN_SPECS[target_column].words
    return next(
        (
            name
            for name in table.column_names
            if name not in used_columns and names_role(name, words) and is_text_column(table.values_of(name))
        ),
        None,
    )


def undecided_labels(layout: ModuleType, columns: dict[str, str], rows: list[Row], source: Source) -> tuple[float, ...]:
    """The numbers in the verdicts of these rows whose meaning only a person knows."""
    choices = label_choices(layout, columns, source)
    return tuple(undecided_numbers(verdicts(columns, rows), choices, is_binary="better" not in columns))


def verdicts(columns: dict[str, str], rows: list[Row]) -> list[Cell]:
    """The verdicts of these rows; those on single steps one by one.

    columns: {target column: source column} of a layout.
    """
    cells = [
        parse_json_cell(get_field(row, columns[name])) for name in LABEL_COLUMNS if name in columns for row in rows
    ]
    return [verdict for cell in cells for verdict in (cell if isinstance(cell, list) else [cell])]


def missing_columns(layout: ModuleType, table: Table, source: Source) -> list[str]:
    """The target columns that this layout needs and the table has under no name."""
    assigned_columns = assign_columns(layout, table, source)
    return [column for column in layout.NEEDS if column not in assigned_columns]


def share_of_valid_rows(layout: ModuleType, columns: dict[str, str], table: Table, source: Source) -> float:
    """The share of rows with valid cells in all needed columns, among the rows where none of these is null (0.0 to
    1.0)."""
    renamed_rows = [rename_columns(row, columns, source.templates) for row in table.rows]
    complete_rows = [row for row in renamed_rows if all(row.get(column) is not None for column in layout.NEEDS)]
    is_valid = getattr(layout, "fits", None) or (
        lambda row: all(COLUMN_SPECS[column].is_valid(row[column]) for column in layout.NEEDS)
    )
    return sum(bool(is_valid(row)) for row in complete_rows) / len(complete_rows) if complete_rows else 0.0


def require_columns(table: Table, source: Source) -> None:
    """Raises Problem where the mapping or a template names a column that no row has."""
    if not table.rows:
        return
    for source_column in source.mapping.values():
        if all(get_field(row, source_column) is MISSING for row in table.rows):
            raise Problem(
                f"There is no column “{shorten(source_column, 80)}”.",
                advice=_suggest_column(source_column, table),
                reason="wrong_column",
            )
    for target_column, template in source.templates.items():
        for source_column in _columns_in_template(target_column, template):
            if all(get_field(row, source_column) is MISSING for row in table.rows):
                raise Problem(
                    f"The text for `{target_column}` speaks of a column “{shorten(source_column, 80)}”, and there is none.",
                    advice=_suggest_column(source_column, table),
                    reason="wrong_column",
                )


def _columns_in_template(target_column: str, template: str) -> list[str]:
    """The columns that a template names. Raises Problem where it is malformed."""
    try:
        return template_columns(template)
    except ValueError as error:
        raise Problem(
            f"The text for `{target_column}` cannot be read: {error}.",
            advice="Write columns as {name}.",
            reason="wrong_column",
        ) from error


def _suggest_column(unknown_column: str, table: Table) -> str:
    """Advice that names the most similar column of the table."""
    names = [shorten(column["name"], 60) for column in table.describe_columns()]
    return registry.suggest_name(unknown_column, names[:200])


def select_layout(first_rows: list[Row], source: Source, row_types: Iterable[str]) -> LayoutMatch | list[LayoutMatch]:
    """The layout that a run uses for these rows; a list where a person decides: empty, or all equally good ones."""
    matches = match_layouts(Table(first_rows[:NUM_INSPECTED_ROWS]), source, row_types)
    if matches and matches[0].undecided:  # a person is asked, as in a report
        return matches[0]
    certain_match = next((match for match in matches if match.confidence == SURE or match.num_mapped_columns), None)
    if certain_match or not matches:
        return certain_match or []
    rivals = best_match_per_row_type([match for match in matches if match.is_usable and match.confidence])
    return matches[0] if len(rivals) < 2 else rivals


def best_match_per_row_type(matches: list[LayoutMatch]) -> list[LayoutMatch]:
    """The best match of each row type; matches without a usable row only where there are no others."""
    usable_matches = [match for match in matches if match.is_usable] or matches
    best_matches = {match.row_type: match for match in reversed(usable_matches)}
    return list(best_matches.values())[::-1]
