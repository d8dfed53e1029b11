"""Looking: what the first rows of a source are, in words: their layout and why, whose turns they hold, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

from app.core.problems import Problem
from app.data import files
from app.data.columns import COLUMNS, Table
from app.data.detect_layout import LIKELY, LOOKED_AT, NOWHERE, ORDER, POSSIBLE, SURE, Found, distinct, ways
from app.data.fields import MISSING, Row, at
from app.data.findings import doubts, misnamed, speaking, wrongs
from app.setup.spec import Source

CERTAINTY = {SURE: "sure", LIKELY: "likely", POSSIBLE: "possible"}


@dataclass(frozen=True)
class Guess:
    """How the rows are read, and how else they could be.

    layout: a name of app/data/layouts/, None where nothing fits; title, sentence: what such rows are; kind: what methods take;
    because: why it is thought so; certainty: sure, likely, possible or none.
    mapping: {our column: theirs or a dotted path}, as a setup's data.N.mapping takes it.
    parts: [{"name": our column, "title", "form": what it must hold, "needed", "column": theirs or ""}] of the layout.
    columns: [{"name", "type", "examples": up to 3, "empty": rows that say nothing there}], nested ones as dotted paths.
    speakers: [{"name": theirs, "role": ours or None where nobody knows, "turns": how many}].
    others: [{"layout", "title", "kind", "because", "certainty", "mapping"}]. rows: how many were looked at.
    findings: [{"id", "severity", "text", "count", "rows": from 1, "remedy": {"title", "changes"} or None}].
    """

    layout: str | None
    title: str
    sentence: str
    kind: str | None
    because: str
    certainty: str
    mapping: dict[str, str]
    parts: list[dict[str, Any]]
    columns: list[dict[str, Any]]
    speakers: list[dict[str, Any]]
    others: list[dict[str, Any]]
    findings: list[dict[str, Any]]
    rows: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def look(source: Source, number: int = 0, kinds: Iterable[str] = ORDER) -> Guess:
    """`recognised` of the first rows of a source. Raises Problem when they cannot be read."""
    return recognised(islice(files.rows_of(source, streaming=True), LOOKED_AT), source, number, kinds)


def recognised(rows: Iterable[Row], source: Source = NOWHERE, number: int = 0, kinds: Iterable[str] = ORDER) -> Guess:
    """What rows are, read as the source says; what cannot be read so is a finding. number: of the source in its setup, for
    remedies; kinds: those that a method takes, in place of all."""
    table, findings = Table([*islice(rows, LOOKED_AT)]), []
    kinds, at_setup = tuple(kinds), f"data.{number}"
    try:
        found = ways(table, source, kinds)
    except Problem as problem:
        findings.append(misnamed(problem, table, source, at_setup))
        source = source.model_copy(update={"layout": None, "mapping": {}, "templates": {}})
        found = ways(table, source, kinds)
    found = found or ([] if ways(table, source) else paired(table, kinds))
    best = found[0] if found else None
    others = [about(one, table, source) for one in distinct(found)[1:]]
    told = about(best, table, source) if best else NOTHING
    speakers = speaking(best, table, source) if best else []
    findings += [*doubts(found, table, source, kinds, at_setup), *wrongs(best, table, source, at_setup)]
    sentence = (best.module.__doc__ or "").partition("\n")[0] if best else ""
    return Guess(**told, sentence=sentence, parts=parts(best) if best else [], columns=table.columns(), speakers=speakers,
                 others=others, findings=findings, rows=len(table.rows))  # fmt: skip


NOTHING = {"layout": None, "title": "Nothing known", "kind": None, "because": "", "certainty": "none", "mapping": {}}


def about(found: Found, table: Table, source: Source) -> dict[str, Any]:
    return {"layout": found.layout, "title": found.module.TITLE, "kind": found.kind, "because": because(found, table, source),
            "certainty": CERTAINTY[found.level], "mapping": found.mapping}  # fmt: skip


def because(found: Found, table: Table, source: Source) -> str:
    """The reason, in words: because every row has `question` and `answer`."""
    if found.level == POSSIBLE:
        return "because these are its only two columns of text, and the first may be what is asked"
    if source.layout:
        return "because you chose it"
    needs = [found.columns[column] for column in found.module.NEEDS]
    made = {column for column in found.module.NEEDS if column in source.templates}
    named = listed([f"`{theirs}`" + (" (made by your text)" if theirs in made else "") for theirs in needs])
    count = sum(
        all(theirs in made or at(row, theirs) not in (None, "", MISSING) for theirs in needs) for row in table.rows
    )
    who = "every row has" if count == len(table.rows) else f"{count} of {len(table.rows)} rows have"
    telling = f": {found.module.TELLING}" if hasattr(found.module, "TELLING") and found.usable else ""
    return f"because {who} {named}{telling}"


def parts(found: Found) -> list[dict[str, Any]]:
    layout = found.module
    return [{"name": name, "title": COLUMNS[name].title, "form": COLUMNS[name].form, "needed": name in layout.NEEDS,
             "column": found.columns.get(name, "")} for name in (*layout.NEEDS, *getattr(layout, "MAY", ()))]  # fmt: skip


def paired(table: Table, kinds: tuple[str, ...]) -> list[Found]:
    """Two columns of text, whatever they are called, may be a question and its answer."""
    texts = [one["name"] for one in table.columns() if one["type"] == "text" and "." not in one["name"]]
    if len(texts) != 2 or "prompt_completion" not in kinds:
        return []
    return [Found("pair", dict(zip(("prompt", "completion"), texts, strict=True)), POSSIBLE, 1.0, False)]


def listed(parts: list[str]) -> str:
    """a, b and c"""
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
