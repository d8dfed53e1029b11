"""Table: the first rows of a source, and a description of its columns by their cells."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

from app.core.problems import shorten
from app.data.conversations.messages import is_dict_list, is_message_list, unwrap_messages
from app.data.fields import MISSING, Cell, Row, as_text, get_field

_NUM_EXAMPLES = 3
_MAX_ABBREVIATED_LENGTH = 1000  # characters
_MAX_COLUMNS = 200  # listed on the page
_MAX_DEPTH = 3  # levels of nested objects that are listed as dotted paths


class ColumnDescription(TypedDict):
    """A column of a table, or a dotted path in one. type: in words. empty: the number of rows without a cell."""

    name: str
    type: str
    examples: list[str]
    empty: int


@dataclass(frozen=True)
class Table:
    """The first rows of a source, unchanged from its file.

    row_numbers: of these rows in their source, from 1; empty where they are its first ones without a gap.
    """

    rows: list[Row]
    row_numbers: Sequence[int] = ()

    @classmethod
    def from_numbered_rows(cls, numbered_rows: Iterable[tuple[int, Row]]) -> Table:
        """The table of rows with their numbers in the source."""
        pairs = [*numbered_rows]
        return cls([row for _, row in pairs], [number for number, _ in pairs])

    def numbers_of_rows(self) -> Sequence[int]:
        """The number of each row in its source."""
        return self.row_numbers or range(1, len(self.rows) + 1)

    def numbered_rows(self) -> Iterator[tuple[int, Row]]:
        """(number in its source, row) of each row."""
        return zip(self.numbers_of_rows(), self.rows, strict=True)

    @cached_property
    def column_names(self) -> list[str]:
        """The names of all columns, in order of appearance."""
        return list(dict.fromkeys(name for row in self.rows for name in row if isinstance(name, str)))

    @cached_property
    def _columns_by_spelling(self) -> dict[str, str]:
        """{normalized name: name}; of several names with the same spelling, the first."""
        return {normalize_column_name(name): name for name in reversed(self.column_names)}

    def has_values(self, column: str) -> bool:
        """Whether some row has a field there that is not null."""
        return any(get_field(row, column) not in (MISSING, None) for row in self.rows)

    def find_column(self, alias: str) -> str | None:
        """The column, or dotted path, of this name, whatever its case and separators; None where there is none."""
        return self._columns_by_spelling.get(alias) or (alias if "." in alias and self.has_values(alias) else None)

    def values_of(self, column: str) -> list[Cell]:
        """The cells of a column or dotted path, without missing ones and nulls."""
        return [cell for row in self.rows if (cell := get_field(row, column)) is not MISSING and cell is not None]

    def describe_columns(self) -> list[ColumnDescription]:
        """All columns, with the fields of nested objects behind them."""
        paths = [path for name in self.column_names for path in _nested_paths(name, self.values_of(name))]
        return [self._describe_column(path) for path in paths[:_MAX_COLUMNS]]

    def _describe_column(self, path: str) -> ColumnDescription:
        cells = self.values_of(path)
        return {
            "name": path,
            "type": _describe_type(cells),
            "examples": _example_texts(cells),
            "empty": len(self.rows) - len(cells),
        }


def normalize_column_name(name: str) -> str:
    """A column name in lower case with underscores, so that spellings can be compared."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _nested_paths(path: str, cells: list[Cell], depth: int = 1) -> Iterator[str]:
    """The path of a column, and the dotted paths of the fields of its objects."""
    yield path
    if depth >= _MAX_DEPTH or not cells or not is_dict_list(cells) or is_message_list(cells):
        return
    for name in dict.fromkeys(name for cell in cells for name in cell if isinstance(name, str)):
        fields = [cell[name] for cell in cells if cell.get(name) is not None]
        yield from _nested_paths(f"{path}.{name}", fields, depth + 1)


def _example_texts(cells: list[Cell]) -> list[str]:
    """The first distinct cells as short texts."""
    texts = dict.fromkeys(shorten(abbreviate(cell), 160) for cell in cells)
    return [text for text in texts if text.strip()][:_NUM_EXAMPLES]


def abbreviate(cell: Cell, depth: int = 0) -> str:
    """A cell as text of at most 1,000 characters, without writing out a cell of a hundred megabytes first."""
    if depth > 2 * _MAX_DEPTH and isinstance(cell, list | dict):
        return "…"
    if isinstance(cell, list):
        elements = [abbreviate(element, depth + 1) for element in cell[:3]]
        return f"[{', '.join(elements)}{', …' if len(cell) > 3 else ''}]"[:_MAX_ABBREVIATED_LENGTH]
    if isinstance(cell, dict):
        fields = [f"{str(key)[:40]}: {abbreviate(field, depth + 1)}" for key, field in [*cell.items()][:6]]
        return ("{" + ", ".join(fields) + "}")[:_MAX_ABBREVIATED_LENGTH]
    if isinstance(cell, bytes):
        return "bytes"
    return (cell if isinstance(cell, str) else as_text(cell))[:_MAX_ABBREVIATED_LENGTH]


def _describe_type(cells: list[Cell]) -> str:
    """The type of a column, in words: nothing, mixed, or the type of all its cells."""
    type_names = list(dict.fromkeys(_type_name(cell) for cell in cells))
    return "nothing" if not type_names else type_names[0] if len(type_names) == 1 else "mixed"


def _type_name(cell: Cell, depth: int = 0) -> str:
    """The type of a cell, in words."""
    if isinstance(cell, bool):
        return "yes or no"
    if isinstance(cell, int | float):
        return "number"
    if isinstance(cell, str):
        return "conversation" if is_message_list(unwrap_messages(cell)) else "text"
    if isinstance(cell, dict):
        return "turn" if is_message_list([cell]) else "group"
    if not isinstance(cell, list):
        return "something else"
    if is_message_list(unwrap_messages(cell)):
        return "conversation"
    element_types = {_type_name(element, depth + 1) for element in cell[:50]} if depth < _MAX_DEPTH else set()
    return f"list of {_plural(element_types.pop())}" if len(element_types) == 1 else "list"


def _plural(singular: str) -> str:
    return singular if singular.startswith("list") or singular == "yes or no" else f"{singular}s"
