"""Findings about the forms in which conversations are written."""

from __future__ import annotations

from app.contracts import Finding
from app.data.columns import TURN_COLUMNS
from app.data.conversations.messages import conversation_form
from app.data.fields import get_field
from app.data.layout_match import LayoutMatch
from app.data.row_finding import make_finding
from app.data.table import Table


def form_findings(match: LayoutMatch, table: Table) -> list[Finding]:
    """A finding for each form of conversations that is not one of the usual ones, and for what a layout leaves out."""
    sentences = [
        conversation_form(get_field(row, source_column), target_column == "messages")
        for target_column, source_column in match.columns.items()
        if target_column in TURN_COLUMNS
        for row in table.rows
    ]
    sentences.append(getattr(match.module, "NOTE", ""))
    return [make_finding("conversation_form", "good", sentence) for sentence in dict.fromkeys(sentences) if sentence]
