"""Findings about the first rows of a source: unknown roles, wrong types, ambiguous layouts, dropped rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TypedDict

from app.contracts import Finding, Remedy, Severity
from app.core import registry
from app.core.problems import Problem
from app.data.apply_layout import UNKNOWN_ROLE, apply_layout
from app.data.chat_text_findings import chat_text_findings
from app.data.columns import COLUMN_SPECS
from app.data.detect_layout import (
    MIN_PLAUSIBLE_SHARE,
    POSSIBLE,
    SURE,
    LayoutMatch,
    best_match_per_row_type,
    match_layouts,
    missing_columns,
    share_of_valid_rows,
)
from app.data.empty_cell_findings import empty_word_findings
from app.data.empty_words import is_empty_word_reason
from app.data.fields import Row, get_field
from app.data.form_findings import form_findings
from app.data.images import resolve_images
from app.data.label_findings import label_findings
from app.data.media import placeholder_findings
from app.data.messages import MESSAGE_COLUMNS, ROLE_ALIASES, TOOL_CALL_ROLES, Messages, unwrap_messages
from app.data.pair_scores import score_findings
from app.data.refused_rows import refused_rows_finding
from app.data.row_finding import make_finding
from app.data.row_types import UNJUDGED_STEP, UNKNOWN_LABEL, UNKNOWN_PREFERENCE
from app.data.table import Table
from app.data.turn_keys import TurnKeys
from app.data.unusable_cells import RefusalReason
from app.setup.spec import Source

_UNKNOWN_ROLE_START = UNKNOWN_ROLE.partition("{")[0]
_AMBIGUOUS_ROW_TYPES = ("text", "prompt_completion", "prompt")

# -- roles -------------------------------------------------------------------------------------------------------------


def _messages_of_row(match: LayoutMatch, row: Row) -> Messages:
    """All messages in the columns of a raw row that hold conversations."""
    conversations = [
        unwrap_messages(get_field(row, source_column), is_conversation=target_column == "messages")
        for target_column, source_column in match.columns.items()
        if target_column in MESSAGE_COLUMNS
    ]
    message_lists = [conversation for conversation in conversations if isinstance(conversation, list)]
    return [message for messages in message_lists for message in messages if isinstance(message, dict)]


def _role_name(message: Row) -> str:
    """The role of a raw message, under its name in the data."""
    return str(message.get("role") or message.get("from") or "user")


class Speaker(TypedDict):
    """Who speaks in the messages of a table. name: in the rows. role: a standard role, None for an unknown name.
    turns: the number of messages."""

    name: str
    role: str | None
    turns: int


def describe_speakers(match: LayoutMatch, table: Table, source: Source) -> list[Speaker]:
    """The speakers of the messages, the most frequent first."""
    num_messages = Counter(_role_name(message) for row in table.rows for message in _messages_of_row(match, row))
    return [
        {"name": name[:60], "role": _standard_role(name, source), "turns": count}
        for name, count in num_messages.most_common(40)
    ]


def _standard_role(name: str, source: Source) -> str | None:
    """The standard role of a role in the data, by the source or the aliases; None for an unknown one."""
    lower_name = name.strip().lower()
    tool_call_role = "assistant" if lower_name in TOOL_CALL_ROLES else None
    return source.roles.get(name) or source.roles.get(lower_name) or ROLE_ALIASES.get(lower_name) or tool_call_role


# -- findings ----------------------------------------------------------------------------------------------------------


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


def ambiguity_findings(
    matches: list[LayoutMatch], table: Table, source: Source, row_types: tuple[str, ...], spec_path: str
) -> list[Finding]:
    """Findings where a person has to decide on the layout: none matches, it is only a guess, or another one matches
    as well."""
    if not matches:
        return [make_finding("nothing", "wrong", _explain_no_layout(table, source, row_types))]
    best_match = matches[0]
    if best_match.confidence == POSSIBLE:
        remedy: Remedy = {
            "title": f"Ask “{best_match.columns['prompt']}”, learn “{best_match.columns['completion']}”",
            "changes": {f"{spec_path}.mapping": best_match.columns},
        }
        return [
            make_finding(
                "guess",
                "careful",
                "Which column is asked and which is answered is only a guess: say which is which.",
                remedy=remedy,
            )
        ]
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
        return f"What is to be learned cannot be learned from {_lowercase_first(layouts[0].TITLE)}: choose another layout, or another lesson."
    other_matches = [match for match in match_layouts(table, source) if match.row_type not in row_types]
    other_match = next((match for match in other_matches if match.usable_share), None)
    if other_match and not similar_layouts:
        return f"These rows are {_lowercase_first(other_match.module.TITLE)}, and what is to be learned is not learned from such: choose another lesson."
    if not table.rows:
        return "There are no rows."
    if not similar_layouts:
        return "Nothing in these rows tells what they are: say which column is which."
    missing_by_layout = [(missing_columns(layout, table, source), layout) for layout in similar_layouts]
    missing, nearest_layout = min(
        missing_by_layout, key=lambda pair: (len(pair[0]), len(pair[1].NEEDS), hasattr(pair[1], "fits"))
    )
    missing_titles = [COLUMN_SPECS[column].title.lower() for column in missing]
    return f"To be read as {_lowercase_first(nearest_layout.TITLE)}, the rows lack a column: say which is {' and which '.join(missing_titles)}."


def row_findings(
    match: LayoutMatch | None, table: Table, source: Source, spec_path: str, folder: Path | None = None
) -> list[Finding]:
    """Findings about unknown roles, dropped rows by reason, and keys of turns; or only about a column of a wrong type, or
    about verdicts that nobody explained.

    folder: of the rows' file; pictures are looked at only where it is known.
    """
    if match is None:
        return []
    about_labels = label_findings(match, table, source, spec_path)
    if match.undecided:
        return about_labels
    outcomes = [_read_row(row, match, source, folder) for row in table.rows]
    if not match.usable_share and share_of_valid_rows(match.module, match.columns, table, source) < MIN_PLAUSIBLE_SHARE:
        return [_wrong_column_type_finding(match, table)]
    first_number = (source.start or 0) + 1
    unknown_roles = _unknown_role_findings(match, table, source, spec_path, first_number)
    reasons: dict[str, list[int]] = {}
    refusals: dict[str, list[int]] = {}
    for number, outcome in enumerate(outcomes, first_number):
        if isinstance(outcome, RefusalReason) and not source.skip_bad:
            refusals.setdefault(outcome, []).append(number)
        elif isinstance(outcome, str) and not _is_reported_elsewhere(outcome, bool(about_labels)):
            reasons.setdefault(outcome, []).append(number)
    severity: Severity = "careful" if any(not isinstance(outcome, str) for outcome in outcomes) else "wrong"
    dropped_rows = [
        make_finding(
            "left_out",
            severity,
            f"{len(rows)} of the first {len(outcomes)} rows {'is' if len(rows) == 1 else 'are'} left out: {reason} (row {rows[0]}).",
            rows,
        )
        for reason, rows in reasons.items()
    ]
    source_index = int(spec_path.rpartition(".")[2])
    return [
        *form_findings(match, table),
        *about_labels,
        *score_findings(match, table, source, spec_path),
        *unknown_roles,
        *empty_word_findings(match, table, source, spec_path),
        *(refused_rows_finding(rows, reason, source_index) for reason, rows in refusals.items()),
        *dropped_rows,
        *placeholder_findings(outcomes, first_number),
        *_turn_key_findings(match, table, first_number),
        *chat_text_findings(match, table, spec_path),
    ]


def _is_reported_elsewhere(reason: str, has_label_findings: bool) -> bool:
    """Whether a finding of its own says why rows are dropped for this reason."""
    if has_label_findings and reason in (UNKNOWN_LABEL, UNJUDGED_STEP, UNKNOWN_PREFERENCE):
        return True
    return reason.startswith(_UNKNOWN_ROLE_START) or is_empty_word_reason(reason)


def _read_row(row: Row, match: LayoutMatch, source: Source, folder: Path | None) -> Row | str:
    """The row as a run reads it, its pictures looked at, or the reason why it is dropped."""
    normalized_row = apply_layout(row, match.module, match.columns, source, real_words=match.real_words)
    if isinstance(normalized_row, str) or folder is None:
        return normalized_row
    return resolve_images(normalized_row, folder)


def _wrong_column_type_finding(match: LayoutMatch, table: Table) -> Finding:
    """The finding for the first needed column whose cells have a wrong type."""
    for target_column in match.module.NEEDS:
        source_column = match.columns[target_column]
        invalid_rows = [
            number
            for number, row in enumerate(table.rows, 1)
            if not COLUMN_SPECS[target_column].is_valid(get_field(row, source_column))
        ]
        if invalid_rows:
            column_types = {column["name"]: column["type"] for column in table.describe_columns()}
            column_spec = COLUMN_SPECS[target_column]
            actual_type = column_types.get(source_column, "something else")
            text = (
                f"`{source_column}` cannot be {_lowercase_first(column_spec.title)}: it holds {actual_type}, "
                f"and should hold {column_spec.expected_type}."
            )
            return make_finding("form", "wrong", text, invalid_rows)
    return make_finding("form", "wrong", f"No row has {match.module.TELLING}.", [*range(1, len(table.rows) + 1)])


def _lowercase_first(title: str) -> str:
    """The title with a small first letter, for use within a sentence."""
    return title[0].lower() + title[1:]


def _unknown_role_findings(
    match: LayoutMatch, table: Table, source: Source, spec_path: str, first_number: int
) -> list[Finding]:
    """A finding for each unknown role, with the rows where it occurs and its likely standard role as the remedy."""
    rows_by_name: dict[str, list[int]] = {}
    likely_roles: dict[str, str] = {}
    for number, row in enumerate(table.rows, first_number):
        messages = _messages_of_row(match, row)
        for message_index, message in enumerate(messages):
            name = _role_name(message)
            if _standard_role(name, source) is None:
                rows_by_name.setdefault(name, []).append(number)
                previous_role = (
                    _standard_role(_role_name(messages[message_index - 1]), source) if message_index else None
                )
                likely_roles.setdefault(name, "assistant" if previous_role == "user" else "user")
    return [
        make_finding(
            "speaker",
            "wrong",
            f"Row {rows[0]} has a turn by “{name[:60]}”, and nobody knows who that is: say whether it is the system, the user, the assistant or a tool.",
            [*dict.fromkeys(rows)],
            {
                "title": f"“{name[:60]}” is the {likely_roles[name]}",
                "changes": {f"{spec_path}.roles": source.roles | {name: likely_roles[name]}},
            },
        )
        for name, rows in rows_by_name.items()
    ]


def _turn_key_findings(match: LayoutMatch, table: Table, first_number: int) -> list[Finding]:
    """Findings on train flags, and on keys of turns that nobody knows."""
    turn_keys = TurnKeys()
    for number, row in enumerate(table.rows, first_number):
        turn_keys.add_row(number, _messages_of_row(match, row))
    return turn_keys.findings()
