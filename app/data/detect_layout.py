"""Recognising: which layout a table's first rows have, by the names of its columns and by what stands in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from app.core import registry
from app.core.problems import Problem, shorten
from app.data.apply_layout import renamed, shaped
from app.data.columns import COLUMNS, Table, spelt
from app.data.fields import MISSING, Row, at, named
from app.setup.spec import Source

SURE, LIKELY, POSSIBLE = 2, 1, 0
LOOKED_AT = 50  # rows
ENOUGH = 0.9  # of the rows must have what a column of another name should hold
HALF = 0.5
# Where rows fit several kinds, the most telling first.
ORDER = ("segments", "tokens", "stepwise", "ranked", "thumbs", "preference", "messages", "prompt_completion", "text", "hinted", "prompt")  # fmt: skip
NOWHERE = Source(source="path:.")


@dataclass(frozen=True)
class Found:
    """One way to read the rows.

    columns: {our column: theirs}, ours alone where a template makes it. level: how sure; usable: the share of the rows that can
    be read so; own: their columns are called as ours, or a person said which they are; chosen: how many of them a person named.
    """

    layout: str
    columns: dict[str, str]
    level: int
    usable: float
    own: bool
    chosen: int = 0

    @cached_property
    def module(self) -> Any:
        return registry.load("layouts", self.layout)

    @property
    def kind(self) -> str:
        return self.module.KIND

    @property
    def mapping(self) -> dict[str, str]:
        return {ours: theirs for ours, theirs in self.columns.items() if ours != theirs}

    @property
    def place(self) -> tuple[Any, ...]:
        """Smaller is better: what was chosen, what can be used, the more telling kind, the surer, what its contents tell, the more columns."""
        return (-self.chosen, not self.usable, not self.level, ORDER.index(self.kind), -self.level, not hasattr(self.module, "fits"), -len(self.columns), self.layout)  # fmt: skip


@cache
def layouts() -> tuple[str, ...]:
    return tuple(registry.choices("layouts"))


def ways(table: Table, source: Source = NOWHERE, among: Iterable[str] = ORDER) -> list[Found]:
    """All ways to read the rows as one of these kinds, the best first. What a source says of columns and layout binds.

    Raises Problem where that names what is not there.
    """
    require_columns(table, source)
    among = set(among)
    names = [source.layout] if source.layout else layouts()
    if source.layout:
        registry.require("layouts", source.layout)
    found = (fitted(name, table, source) for name in names if registry.load("layouts", name).KIND in among)
    return sorted(filter(None, found), key=lambda one: one.place)


def fitted(name: str, table: Table, source: Source) -> Found | None:
    """How the rows have this layout; None where they do not."""
    layout = registry.load("layouts", name)
    columns = assigned(layout, table, source)
    needs = tuple(columns.get(column, "") for column in layout.NEEDS)
    if not table.rows or not all(needs):
        return None
    told = {*source.mapping, *source.templates}
    own = all(ours == theirs or ours in told for ours, theirs in zip(layout.NEEDS, needs, strict=True))
    forced, form = source.layout is not None, formed(layout, columns, table, source)
    usable = sum(not isinstance(shaped(row, layout, columns, source), str) for row in table.rows) / len(table.rows)
    if not forced and not believed(layout, name, own, form, usable):
        return None
    if not own and not forced and source.source.startswith("sample:"):
        return None  # shipped samples have the very columns their lesson needs
    known = forced or own or (form >= ENOUGH and (hasattr(layout, "fits") or needs in getattr(layout, "KNOWN", ())))
    chosen = sum(column in told for column in columns)
    doubted = not chosen and not forced and getattr(layout, "doubtful", lambda _: False)(table)
    return Found(name, columns, SURE if known and usable and not doubted else LIKELY, usable, own, chosen)


def believed(layout: Any, name: str, own: bool, form: float, usable: float) -> bool:
    """Whether names or contents speak for this layout. Columns called as ours are believed also when no row can be used, so
    that one is told why; a layout that its contents tell needs these, except the plainest of its kind."""
    if hasattr(layout, "fits"):
        return form >= HALF or (own and name == layout.KIND)
    return own or (form >= ENOUGH and usable > 0)


def assigned(layout: Any, table: Table, source: Source) -> dict[str, str]:
    """{our column: theirs}, each of theirs once: as a person said, else by its name."""
    found: dict[str, str] = {}
    for column in (*layout.NEEDS, *getattr(layout, "MAY", ())):
        taken = {*found.values(), *source.mapping.values()}
        theirs = (
            column
            if column in source.templates
            else source.mapping.get(column) or guessed(column, layout, table, taken)
        )
        if theirs:
            found[column] = theirs
    return found


def guessed(column: str, layout: Any, table: Table, taken: set[str]) -> str | None:
    """Which column is ours, by what such columns are often called; one without a word in it only when it is called as ours."""
    names = getattr(layout, "NAMES", {}).get(column) or COLUMNS[column].often
    called = [theirs for name in names if (theirs := table.called(name)) is not None and theirs not in taken]
    said = next((theirs for theirs in called if table.has(theirs)), None)
    return said or next((theirs for theirs in called if spelt(theirs) == column), None)


def lacks(layout: Any, table: Table, source: Source) -> list[str]:
    """Our columns that this layout needs and the rows have under no name."""
    have = assigned(layout, table, source)
    return [column for column in layout.NEEDS if column not in have]


def formed(layout: Any, columns: dict[str, str], table: Table, source: Source) -> float:
    """The share of the rows, among those without holes, whose needed columns hold what they should."""
    given = [renamed(row, columns, source.templates) for row in table.rows]
    whole = [row for row in given if all(row.get(column) is not None for column in layout.NEEDS)]
    holds = getattr(layout, "fits", None) or (lambda row: all(COLUMNS[column].holds(row[column]) for column in layout.NEEDS))  # fmt: skip
    return sum(bool(holds(row)) for row in whole) / len(whole) if whole else 0.0


def require_columns(table: Table, source: Source) -> None:
    """Raises Problem when the mapping or a template names a column that no row has."""
    if not table.rows:
        return
    for theirs in source.mapping.values():
        if all(at(row, theirs) is MISSING for row in table.rows):
            raise Problem(f"There is no column “{shorten(theirs, 80)}”.", advice=nearest(theirs, table), reason="wrong_column")  # fmt: skip
    for ours, template in source.templates.items():
        for theirs in fields(ours, template):
            if all(at(row, theirs) is MISSING for row in table.rows):
                raise Problem(f"The text for `{ours}` speaks of a column “{shorten(theirs, 80)}”, and there is none.",
                              advice=nearest(theirs, table), reason="wrong_column")  # fmt: skip


def fields(ours: str, template: str) -> list[str]:
    """The columns a template speaks of. Raises Problem when it cannot be read."""
    try:
        return named(template)
    except ValueError as error:
        raise Problem(f"The text for `{ours}` cannot be read: {error}.", advice="Write columns as {name}.", reason="wrong_column") from error  # fmt: skip


def nearest(theirs: str, table: Table) -> str:
    return registry.nearest(theirs, [shorten(one["name"], 60) for one in table.columns()][:200])


def chosen(first: list[Row], source: Source, kinds: Iterable[str]) -> Found | list[Found]:
    """The way that a run reads these rows, or all that are as good where nothing but a person can decide: none, or several."""
    found = ways(Table(first[:LOOKED_AT]), source, kinds)
    best = next((one for one in found if one.level == SURE or one.chosen), found[0] if found else None)
    if best is None or best.level == SURE or best.chosen:
        return best or []
    rivals = distinct([one for one in found if one.usable and one.level])
    return best if len(rivals) < 2 else rivals


def distinct(found: list[Found]) -> list[Found]:
    """The best way for each kind; what no row bears out, only where it is all there is."""
    usable = [one for one in found if one.usable] or found
    return list({one.kind: one for one in reversed(usable)}.values())[::-1] if usable else []
