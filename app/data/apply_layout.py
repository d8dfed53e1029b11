"""Conversion of one raw row to its row type, by a layout and a source's column mapping, templates and roles."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from app.data.column_words import TURN_KEYS
from app.data.columns import TURN_COLUMNS
from app.data.conversations.conversation_forms import system_text
from app.data.conversations.media import media_refusal
from app.data.conversations.messages import (
    MESSAGE_COLUMNS,
    UnknownRole,
    insert_image_parts,
    is_dict_list,
    is_message_list,
    normalize_messages,
    parse_json_cell,
    unwrap_messages,
)
from app.data.conversations.tool_calls import normalize_tools
from app.data.conversations.train_flags import without_train_flags
from app.data.empty_words import RealWords, remove_empty_words, render_templates
from app.data.fields import MISSING, Cell, Row, get_field, render_template
from app.data.labels import apply_choices
from app.data.row_types import ROW_TYPES
from app.data.unusable_cells import RefusalReason, UnusableCell
from app.setup.sources import LabelChoice, Source

_NO_WORDS: RealWords = {}
_TOO_DEEP = "nested too deeply"
_TYPES_WITH_TOOLS = ("messages", "prompt_completion", "preference", "ranked", "thumbs", "prompt")  # row types
LABEL_COLUMNS = ("label", "labels", "better")  # target columns with verdicts
UNKNOWN_ROLE = "nobody knows who “{}” is"


def apply_layout(
    row: Row,
    layout: ModuleType,
    columns: dict[str, str],
    source: Source,
    is_chat: bool = True,
    real_words: RealWords = _NO_WORDS,
) -> Row | str:
    """The row as its layout's row type, or the reason why it is dropped: a RefusalReason where a person has to allow
    that.

    columns: {target column: source column} of this layout. is_chat: the model has a chat template. real_words: words
    for nothing that stay, by target column; see `find_real_words`.
    """
    try:
        normalized_row = _map_columns_and_roles(drop_nulls(row), layout, columns, source, real_words)
        if isinstance(normalized_row, str):
            return normalized_row
        if hasattr(layout, "row"):
            normalized_row = drop_nulls(normalized_row)
        converted_row = ROW_TYPES[layout.KIND](normalized_row, is_chat)
        if isinstance(converted_row, str):
            return converted_row
        return media_refusal(row, converted_row) or _insert_images(converted_row)
    except UnusableCell as refusal:
        return RefusalReason(str(refusal))
    except RecursionError:  # boundary: a person's file
        return _TOO_DEEP


def _map_columns_and_roles(
    row: Row, layout: ModuleType, columns: dict[str, str], source: Source, real_words: RealWords
) -> Row | str:
    """The row with target columns and standard roles, or the reason why it is dropped."""
    renamed_row = rename_columns(row, {**source.mapping, **columns}, {})
    renamed_row |= render_templates(row, source.templates, columns, real_words, source.empty_words)
    mapped_row = remove_empty_words(renamed_row, layout.NEEDS, columns, real_words, source.empty_words)
    if isinstance(mapped_row, str):
        return mapped_row
    if "system" in columns and "system" in mapped_row:
        mapped_row["system"] = system_text(mapped_row["system"])
    for name in TURN_COLUMNS:
        if name in columns and name in mapped_row:
            try:
                mapped_row[name] = _normalize_roles(mapped_row[name], source.roles, name == "messages")
            except UnknownRole as error:
                return UNKNOWN_ROLE.format(str(error)[:60])
    choices = label_choices(layout, columns, source)
    for name in LABEL_COLUMNS:
        if choices and name in columns and name in mapped_row:
            mapped_row[name] = apply_choices(parse_json_cell(mapped_row[name]), choices)
    if "tools" in mapped_row and layout.KIND in _TYPES_WITH_TOOLS:
        mapped_row = _with_normalized_tools(mapped_row, is_required=layout.KIND != "prompt")
    return layout.row(mapped_row) if hasattr(layout, "row") else mapped_row


def _with_normalized_tools(row: Row, is_required: bool) -> Row:
    """The row with its tools in one form, and without the column where there are none. is_required: what is no tool is an
    error; else it stays, as rewards may read such a column. Raises UnusableCell."""
    try:
        tools = normalize_tools(row["tools"])
    except UnusableCell:
        if is_required:
            raise
        return row
    other_columns = {name: cell for name, cell in row.items() if name != "tools"}
    return other_columns | ({"tools": tools} if tools else {})


def _insert_images(row: Row) -> Row:
    """The row with image parts for the placeholders in its messages, if it has images."""
    if "image" not in row and "images" not in row:
        return row
    return row | {name: insert_image_parts(row[name]) for name in MESSAGE_COLUMNS if is_message_list(row.get(name))}


def label_choices(layout: ModuleType, columns: dict[str, str], source: Source) -> Mapping[str, LabelChoice]:
    """{verdict: what it says}, as the layout knows by the names of its columns, and as the source says."""
    if not hasattr(layout, "choices"):
        return source.labels
    return layout.choices(columns) | source.labels


def rename_columns(row: Row, columns: dict[str, str], templates: dict[str, str]) -> Row:
    """The row under target column names. Renamed source columns are gone, all other columns stay.

    columns: {target column: source column or dotted path}. templates: {target column: text with {column} fields}.
    """
    renamed = {target: source for target, source in columns.items() if target != source}
    replaced_columns = {*renamed, *renamed.values()}
    unchanged_columns = {column: cell for column, cell in row.items() if column not in replaced_columns}
    fields = {target: get_field(row, source) for target, source in renamed.items()}
    mapped_columns = {target: field for target, field in fields.items() if field is not MISSING}
    template_columns = {target: render_template(template, row) for target, template in templates.items()}
    return unchanged_columns | mapped_columns | template_columns


def _normalize_roles(cell: Cell, roles: Mapping[str, str], is_conversation: bool) -> Cell:
    """The messages of a cell with standard roles; a cell without messages as it is. Raises UnknownRole."""
    messages = unwrap_messages(cell, is_conversation)
    if not is_dict_list(messages) or not all(TURN_KEYS & {*message} for message in messages):
        return cell
    return normalize_messages(messages, roles)


def drop_train_flags(row: Row) -> Row:
    """The row without train flags on its messages, for a method that does not read them."""
    return row | {
        name: [without_train_flags(message) for message in row[name]]
        for name in MESSAGE_COLUMNS
        if is_message_list(row.get(name))
    }


def drop_nulls(row: Row) -> Row:
    """A row without keys that are null, at any depth: Parquet and Arrow fill in missing keys, and chat templates
    would see them."""
    return {key: _drop_nested_nulls(cell) for key, cell in row.items() if cell is not None}


def _drop_nested_nulls(cell: Cell) -> Cell:
    """The same for a cell, or an element of it; null elements of lists stay."""
    if isinstance(cell, dict):
        return drop_nulls(cell)
    return [_drop_nested_nulls(element) for element in cell] if isinstance(cell, list) else cell
