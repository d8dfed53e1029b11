"""Columns of a table that its layout does not read, by what they look like, and the findings that name them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from app.contracts import Finding, Remedy
from app.data.apply_layout import label_choices
from app.data.column_words import (
    ANSWER_WORDS,
    NEGATIVE_VERDICT_WORDS,
    REASONING_WORDS,
    REJECTED_WORDS,
    TURN_KEYS,
    VERDICT_WORDS,
    describes_row,
    has_word,
    is_prose_column,
    is_text_column,
)
from app.data.columns import COLUMN_SPECS, join_with_and
from app.data.conversations.media import holds_media
from app.data.conversations.messages import is_message_list, unwrap_messages
from app.data.fields import Cell, Row, get_field, template_columns
from app.data.findings.label_findings import describe_choices
from app.data.labels import (
    as_flag,
    choose,
    is_verdict_like,
    is_verdict_word,
    parse_label,
    suggest_choices,
    undecided_numbers,
)
from app.data.layout_match import LayoutMatch
from app.data.row_finding import make_finding
from app.data.row_types import PROMPT_ROW_TYPES
from app.data.table import Table, normalize_column_name
from app.setup.sources import LabelChoice, Source

UnreadKind = Literal["verdict", "rejected", "reasoning", "media", "text"]

_KEPT_COLUMNS = frozenset({"tools", "functions", "images", "image", "chat_template_kwargs"})  # of every row type
_REWARD_WORDS = ANSWER_WORDS | {
    "truth",
    "target",
    "gold",
    "expected",
    "reference",
    "test",
    "rubric",
    "hint",
    "explanation",
}
_JUDGED_ROW_TYPES = frozenset({"thumbs", "stepwise", "preference", "ranked"})  # these read a verdict already
_OPAQUE_ROW_TYPES = frozenset({"tokens", "segments"})  # other columns are about their tokens
_MAX_VERDICTS = 6  # different words of a verdict
_REDUNDANT_SHARE = 0.9  # of the rows say in this column what they say in one that is read
# {layout: the layout that also reads a verdict, or a worse answer}
_JUDGED_LAYOUTS = {
    "pair": "thumbs",
    "alpaca": "alpaca_thumbs",
    "messages": "thumbs_conversation",
    "sharegpt": "thumbs_conversation",
}
_REJECTED_LAYOUTS = {
    "pair": "rejected_answer",
    "alpaca": "alpaca_preference",
    "messages": "rejected_conversation",
    "sharegpt": "rejected_conversation",
}


class UnreadColumn(NamedTuple):
    """A column that a layout does not read. kind: what it looks like."""

    name: str
    kind: UnreadKind


def unread_columns(match: LayoutMatch, table: Table, source: Source) -> list[UnreadColumn]:
    """The columns that the layout does not read and that may matter; ids, dates, people and the like are left out."""
    if match.row_type in _OPAQUE_ROW_TYPES:
        return []
    read_columns = _read_columns(match, source)
    unread = [name for name in table.column_names if name not in read_columns]
    columns = [UnreadColumn(name, kind) for name in unread if (kind := _kind_of(name, match, table, source))]
    return [column for column in columns if not _is_redundant(column, read_columns, table)]


def _read_columns(match: LayoutMatch, source: Source) -> set[str]:
    """The names of all columns that are read, or that stay beside every row."""
    keeps_all = match.row_type in PROMPT_ROW_TYPES
    targets = {*source.mapping, *source.templates} if keeps_all else {*match.columns}
    mapped = [path for target, path in source.mapping.items() if target in targets]
    templates = [template for target, template in source.templates.items() if target in targets]
    in_templates = [path for template in templates for path in template_columns(template)]
    paths = [*match.columns.values(), *mapped, *in_templates]
    return {*paths, *(path.partition(".")[0] for path in paths)}


def _kind_of(name: str, match: LayoutMatch, table: Table, source: Source) -> UnreadKind | None:
    """What an unread column looks like; None where it does not matter."""
    cells = [cell for cell in table.values_of(name) if cell not in ("", [], {})]
    if not cells or normalize_column_name(name) in _KEPT_COLUMNS:
        return None
    is_text = is_text_column(cells)
    if holds_media(name, cells):
        return "media"
    if _is_verdict(name, cells):
        return "verdict" if _is_verdict_unread(name, match, table, source) else None
    is_answer = is_text or all(is_message_list(unwrap_messages(cell)) for cell in cells)
    if is_answer and has_word(name, REJECTED_WORDS):
        return None if match.row_type in ("preference", "ranked") else "rejected"
    if is_text and has_word(name, REASONING_WORDS):
        return "reasoning"
    is_for_rewards = match.row_type in PROMPT_ROW_TYPES and has_word(name, _REWARD_WORDS)
    if is_for_rewards or describes_row(name) or normalize_column_name(name) in TURN_KEYS:
        return None
    return "text" if is_prose_column(cells) or (is_answer and not is_text) else None


def _is_verdict(name: str, cells: list[Cell]) -> bool:
    """Whether a column is a verdict: by its name and cells, or by words that tell good from bad."""
    if all(isinstance(cell, str) and is_verdict_word(cell) for cell in cells):
        return len({as_flag(cell) for cell in cells}) > 1 or has_word(name, VERDICT_WORDS) or as_flag(cells[0]) is None
    is_known = normalize_column_name(name) in COLUMN_SPECS["better"].aliases  # such as better_response_id
    if not is_known and (not has_word(name, VERDICT_WORDS) or describes_row(name)):
        return False
    if all(is_verdict_like(cell) for cell in cells):
        return True
    words = {cell for cell in cells if isinstance(cell, str) and len(cell.split()) < 4}
    is_few_words = 1 < len(words) <= _MAX_VERDICTS and len(words) * 2 <= len(cells)
    return is_few_words and all(isinstance(cell, str) and cell in words for cell in cells)


def _is_verdict_unread(name: str, match: LayoutMatch, table: Table, source: Source) -> bool:
    """Whether a verdict matters: no other one is read, or the two differ."""
    if match.row_type not in _JUDGED_ROW_TYPES:
        return True
    if match.layout != "judged_pair":
        return False
    choices = label_choices(match.module, match.columns, source)
    other_choices = [choose(get_field(row, match.columns["better"]), choices) for row in table.rows]
    own_choices = [choose(get_field(row, name), choices) for row in table.rows]
    return None not in own_choices and own_choices != other_choices


def _is_redundant(column: UnreadColumn, read_columns: set[str], table: Table) -> bool:
    """Whether a text repeats what stands in a column that is read, as the prompt of a conversation beside it, or all
    that is read, as the whole prompt of Alpaca's `text`."""
    if column.kind not in ("text", "rejected"):
        return False
    rows = [row for row in table.rows if row.get(column.name) not in (None, "", [])]
    repeats = sum(_is_repeated(row, column.name, read_columns) for row in rows)
    return repeats >= _REDUNDANT_SHARE * len(rows)


def _is_repeated(row: Row, column: str, read_columns: set[str]) -> bool:
    read_texts = [text.strip() for name in read_columns if name in row for text in _texts_in(row[name])]
    texts = [text.strip() for text in _texts_in(row[column])]
    return _are_within(texts, "\0".join(read_texts)) or _are_within(read_texts, "\0".join(texts))


def _are_within(texts: list[str], longer_text: str) -> bool:
    """Whether each of the texts stands in the longer one."""
    return all(text in longer_text for text in texts)


def _texts_in(cell: Cell, depth: int = 0) -> Iterator[str]:
    """All texts in a cell, also those in its lists and objects."""
    if isinstance(cell, str):
        yield cell
    elif isinstance(cell, list | dict) and depth < 8:
        for element in cell.values() if isinstance(cell, dict) else cell:
            yield from _texts_in(element, depth + 1)


# -- findings ----------------------------------------------------------------------------------------------------------


def unread_findings(
    columns: list[UnreadColumn], match: LayoutMatch, table: Table, source: Source, spec_path: str
) -> list[Finding]:
    """A finding for each kind of unread columns, with the mapping or the layout that reads the first of them."""
    findings = []
    for kind, (singular, plural) in _SENTENCES.items():
        names = [column.name for column in columns if column.kind == kind]
        if names:
            listed = join_with_and([f"`{name[:60]}`" for name in names[:8]] + (["others"] if len(names) > 8 else []))
            sentence = (singular if len(names) == 1 else plural).format(listed)
            remedy = _make_remedy(kind, names[0], match, table, source, spec_path)
            findings.append(make_finding(f"unread_{kind}", "careful", sentence, remedy=remedy))
    return findings


_SENTENCES: dict[UnreadKind, tuple[str, str]] = {
    "verdict": (
        "{} looks like a verdict, and it is not used: what it calls bad is learned like what it calls good.",
        "{} look like verdicts, and they are not used: what they call bad is learned like what they call good.",
    ),
    "rejected": (
        "{} looks like a worse answer, and it is not used.",
        "{} look like worse answers, and they are not used.",
    ),
    "reasoning": (
        "{} looks like what is thought before the answer, and it is not used.",
        "{} look like what is thought before the answer, and they are not used.",
    ),
    "text": (
        "{} holds text that is not used: nothing of it is read or learned.",
        "{} hold text that is not used: nothing of it is read or learned.",
    ),
    "media": (
        "{} holds sound or films, which no model here can use: only the text beside it is learned.",
        "{} hold sound or films, which no model here can use: only the text beside them is learned.",
    ),
}


def _make_remedy(
    kind: UnreadKind, name: str, match: LayoutMatch, table: Table, source: Source, spec_path: str
) -> Remedy | None:
    """The change that reads an unread column; None where no layout reads it."""
    if kind == "verdict":
        return _verdict_remedy(name, match, table, source, spec_path)
    if kind == "rejected" and match.layout in _REJECTED_LAYOUTS:
        targets = {"output": "chosen"} if match.layout == "alpaca" else {}
        columns = {targets.get(target, target): column for target, column in match.columns.items()} | {"rejected": name}
        return _layout_remedy(
            f"Learn to prefer the answer to “{name}”", _REJECTED_LAYOUTS[match.layout], columns, spec_path
        )
    if kind == "reasoning" and "reasoning" in getattr(match.module, "MAY", ()):
        return _layout_remedy(
            f"Let it think “{name}” first", match.layout, match.columns | {"reasoning": name}, spec_path
        )
    if kind == "text" and match.layout == "question" and is_text_column(table.values_of(match.columns["prompt"])):
        columns = {"prompt": match.columns["prompt"], "completion": name}
        return _layout_remedy(f"Learn “{name}” as the answer", "pair", columns, spec_path)
    return None


def _verdict_remedy(name: str, match: LayoutMatch, table: Table, source: Source, spec_path: str) -> Remedy | None:
    """The change that reads a verdict, with the likely meaning of its numbers."""
    if match.layout == "judged_pair":
        return _layout_remedy(f"Go by “{name}” instead", match.layout, match.columns | {"better": name}, spec_path)
    if match.layout not in _JUDGED_LAYOUTS:
        return None
    choices = _likely_choices(name, table.values_of(name))
    meaning = describe_choices(choices, {"good": "good", "bad": "bad", "left_out": "left out"})
    title = f"Learn from “{name}”{f': {meaning}' if meaning else ''}"
    remedy = _layout_remedy(title, _JUDGED_LAYOUTS[match.layout], match.columns | {"label": name}, spec_path)
    if choices:
        remedy["changes"][f"{spec_path}.labels"] = source.labels | choices
    return remedy


def _likely_choices(name: str, cells: list[Cell]) -> dict[str, LabelChoice]:
    """The likely meaning of a verdict's numbers and stars; empty where the standard words tell it."""
    is_reversed = has_word(name, NEGATIVE_VERDICT_WORDS)
    if is_reversed and all(parse_label(cell) for cell in cells):
        opposite: dict[str, LabelChoice] = {"good": "bad", "bad": "good", "left_out": "left_out"}
        texts = {str(cell).strip().lower(): parse_label(cell) for cell in cells}
        return {text: opposite[choice] for text, choice in texts.items() if choice}
    is_asked = bool(undecided_numbers(cells, {})) or any(
        is_verdict_like(cell) and not parse_label(cell) for cell in cells
    )
    return suggest_choices(cells, is_reversed) if is_asked else {}


def _layout_remedy(title: str, layout: str, columns: dict[str, str], spec_path: str) -> Remedy:
    """The change to another layout with these columns."""
    mapping = {target: column for target, column in columns.items() if target != column}
    return {"title": title, "changes": {f"{spec_path}.layout": layout, f"{spec_path}.mapping": mapping}}
