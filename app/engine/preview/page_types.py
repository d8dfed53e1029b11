"""Page types: previewed rows and batches as JSON for the page."""

from __future__ import annotations

from typing import NotRequired, TypedDict

from app.contracts import Finding
from app.engine.tokens.decode import DecodedBatch, DecodedText
from app.engine.tokens.reasons import Segment


class PreviewedText(DecodedText):
    """A text with the reason why each of its tokens is trained or only read."""

    segments: list[Segment]


class PreviewedSide(PreviewedText):
    """One of several completions of a prompt, which stands in the row itself. name: such as chosen."""

    name: str


class PreviewedRow(PreviewedText):
    """A row as the trainer reads it: a text, or a prompt with its completions in `sides`.

    left_out: why the trainer drops it. number: as the audit counts it, where rows were asked for by number. beside:
    {column: text} that rewards see of the row beside its prompt.
    """

    sides: NotRequired[list[PreviewedSide]]
    left_out: NotRequired[str]
    number: NotRequired[int]
    beside: NotRequired[dict[str, str]]


class RowsPreview(TypedDict):
    """of: how many examples the sources hold, None where that is not quickly known. joined: texts stand end to end and
    are cut anywhere."""

    rows: list[PreviewedRow]
    of: int | None
    joined: bool
    findings: list[Finding]


class BatchesPreview(TypedDict):
    """left_out: how many batches more than a page can show."""

    batches: list[DecodedBatch]
    left_out: int
