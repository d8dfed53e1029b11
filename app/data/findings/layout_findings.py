"""Findings about the layout of a source: settings that name nothing, no layout that matches, or several."""

from __future__ import annotations

from collections.abc import Iterable

from app.contracts import Finding, Remedy
from app.core import registry
from app.core.problems import Problem
from app.data.columns import COLUMN_SPECS
from app.data.detect_layout import best_match_per_row_type, match_layouts, missing_columns
from app.data.layout_match import POSSIBLE, SURE, LayoutMatch
from app.data.row_finding import lowercase_first, make_finding
from app.data.table import Table
from app.setup.spec import Source

_AMBIGUOUS_ROW_TYPES = ("text", "prompt_completion", "prompt")


def invalid_mapping_finding(problem: Problem, table: Table, source: Source, spec_path: str) -> Finding:
    """The finding for a mapping, template or layout with an unknown name; for a mapping, the remedy is the most
    similar column."""
    similar_column = problem.advice.removeprefix("Did you mean “").removesuffix("”?")
    unknown_targets = [
        target_column for target_column, source_column in source.mapping.items() if not table.has_values(source_column)
    ]
    remedy: Remedy | None = None
    if unknown_targets and table.has_values(similar_column):
        remedy = {
            "title": f"Take “{similar_column}”",
            "changes": {f"{spec_path}.mapping": source.mapping | {unknown_targets[0]: similar_column}},
        }
    return make_finding("mapping", "wrong", f"{problem.text} {problem.advice}".strip(), remedy=remedy)


def without_foreign_remedies(findings: list[Finding], row_types: Iterable[str], spec_path: str) -> list[Finding]:
    """The findings without remedies that change to a layout of other row types, which a method cannot read.

    row_types: those that the method reads. spec_path: of the source.
    """
    own_types = {*row_types}

    def is_foreign(remedy: Remedy | None) -> bool:
        layout = remedy["changes"].get(f"{spec_path}.layout") if remedy else None
        return bool(layout) and registry.load_module("layouts", str(layout)).KIND not in own_types

    return [{**finding, "remedy": None} if is_foreign(finding["remedy"]) else finding for finding in findings]


def ambiguity_findings(
    matches: list[LayoutMatch], table: Table, source: Source, row_types: tuple[str, ...], spec_path: str
) -> list[Finding]:
    """Findings where a person has to decide on the layout: none matches, it is only a guess, or another one matches
    as well."""
    if not matches:
        return [make_finding("nothing", "wrong", _explain_no_layout(table, source, row_types))]
    best_match = matches[0]
    if best_match.confidence == POSSIBLE:
        return [_guess_finding(best_match, spec_path)]
    is_decided = best_match.confidence == SURE or best_match.num_mapped_columns
    if is_decided or best_match.row_type not in _AMBIGUOUS_ROW_TYPES:
        return []
    rivals = [
        match
        for match in best_match_per_row_type(matches)[1:]
        if match.confidence and match.row_type in _AMBIGUOUS_ROW_TYPES[:2]
    ]
    return [
        make_finding(
            "either",
            "careful",
            f"These rows could also be {match.module.TITLE.lower()}.",
            remedy={
                "title": f"Read them as {match.module.TITLE.lower()}",
                "changes": {f"{spec_path}.layout": match.layout, f"{spec_path}.mapping": match.mapping},
            },
        )
        for match in rivals
    ]


def _guess_finding(match: LayoutMatch, spec_path: str) -> Finding:
    """That a pair of columns was only guessed, with the remedy that says it is right."""
    remedy: Remedy = {
        "title": f"Ask “{match.columns['prompt']}”, learn “{match.columns['completion']}”",
        "changes": {f"{spec_path}.mapping": match.columns},
    }
    sentence = "Which column is asked and which is answered is only a guess: say which is which."
    return make_finding("guess", "careful", sentence, remedy=remedy)


def _explain_no_layout(table: Table, source: Source, row_types: tuple[str, ...]) -> str:
    """Why no layout matches: what is missing for the layout that the source names, or for the one nearest to its
    mapping."""
    names = [source.layout] if source.layout else registry.names("layouts")
    layouts = [registry.load_module("layouts", name) for name in names]
    specified_columns = {*source.mapping, *source.templates}
    similar_layouts = [
        layout
        for layout in layouts
        if layout.KIND in row_types and (source.layout or specified_columns & {*layout.NEEDS})
    ]
    if source.layout and not similar_layouts:
        return f"What is to be learned cannot be learned from {lowercase_first(layouts[0].TITLE)}: choose another layout, or another lesson."
    other_matches = [match for match in match_layouts(table, source) if match.row_type not in row_types]
    other_match = next((match for match in other_matches if match.usable_share), None)
    if other_match and not similar_layouts:
        return f"These rows are {lowercase_first(other_match.module.TITLE)}, and what is to be learned is not learned from such: choose another lesson."
    if not table.rows:
        return "There are no rows."
    if not similar_layouts:
        return "Nothing in these rows tells what they are: say which column is which."
    missing_by_layout = [(missing_columns(layout, table, source), layout) for layout in similar_layouts]
    missing, nearest_layout = min(
        missing_by_layout, key=lambda pair: (len(pair[0]), len(pair[1].NEEDS), hasattr(pair[1], "fits"))
    )
    missing_titles = [COLUMN_SPECS[column].title.lower() for column in missing]
    return f"To be read as {lowercase_first(nearest_layout.TITLE)}, the rows lack a column: say which is {' and which '.join(missing_titles)}."
