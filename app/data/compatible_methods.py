"""Fitting: what a table of examples can teach: which methods take its columns, which is the usual one and why, and what the others lack."""

from __future__ import annotations

from itertools import islice
from typing import Any

from app.core import registry
from app.data import files, rows
from app.data.apply_layout import shaped
from app.data.columns import COLUMNS, Table
from app.data.detect_layout import LOOKED_AT, NOWHERE, Found, lacks, ways
from app.data.fields import Row
from app.setup.spec import Source

# What a row may be: (title, columns that it may have beside those that make it so, the usual method, why that one).
SHAPES = {
    "messages": ("Conversations", (), "sft", "These are conversations: imitating what is answered in them is the simplest way, and the one to start with when in doubt."),
    "stepwise": ("Solutions in steps", (), "process_reward", "Every step of a solution is marked right or wrong: from that it can learn to judge steps."),
    "thumbs": ("Answers, liked or not", (), "kto", "Single answers were liked or disliked, and none is paired with another: it can learn from the thumbs as they are."),
    "ranked": ("Better, worse and best answers", ("prompt",), "tpo", "Beside a better and a worse answer there is a best one: that is imitated while the two are told apart."),
    "preference": ("Better and worse answers", ("prompt",), "dpo", "Each question has a better and a worse answer: the difference can be learned directly, without a judge between."),
    "prompt_completion": ("Questions and answers", (), "sft", "Each question has the answer you want: imitating those is the simplest way, and the one to start with when in doubt."),
    "text": ("Plain text", (), "pretrain", "This is running text without questions: all of it is read, and its language taken on."),
    "hinted": ("Questions with hints", (), "sdft", "Each question comes with a hint: it learns to answer without the hint as it answers with it."),
    "segments": ("Pieces of text with marks", (), "sft", "Every piece says itself whether it is learned: these are imitated as they are."),
    "tokens": ("Tokens", (), "sft", "These rows are tokens already: they are imitated as they are."),
    "prompt": ("Questions", (), "grpo", "There are questions to try: it writes answers by itself and learns from what is right. Best where an answer can be checked, as in sums or code."),
}  # fmt: skip

# What a person wants: (title, what one gives, the usual method).
FAMILIES = {
    "imitate": ("Imitate examples", "You show it the answers you want.", "sft"),
    "prefer": ("Prefer this over that", "You show it better and worse answers.", "dpo"),
    "rewards": ("Earn rewards", "It tries by itself; you say what counts.", "grpo"),
    "score": ("Score answers", "It becomes a judge that gives marks.", "reward"),
    "copy": ("Copy a bigger model", "A teacher shows it what to say.", "distill"),
}


def family(method: Any) -> str:
    return getattr(method, "FAMILY", "imitate")


def order(name: str) -> int:
    """Of a method within its family: the usual one, then those that stay as they are, then the experimental."""
    module = registry.load("methods", name)
    return (FAMILIES[family(module)][2] != name) + 2 * bool(getattr(module, "EXPERIMENTAL", False))


def fit(source: str, mapping: dict[str, str] | None = None) -> dict[str, Any]:
    """`fitting` of the first rows behind a name. Raises Problem."""
    return fitted(Source(source=source, mapping=mapping or {}))


def fitted(source: Source) -> dict[str, Any]:
    """`fitting` of the first rows of a source, as it says they are to be read. Raises Problem."""
    return fitting(list(islice(files.rows_of(source, streaming=True), LOOKED_AT)), source)


def every(source: str) -> list[dict[str, Any]]:
    """[{"name", "title", "family", "lacks", "best", "why"}], the usual one first, then what fits, then what does not. Raises Problem."""
    told = fit(source)
    listed = [{"name": name, "title": registry.load("methods", name).TITLE, "family": family(registry.load("methods", name)), "lacks": lacks,
               "best": name == told["best"], "why": told["why"] if name == told["best"] else ""} for name, lacks in told["methods"].items()]  # fmt: skip
    return sorted(listed, key=lambda one: (not one["best"], bool(one["lacks"]), order(one["name"]), one["name"]))


def fitting(found: list[Row], source: Source = NOWHERE) -> dict[str, Any]:
    """{"shapes": {kind of rows that these are or may be: {our column: theirs}}, "methods": {name: "" or what is lacking}, "best",
    "why"}. best is None where no method takes them."""
    table = Table(found)
    known = ways(table, source)
    usable = {one.kind: one for one in reversed(known) if one.usable and one.level}
    shapes = {kind: usable[kind].mapping for kind in dict.fromkeys(one.kind for one in known) if kind in usable}
    methods = {name: lacking(registry.load("methods", name).LAYOUTS, known, table, source) for name in registry.choices("methods")}  # fmt: skip
    best = next((usual(shape) for shape in shapes if usual(shape)), None)
    why = next((SHAPES[shape][3] for shape in shapes if usual(shape)), "")
    return {"shapes": shapes, "methods": methods, "best": best, "why": why}


def lacking(kinds: tuple[str, ...], known: list[Found], table: Table, source: Source) -> str:
    """What a method that takes these kinds lacks, in the layout that comes nearest; empty when it has all."""
    own = [one for one in known if one.kind in kinds]
    if any(one.usable and one.level for one in own):
        return ""
    if own:
        return f"cannot use these rows: {why_not(own[0], table, source)}"
    layouts = [registry.load("layouts", name) for name in registry.choices("layouts")]
    own = [one for one in layouts if one.KIND in kinds and rows.LAYOUTS[one.KIND] == one.NEEDS]
    nearest = min((lacks(one, table, source) for one in sorted(own, key=lambda one: -len(one.NEEDS))), key=len)
    if not nearest:
        return "cannot use these rows: their columns hold something else"
    columns = "a column" if len(nearest) == 1 else "columns"
    return f"needs {columns} of {listed([COLUMNS[column].all for column in nearest])}"


def why_not(found: Found, table: Table, source: Source) -> str:
    """Why not one of the rows can be used."""
    made = (shaped(row, found.module, found.columns, source) for row in table.rows)
    return next((one for one in made if isinstance(one, str)), "")


def listed(parts: list[str]) -> str:
    """a, b and c"""
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


def usual(shape: str) -> str | None:
    """The method that most people begin with on such rows, else the first that takes them."""
    takes = [name for name in registry.choices("methods") if shape in registry.load("methods", name).LAYOUTS]
    return SHAPES[shape][2] if SHAPES[shape][2] in takes else next(iter(takes), None)
