"""View of the first training batches: packed documents, their boundaries, and the padding."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from app.core.json_types import JsonObject, JsonValue
from components import tokens
from components.theme import format_percent, launch_demo

if TYPE_CHECKING:
    from app.engine.preview.page_types import BatchesPreview, PreviewedRow
    from app.engine.tokens.decode import DecodedBatch, DecodedRow, DecodedText, Token

_READING_TEXT = "Preparing the first batches of the whole data, in training's own order …"
EXPLANATION = "One correction of the model looks at one batch. Rows in a batch have the same length: short ones are padded, or several documents share a row."
_KEYBOARD_HINT = "Choose a row above. Point at a token, or move through them with the arrow keys; N and P turn to the next and previous row."


def render_batches(response: BatchesPreview | None, mode: str = "learned") -> tokens.ViewerContent:
    """The worker's response to `batches`: every row as a bar of its documents, above the token viewer.

    None while the worker is busy: a placeholder of the same size.
    """
    if response is None:
        return {
            "frame_html": tokens.render_viewer_frame(tokens.render_loading(_READING_TEXT), mode, "row"),
            "examples_json": "",
        }
    batches = response["batches"]
    rows = [
        _compact_batch_row(batch, batch_number, row, row_number, mode)
        for batch_number, batch in enumerate(batches, 1)
        for row_number, row in enumerate(batch["rows"], 1)
    ]
    viewer_data: JsonObject = {
        "noun": "Row",
        "rows": [*rows],
        "of": len(rows),
        "at": 0,
        "hint": _KEYBOARD_HINT,
        "more": False,
    }
    frame_html = tokens.render_viewer_frame(tokens.EXAMPLE_AREA_HTML, mode, "row")
    batch_list_html = _render_batch_list(batches, response.get("left_out", 0))
    return {"frame_html": batch_list_html + frame_html, "examples_json": tokens.to_examples_json(viewer_data)}


def _compact_batch_row(
    batch: DecodedBatch, batch_number: int, row: DecodedRow, row_number: int, mode: str
) -> JsonObject:
    """One row of a batch for tokens.js: its documents joined into one example, with a label where each begins."""
    documents = row["documents"]
    joined_documents: PreviewedRow = {
        "tokens": [token for document in documents for token in document["tokens"]],
        "length": sum(document["length"] for document in documents),
        "cut": 0,
        "segments": [],
    }
    starts = [sum(len(document["tokens"]) for document in documents[:index]) for index in range(len(documents))]
    document_bounds: list[JsonValue] = [
        [start, f"Document {index} of {len(documents)}: {tokens.format_token_count(document['length'])}"]
        for index, (start, document) in enumerate(zip(starts, documents, strict=True), 1)
    ]
    padding_text = (
        f"Padding: {tokens.format_token_count(row['padding'])} that fill the row up and teach nothing"
        if row["padding"]
        else ""
    )
    answer_name = row.get("name", "")
    title = f"Batch {batch_number}, row {row_number} of {len(batch['rows'])}" + (
        f": {_answer_label(answer_name)}" if answer_name else ""
    )
    row_labels: JsonObject = {
        "title": title,
        "bounds": document_bounds if len(documents) > 1 else [],
        "after": padding_text,
    }
    return tokens.compact_row(joined_documents, mode, answer_name) | row_labels


def _answer_label(answer_name: str) -> str:
    """Label within a sentence, such as "the better answer"."""
    return tokens.ANSWER_LABELS[answer_name][0].lower()


def _render_batch_list(batches: list[DecodedBatch], left_out: int) -> str:
    """Every batch with its rows as buttons, drawn to the scale of the longest row. left_out: rows too long to show."""
    max_length = max((_padded_length(row) for batch in batches for row in batch["rows"]), default=1)
    sections, first_row_index = [], 0
    for batch_number, batch in enumerate(batches, 1):
        rows = "".join(
            _render_row_button(row, first_row_index + row_offset, max_length)
            for row_offset, row in enumerate(batch["rows"])
        )
        first_row_index += len(batch["rows"])
        sections.append(
            f"<section><h2>Batch {batch_number}</h2><p>{_batch_summary(batch)}</p>"
            f'<div class="strip-rows">{rows}</div></section>'
        )
    left_out_html = (
        f'<p class="quiet">{left_out} more {"is" if left_out == 1 else "are"} too long to show here.</p>'
        if left_out
        else ""
    )
    return f'<div class="batches">{"".join(sections)}{left_out_html}</div>'


def _render_row_button(row: DecodedRow, row_index: int, max_length: int) -> str:
    document_bars = "".join(f'<i style="flex: {document["length"]}"></i>' for document in row["documents"])
    padding_bar = f'<i class="padding" style="flex: {row["padding"]}"></i>' if row["padding"] else ""
    document_count = len(row["documents"])
    answer_prefix = f"{_answer_label(row['name'])}, " if row.get("name") else ""
    documents_text = f"{document_count} document{'' if document_count == 1 else 's'}"
    tokens_text = tokens.format_token_count(_padded_length(row) - row["padding"])
    label = f"Row {row_index + 1}: {answer_prefix}{documents_text}, {tokens_text}, {row['padding']:,} of padding"
    return (
        f'<button type="button" class="strip" data-go="{row_index}" aria-pressed="false" aria-label="{label}">'
        f'<span style="width: {_padded_length(row) / max_length:.1%}">{document_bars}{padding_bar}</span></button>'
    )


def _padded_length(row: DecodedRow) -> int:
    return sum(document["length"] for document in row["documents"]) + row["padding"]


def _batch_summary(batch: DecodedBatch) -> str:
    """Sentence with the numbers of rows, documents and positions, and the share of padding."""
    row_count, document_count = len(batch["rows"]), sum(len(row["documents"]) for row in batch["rows"])
    position_count = sum(map(_padded_length, batch["rows"]))
    padding_share = sum(row["padding"] for row in batch["rows"]) / max(1, position_count)
    documents_text = f", {document_count:,} documents" if document_count > row_count else ""
    documents_text += f": {_answer_counts(batch)}" if batch["rows"][0].get("name") else ""
    rows_text = f"{row_count:,} row{'' if row_count == 1 else 's'}"
    return f"{rows_text}{documents_text}, {position_count:,} positions, {format_percent(padding_share)} padding"


def _answer_counts(batch: DecodedBatch) -> str:
    """Numbers by kind of answer, such as "4 × the better answer, 4 × the worse answer"."""
    return ", ".join(
        f"{count} × {_answer_label(answer_name)}"
        for answer_name, count in Counter(row["name"] for row in batch["rows"]).items()
    )


def _demo() -> None:
    def build_document(*texts: str) -> DecodedText:
        document_tokens: list[Token] = [
            {"text": text, "id": len(text), "trained": index > 0, "special": False} for index, text in enumerate(texts)
        ]
        return {"tokens": document_tokens, "length": len(texts), "cut": 0}

    rows: list[DecodedRow] = [
        {"documents": [build_document("One ", "day "), build_document("the ", "sun ", "rose.")], "padding": 0},
        {"documents": [build_document("And ", "set.")], "padding": 3},
    ]
    tokens.build_token_viewer(
        render_batches({"batches": [{"rows": rows, "tokens": 12, "padding": 0.25}], "left_out": 0})
    )


if __name__ == "__main__":
    launch_demo(_demo)
