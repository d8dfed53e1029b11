"""First rows: what the page shows of a source: its table as it stands in the file, how it is read, and what its first row becomes."""

from __future__ import annotations

from functools import lru_cache
from itertools import islice
from typing import Any

from app.core import registry
from app.core.problems import Problem
from app.core.validation import parse
from app.data import compatible_methods, files, source_report, uploads
from app.data.apply_layout import shaped
from app.data.columns import COLUMNS, short
from app.data.detect_layout import LOOKED_AT, ORDER
from app.data.fields import MISSING, Row, at
from app.data.rows import text_in, way_of
from app.data.unreadable_rows import Unread
from app.setup.spec import Source

SHOWN = 5  # rows of the table
WIDEST = 60  # columns of it
LONGEST = 600  # letters of a cell
SPOKEN = 2_000  # letters of one part of what the first row becomes
MOST_SAID = 12  # turns of it


def look(about: dict[str, Any]) -> dict[str, Any]:
    """{"source", "name", "rows": how many or None, "headless", "columns": [{"name", "type", "examples", "example", "empty"}],
    "cells": [a row's text for each column], "guess", "now": how the rows are read by themselves and as the source says, see
    looking.Guess, "fits": whether the method takes them so, "made": see `becomes`, "fit": see app/data/compatible_methods.py}.

    about: {"source": as in a setup, "place": of it there, "method"}. Raises Problem.
    """
    source, place = parse(Source, about["source"], "The source"), int(about.get("place", 0))
    method = registry.load("methods", str(about["method"]))
    kinds = method.LAYOUTS
    rows, told = first(source), known(source, place)
    untouched = source.model_copy(update={"mapping": {}, "templates": {}, "layout": None, "roles": {}})
    now, guess = read(rows, source, place, kinds), read(rows, untouched, place, kinds)
    columns = now.columns[:WIDEST]
    findings = told.pop("findings")
    return told | {
        "source": source.source, "columns": [one | {"example": (one["examples"] or [""])[0]} for one in columns], "guess": short_of(guess),
        "cells": [[cell(row, one["name"]) for one in columns] for row in rows[:SHOWN]], "now": short_of(now) | {"findings": findings + now.findings},
        "fits": now.kind in kinds, "made": becomes(rows, source, kinds, method.TITLE), "fit": teaches(rows, source),
    }  # fmt: skip


def first(source: Source) -> list[Row]:
    """Its first rows that can be read; none where nobody has said yet in which encoding."""
    try:
        if files.file_of(source) is None:
            return fetched(source.model_dump_json(include={"source", "config", "split", "revision", "start", "limit"}))
        return list(islice(files.rows_of(source.model_copy(update={"skip_bad": True}), unread=Unread()), LOOKED_AT))
    except Problem as problem:
        if problem.reason != "encoding":
            raise
        return []


@lru_cache(maxsize=8)  # each word about its columns asks again, and the Hub is far
def fetched(told: str) -> list[Row]:
    """The first rows of a dataset on the Hub."""
    return list(islice(files.rows_of(Source.model_validate_json(told), streaming=True), LOOKED_AT))


def known(source: Source, place: int) -> dict[str, Any]:
    """{"name", "rows", "headless", "findings"} of the file as it was brought; of a Hub dataset nothing is known beyond its first rows."""
    path = files.file_of(source)
    if path is None:
        return {"name": files.name_of(source), "rows": None, "headless": False, "findings": []}
    how = {"split", "start", "limit", "skip_bad", "headless", "parts", "encoding"}
    told = uploads.look(source.source, place, **source.model_dump(include=how, exclude_none=True))
    return {name: told[name] for name in ("name", "rows", "headless", "findings")}


def read(rows: list[Row], source: Source, place: int, kinds: tuple[str, ...]) -> source_report.Guess:
    """How a method reads the rows, or else what they are to others."""
    found = source_report.recognised(rows, source, place, kinds)
    return found if found.layout or not rows else source_report.recognised(rows, source, place, ORDER)


def teaches(rows: list[Row], source: Source) -> dict[str, Any] | None:
    """What these rows can teach; None while the source says of them what cannot be."""
    try:
        return compatible_methods.fitting(rows, source)
    except Problem:  # it is a finding of `now`
        return None


def short_of(guess: source_report.Guess) -> dict[str, Any]:
    """Without the table, which is told once."""
    return {name: value for name, value in guess.to_dict().items() if name != "columns"}


def cell(row: Row, path: str) -> str:
    found = at(row, path)
    return "" if found is MISSING or found is None else short(found)[:LONGEST]


# -- what the first row becomes -----------------------------------------------------------------------------------

# Of a row as methods take it, in the order of reading.
PARTS = ("messages", "prompt", "completion", "chosen", "rejected", "reference", "completions", "label", "labels", "privileged_context",
         "text", "segments", "input_ids")  # fmt: skip


def becomes(rows: list[Row], source: Source, kinds: tuple[str, ...], title: str) -> dict[str, Any]:
    """{"parts": [{"title", "says": [{"who": system, user, assistant, tool or "", "text"}]}]} of the first row, or {"why": not}."""
    if not rows:
        return {"why": ""}
    try:
        found = way_of(rows, source, kinds, title)
    except Problem as problem:
        return {"why": f"{problem.text} {problem.advice}".strip()}
    made = shaped(rows[0], found.module, found.columns, source)
    if isinstance(made, str):
        return {"why": f"Row {(source.start or 0) + 1} is left out: {made}."}
    return {
        "parts": [{"title": COLUMNS[name].title, "says": said(name, made[name])} for name in PARTS if made.get(name) is not None]
    }  # fmt: skip


def said(name: str, value: Any) -> list[dict[str, str]]:
    """A text, or turns, or pieces, each with who speaks."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        return [{"who": "", "text": shown(value)}]
    if name == "segments":
        return [
            {"who": "learned" if one["train"] else "read only", "text": shown(one["text"])} for one in value[:MOST_SAID]
        ]
    return [{"who": one["role"], "text": spoken(one)} for one in value[:MOST_SAID]]


def spoken(turn: Row) -> str:
    """What a turn says, with its calls of tools."""
    calls = [f"[calls {one.get('function', {}).get('name', 'a tool')}]" for one in turn.get("tool_calls") or () if isinstance(one, dict)]  # fmt: skip
    content = turn.get("content")
    words = text_in(content) if isinstance(content, list) else shown(content or "")
    return shown("\n".join(filter(None, [words, *calls])))


def shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = value if isinstance(value, str) else short(value)
    return text if len(text) <= SPOKEN else f"{text[:SPOKEN]} …"
