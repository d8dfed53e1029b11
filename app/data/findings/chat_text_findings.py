"""Finding on texts that are chats already, with the remedy that turns them back into turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.contracts import Finding, Remedy
from app.data.conversations.chat_text import parse_chat_text
from app.data.fields import get_field
from app.data.row_finding import make_finding
from app.data.table import Table

if TYPE_CHECKING:
    from app.data.layout_match import LayoutMatch

_TURNS_LAYOUT = "chat_text"


def chat_text_findings(match: LayoutMatch, table: Table, spec_path: str) -> list[Finding]:
    """The finding where the first rows, under this layout, are texts with the marks of a chat format. The remedy turns them
    back into turns, which the model's own chat format then writes."""
    if match.layout == _TURNS_LAYOUT or match.row_type not in ("segments", "text"):
        return []
    columns = [match.columns[name] for name in match.module.NEEDS if name in ("text", "prompt", "completion")]
    chats = {}
    for number, row in table.numbered_rows():
        cells = [get_field(row, column) for column in columns]
        if all(isinstance(cell, str) for cell in cells) and (chat := parse_chat_text("".join(cells))):
            chats[number] = chat
    if not chats:
        return []
    title = next(iter(chats.values())).marks.title
    use = (
        "As they are, only their answers are learned, and nothing is added that stands there already."
        if match.row_type == "segments"
        else "As plain text, their questions are learned too."
    )
    templates = {"text": "".join(f"{{{column}}}" for column in columns)}
    source_change = {"templates": templates} if len(columns) > 1 else {"mapping": {"text": columns[0]}}
    changes = {f"{spec_path}.{name}": setting for name, setting in source_change.items()}
    text = (
        f"{len(chats)} of the first {len(table.rows)} rows are chats written as text, in the form of {title}. {use} "
        "Turned back into turns, the chat format of the model writes them."
    )
    remedy: Remedy = {
        "title": "Turn them back into turns",
        "changes": {f"{spec_path}.layout": _TURNS_LAYOUT, **changes},
    }
    return [make_finding("chat_text", "careful", text, [*chats], remedy)]
