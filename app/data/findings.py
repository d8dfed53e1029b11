"""Faults: what the first rows of a source tell of speakers nobody knows, columns that hold something else, and rows left out."""

from __future__ import annotations

from collections import Counter
from typing import Any

from app.core import registry
from app.core.problems import Problem
from app.data.apply_layout import UNKNOWN, shaped
from app.data.columns import COLUMNS, Table
from app.data.detect_layout import HALF, POSSIBLE, SURE, Found, distinct, formed, lacks, ways
from app.data.fields import Row, at
from app.data.messages import CALLS, PLACES, ROLES, has_marks, opened
from app.setup.spec import Source

MOST_NAMED = 20  # rows of a finding


# -- who speaks ---------------------------------------------------------------------------------------------------


def turns(found: Found, row: Row) -> list[Row]:
    said = [opened(at(row, theirs)) for ours, theirs in found.columns.items() if ours in PLACES]
    return [turn for one in said if isinstance(one, list) for turn in one if isinstance(turn, dict)]


def name_of(turn: Row) -> str:
    return str(turn.get("role") or turn.get("from") or "user")


def speaking(found: Found, table: Table, source: Source) -> list[dict[str, Any]]:
    """Who speaks in these rows, under which names, and who that is to us."""
    names = Counter(name_of(turn) for row in table.rows for turn in turns(found, row))
    return [{"name": name[:60], "role": role_of(name, source), "turns": count} for name, count in names.most_common(40)]  # fmt: skip


def role_of(name: str, source: Source) -> str | None:
    lower = name.strip().lower()
    calls = "assistant" if lower in CALLS else None
    return source.roles.get(name) or source.roles.get(lower) or ROLES.get(lower) or calls


# -- what is wrong ------------------------------------------------------------------------------------------------


def finding(name: str, severity: str, text: str, rows: list[int] = (), remedy: dict[str, Any] | None = None) -> dict[str, Any]:  # type: ignore[assignment]  # fmt: skip
    return {"id": name, "severity": severity, "text": text, "count": len(rows), "rows": [*rows][:MOST_NAMED], "remedy": remedy}  # fmt: skip


def misnamed(problem: Problem, table: Table, source: Source, at_setup: str) -> dict[str, Any]:
    """A mapping, a text or a layout that names what is not there; the nearest name mends a mapping."""
    close = problem.advice.removeprefix("Did you mean “").removesuffix("”?")
    wrong = [ours for ours, theirs in source.mapping.items() if not table.has(theirs)]
    mend = None
    if wrong and table.has(close):
        mend = {"title": f"Take “{close}”", "changes": {f"{at_setup}.mapping": source.mapping | {wrong[0]: close}}}
    return finding("mapping", "wrong", f"{problem.text} {problem.advice}".strip(), remedy=mend)


def doubts(
    found: list[Found], table: Table, source: Source, kinds: tuple[str, ...], at_setup: str
) -> list[dict[str, Any]]:
    """Where nothing but a person can tell which kind the rows are."""
    if not found:
        return [finding("nothing", "wrong", nothing(table, source, kinds))]
    best = found[0]
    if best.level == POSSIBLE:
        mend = {"title": f"Ask “{best.columns['prompt']}”, learn “{best.columns['completion']}”", "changes": {f"{at_setup}.mapping": best.columns}}  # fmt: skip
        return [finding("guess", "careful", "Which column is asked and which is answered is only a guess: say which is which.", remedy=mend)]  # fmt: skip
    if best.level == SURE or best.chosen:
        return []
    rivals = [one for one in distinct(found)[1:] if one.level and one.kind in ("text", "prompt_completion")]
    return [finding("either", "careful", f"These rows could also be {one.module.TITLE.lower()}.",
                    remedy={"title": f"Read them as {one.module.TITLE.lower()}", "changes": {f"{at_setup}.layout": one.layout, f"{at_setup}.mapping": one.mapping}})
            for one in rivals]  # fmt: skip


def nothing(table: Table, source: Source, kinds: tuple[str, ...]) -> str:
    """Why the rows cannot be read, with what is lacking in the layout chosen, or in that which comes nearest to the mapping."""
    layouts = [
        registry.load("layouts", name) for name in ([source.layout] if source.layout else registry.choices("layouts"))
    ]
    told = {*source.mapping, *source.templates}
    near = [one for one in layouts if one.KIND in kinds and (source.layout or told & {*one.NEEDS})]
    if source.layout and not near:
        return f"What is to be learned cannot be learned from {lower(layouts[0].TITLE)}: choose another layout, or another lesson."
    other = next((one for one in ways(table, source) if one.kind not in kinds and one.usable), None)
    if other and not near:
        return f"These rows are {lower(other.module.TITLE)}, and what is to be learned is not learned from such: choose another lesson."
    if not table.rows:
        return "There are no rows."
    if not near:
        return "Nothing in these rows tells what they are: say which column is which."
    best = min(near, key=lambda one: (len(lacks(one, table, source)), len(one.NEEDS)))
    lacking = [COLUMNS[column].title.lower() for column in lacks(best, table, source)]
    return f"To be read as {lower(best.TITLE)}, the rows lack a column: say which is {' and which '.join(lacking)}."


def wrongs(found: Found | None, table: Table, source: Source, at_setup: str) -> list[dict[str, Any]]:
    """Rows that would be left out, by reason, speakers nobody knows, and columns that hold something else."""
    if found is None:
        return []
    made = [shaped(row, found.module, found.columns, source) for row in table.rows]
    if not found.usable and formed(found.module, found.columns, table, source) < HALF:
        return [misformed(found, table)]
    first = (source.start or 0) + 1
    strangers = unknown(found, table, source, at_setup, first)
    reasons: dict[str, list[int]] = {}
    for number, one in enumerate(made, first):
        if isinstance(one, str) and not one.startswith(UNKNOWN.partition("{")[0]):
            reasons.setdefault(one, []).append(number)
    severity = "careful" if any(not isinstance(one, str) for one in made) else "wrong"
    left = [finding("left_out", severity, f"{len(rows)} of the first {len(made)} rows {'is' if len(rows) == 1 else 'are'} left out: {reason} (row {rows[0]}).", rows)
            for reason, rows in reasons.items()]  # fmt: skip
    return strangers + left + marks(made, first)


def misformed(found: Found, table: Table) -> dict[str, Any]:
    """A column that cannot be what it was taken for."""
    for ours in found.module.NEEDS:
        theirs = found.columns[ours]
        bad = [number for number, row in enumerate(table.rows, 1) if not COLUMNS[ours].holds(at(row, theirs))]
        if bad:
            kinds = {one["name"]: one["type"] for one in table.columns()}
            text = f"`{theirs}` cannot be {lower(COLUMNS[ours].title)}: it holds {kinds.get(theirs, 'something else')}, and should hold {COLUMNS[ours].form}."  # fmt: skip
            return finding("form", "wrong", text, bad)
    return finding("form", "wrong", f"No row has {found.module.TELLING}.", [*range(1, len(table.rows) + 1)])


def lower(title: str) -> str:
    return title[0].lower() + title[1:]


def unknown(found: Found, table: Table, source: Source, at_setup: str, first: int) -> list[dict[str, Any]]:
    """Speakers in neither table, each with the rows where they speak."""
    seen: dict[str, list[int]] = {}
    likely: dict[str, str] = {}
    for number, row in enumerate(table.rows, first):
        said = turns(found, row)
        for place, turn in enumerate(said):
            name = name_of(turn)
            if role_of(name, source) is None:
                seen.setdefault(name, []).append(number)
                before = role_of(name_of(said[place - 1]), source) if place else None
                likely.setdefault(name, "assistant" if before == "user" else "user")
    return [finding("speaker", "wrong", f"Row {rows[0]} has a turn by “{name[:60]}”, and nobody knows who that is: say whether it is the system, the user, the assistant or a tool.",
                    [*dict.fromkeys(rows)], {"title": f"“{name[:60]}” is the {likely[name]}", "changes": {f"{at_setup}.roles": source.roles | {name: likely[name]}}})
            for name, rows in seen.items()]  # fmt: skip


def marks(made: list[Row | str], first: int) -> list[dict[str, Any]]:
    """That rows say themselves what is learned of them."""
    rows = [number for number, row in enumerate(made, first) if not isinstance(row, str) and any(has_marks(row.get(name)) for name in PLACES)]  # fmt: skip
    return [finding("marks", "good", "Some turns say themselves whether they are learned.", rows)] if rows else []
