"""Compatible methods of a table of examples: the default one and why, and what the others miss."""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple, TypedDict

from app.core import registry
from app.data import rows
from app.data.apply_layout import apply_layout
from app.data.columns import COLUMN_SPECS, join_with_and
from app.data.detect_layout import DEFAULT_SOURCE, NUM_INSPECTED_ROWS, match_layouts, missing_columns
from app.data.fields import Row
from app.data.findings.empty_cell_findings import explain_empty_columns
from app.data.layout_match import LayoutMatch
from app.data.reading import files
from app.data.table import Table
from app.engine.contracts import load_method
from app.setup.spec import Source


class DefaultMethod(NamedTuple):
    """The method that most people begin with on rows of one type, and the reason for it, for people."""

    method: str
    reason: str


class MethodFamily(NamedTuple):
    """A family of methods. sentence: what a person provides. default_method: of the family."""

    title: str
    sentence: str
    default_method: str


class Compatibility(TypedDict):
    """Which methods can train on a table.

    shapes: {possible row type: {target column: source column}}. methods: {name: "" or why it is incompatible}. best:
    the default method, None where no method is compatible. why: the reason for it.
    """

    shapes: dict[str, dict[str, str]]
    methods: dict[str, str]
    best: str | None
    why: str


class ListedMethod(TypedDict):
    """A method beside a table. lacks: why it is incompatible, "" if it is not. best: whether it is the default, and
    why: the reason for that."""

    name: str
    title: str
    family: str
    lacks: str
    best: bool
    why: str


DEFAULT_METHODS = {
    "messages": DefaultMethod(
        "sft",
        "These are conversations: imitating what is answered in them is the simplest way, and the one to start with when in doubt.",
    ),
    "stepwise": DefaultMethod(
        "process_reward",
        "Every step of a solution is marked right or wrong: from that it can learn to judge steps.",
    ),
    "thumbs": DefaultMethod(
        "kto",
        "Single answers were liked or disliked, and none is paired with another: it can learn from the thumbs as they are.",
    ),
    "ranked": DefaultMethod(
        "tpo",
        "Beside a better and a worse answer there is a best one: that is imitated while the two are told apart.",
    ),
    "preference": DefaultMethod(
        "dpo",
        "Each question has a better and a worse answer: the difference can be learned directly, without a judge between.",
    ),
    "prompt_completion": DefaultMethod(
        "sft",
        "Each question has the answer you want: imitating those is the simplest way, and the one to start with when in doubt.",
    ),
    "text": DefaultMethod(
        "pretrain",
        "This is running text without questions: all of it is read, and its language taken on.",
    ),
    "hinted": DefaultMethod(
        "sdft",
        "Each question comes with a hint: it learns to answer without the hint as it answers with it.",
    ),
    "segments": DefaultMethod(
        "sft",
        "Every piece says itself whether it is learned: these are imitated as they are.",
    ),
    "tokens": DefaultMethod("sft", "These rows are tokens already: they are imitated as they are."),
    "prompt": DefaultMethod(
        "grpo",
        "There are questions to try: it writes answers by itself and learns from what is right. Best where an answer can be checked, as in sums or code.",
    ),
}

METHOD_FAMILIES = {
    "imitate": MethodFamily("Imitate examples", "You show it the answers you want.", "sft"),
    "prefer": MethodFamily("Prefer this over that", "You show it better and worse answers.", "dpo"),
    "rewards": MethodFamily("Earn rewards", "It tries by itself; you say what counts.", "grpo"),
    "score": MethodFamily("Score answers", "It becomes a judge that gives marks.", "reward"),
    "copy": MethodFamily("Copy a bigger model", "A teacher shows it what to say.", "distill"),
}


def rank_in_family(name: str) -> int:
    """Sort key of a method within its family: the default first, then the stable ones, then the experimental ones."""
    method = load_method(name)
    is_other = METHOD_FAMILIES[method.family].default_method != name
    return is_other + 2 * method.experimental


def compatible_methods_of_name(source: str, mapping: dict[str, str] | None = None) -> Compatibility:
    """`find_compatible_methods` for the first rows of a source given by name. Raises Problem."""
    return _compatible_methods_of_source(Source(source=source, mapping=mapping or {}))


def _compatible_methods_of_source(source: Source) -> Compatibility:
    """`find_compatible_methods` for the first rows of a source. Raises Problem."""
    first_rows = islice(files.read_source_rows(source, streaming=True), NUM_INSPECTED_ROWS)
    return find_compatible_methods(list(first_rows), source)


def list_methods(source: str) -> list[ListedMethod]:
    """All methods beside the first rows of a source: the default, then compatible, then incompatible ones.

    Raises Problem where the source cannot be read.
    """
    compatibility = compatible_methods_of_name(source)
    methods: list[ListedMethod] = [
        {
            "name": name,
            "title": load_method(name).title,
            "family": load_method(name).family,
            "lacks": missing,
            "best": name == compatibility["best"],
            "why": compatibility["why"] if name == compatibility["best"] else "",
        }
        for name, missing in compatibility["methods"].items()
    ]
    return sorted(
        methods,
        key=lambda method: (not method["best"], bool(method["lacks"]), rank_in_family(method["name"]), method["name"]),
    )


def find_compatible_methods(raw_rows: list[Row], source: Source = DEFAULT_SOURCE) -> Compatibility:
    """The methods that can train on these rows of a source."""
    table = Table(raw_rows)
    matches = match_layouts(table, source)
    usable_matches = {match.row_type: match for match in reversed(matches) if match.is_usable and match.confidence}
    mappings = {
        row_type: usable_matches[row_type].mapping
        for row_type in dict.fromkeys(match.row_type for match in matches)
        if row_type in usable_matches
    }
    methods = {
        name: _explain_missing_columns(load_method(name).row_types, matches, table, source)
        for name in registry.names("methods")
    }
    best_method = next((_default_method(row_type) for row_type in mappings if _default_method(row_type)), None)
    reason = next((DEFAULT_METHODS[row_type].reason for row_type in mappings if _default_method(row_type)), "")
    return {"shapes": mappings, "methods": methods, "best": best_method, "why": reason}


def _explain_missing_columns(
    row_types: tuple[str, ...], matches: list[LayoutMatch], table: Table, source: Source
) -> str:
    """Why a method of these row types cannot use the rows: what is missing for the layout that needs least; empty if
    it can."""
    suitable_matches = [match for match in matches if match.row_type in row_types]
    if any(match.is_usable and match.confidence for match in suitable_matches):
        return ""
    if suitable_matches:
        return f"cannot use these rows: {_first_rejection(suitable_matches[0], table, source)}"
    layouts = [registry.load_module("layouts", name) for name in registry.names("layouts")]
    plain_layouts = [
        layout for layout in layouts if layout.KIND in row_types and rows.REQUIRED_COLUMNS[layout.KIND] == layout.NEEDS
    ]
    plain_layouts.sort(key=lambda layout: -len(layout.NEEDS))
    fewest_missing = min((missing_columns(layout, table, source) for layout in plain_layouts), key=len)
    if not fewest_missing:
        empty_columns = explain_empty_columns(table, source, row_types)
        return f"cannot use these rows: {empty_columns or 'their columns hold something else'}"
    columns = "a column" if len(fewest_missing) == 1 else "columns"
    return f"needs {columns} of {join_with_and([COLUMN_SPECS[column].plural_title for column in fewest_missing])}"


def _first_rejection(match: LayoutMatch, table: Table, source: Source) -> str:
    """The reason why the first dropped row is dropped; empty where every row is usable."""
    outcomes = (
        apply_layout(row, match.module, match.columns, source, real_words=match.real_words) for row in table.rows
    )
    return next((outcome for outcome in outcomes if isinstance(outcome, str)), "")


def _default_method(row_type: str) -> str | None:
    """The method that most people begin with on this row type, else the first that trains on it; None where none
    does."""
    method_names = [name for name in registry.names("methods") if row_type in load_method(name).row_types]
    usual_method = DEFAULT_METHODS[row_type].method
    return usual_method if usual_method in method_names else next(iter(method_names), None)
