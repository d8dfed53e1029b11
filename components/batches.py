"""Batches: what one correction reads at once: documents packed side by side, their boundaries, and the padding."""

from __future__ import annotations

from collections import Counter
from typing import Any

from components import tokens
from components.theme import alone, page, percent

READING = "Preparing the first batches of the whole data, in training's own order …"
EXPLAINED = "One correction of the model looks at one batch. Rows in a batch have the same length: short ones are padded, or several documents share a row."
HINT = "Choose a row above. Point at a token, or move through them with the arrow keys; N and P turn to the next and previous row."


def batches(answer: dict[str, Any] | None, way: str = "learned") -> str:
    """What the worker answered to `batches`, each row a strip of its documents; none yet: the same at its final size."""
    if answer is None:
        return tokens.frame(tokens.waiting(READING), way, "row")
    found = answer["batches"]
    rows = [
        row_of(batch, number, row, place, way)
        for number, batch in enumerate(found, 1)
        for place, row in enumerate(batch["rows"], 1)
    ]
    told = {"noun": "Row", "rows": rows, "of": len(rows), "at": 0, "hint": HINT, "more": ""}
    return strips(found, answer.get("left_out", 0)) + tokens.frame(tokens.drawn(told), way, "row")


def row_of(batch: dict[str, Any], number: int, row: dict[str, Any], place: int, way: str) -> dict[str, Any]:
    """A row as one example whose documents begin at its bounds."""
    documents = row["documents"]
    whole = {
        "tokens": [token for one in documents for token in one["tokens"]],
        "length": sum(one["length"] for one in documents),
    }
    starts = [sum(len(one["tokens"]) for one in documents[:index]) for index in range(len(documents))]
    bounds = [[start, f"Document {index} of {len(documents)}: {tokens.count(one['length'])}"]
              for index, (start, one) in enumerate(zip(starts, documents, strict=True), 1)]  # fmt: skip
    after = f"Padding: {tokens.count(row['padding'])} that fill the row up and teach nothing" if row["padding"] else ""
    name = row.get("name", "")
    title = f"Batch {number}, row {place} of {len(batch['rows'])}" + (f": {called(name)}" if name else "")
    more = {"title": title, "bounds": bounds if len(documents) > 1 else [], "after": after}
    return tokens.compact(whole, way, name) | more


def called(name: str) -> str:
    """the better answer, a disliked answer"""
    return tokens.SIDES[name][0].lower()


def strips(found: list[dict[str, Any]], left_out: int) -> str:
    """Every batch as a list of rows to press, each drawn to the scale of the longest."""
    widest = max((width(row) for batch in found for row in batch["rows"]), default=1)
    drawn, at = [], 0
    for number, batch in enumerate(found, 1):
        rows = "".join(strip(row, at + place, widest) for place, row in enumerate(batch["rows"]))
        at += len(batch["rows"])
        drawn.append(
            f'<section><h2>Batch {number}</h2><p>{summary(batch)}</p><div class="strip-rows">{rows}</div></section>'
        )
    more = (
        f'<p class="quiet">{left_out} more {"is" if left_out == 1 else "are"} too long to show here.</p>'
        if left_out
        else ""
    )
    return f'<div class="batches">{"".join(drawn)}{more}</div>'


def strip(row: dict[str, Any], at: int, widest: int) -> str:
    parts = "".join(f'<i style="flex: {one["length"]}"></i>' for one in row["documents"])
    padding = f'<i class="padding" style="flex: {row["padding"]}"></i>' if row["padding"] else ""
    count = len(row["documents"])
    named = f"{called(row['name'])}, " if row.get("name") else ""
    label = f"Row {at + 1}: {named}{count} document{'' if count == 1 else 's'}, {tokens.count(width(row) - row['padding'])}, {row['padding']:,} of padding"
    return f'<button type="button" class="strip" data-go="{at}" aria-pressed="false" aria-label="{label}"><span style="width: {width(row) / widest:.1%}">{parts}{padding}</span></button>'


def width(row: dict[str, Any]) -> int:
    return sum(one["length"] for one in row["documents"]) + row["padding"]


def summary(batch: dict[str, Any]) -> str:
    """Rows, documents, and the share of padding."""
    rows, documents = len(batch["rows"]), sum(len(row["documents"]) for row in batch["rows"])
    positions = sum(map(width, batch["rows"]))
    padding = sum(row["padding"] for row in batch["rows"]) / max(1, positions)
    packed = f", {documents:,} documents" if documents > rows else ""
    packed += f": {sides(batch)}" if batch["rows"][0].get("name") else ""
    return f"{rows:,} row{'' if rows == 1 else 's'}{packed}, {positions:,} positions, {percent(padding)} padding"


def sides(batch: dict[str, Any]) -> str:
    """4 × the better answer, 4 × the worse answer"""
    return ", ".join(f"{many} × {called(name)}" for name, many in Counter(row["name"] for row in batch["rows"]).items())


def example() -> None:
    def document(*words: str) -> dict[str, Any]:
        every = [
            {"text": word, "id": len(word), "trained": place > 0, "special": False} for place, word in enumerate(words)
        ]
        return {"tokens": every, "length": len(words)}

    rows = [{"documents": [document("One ", "day "), document("the ", "sun ", "rose.")], "padding": 0},
            {"documents": [document("And ", "set.")], "padding": 3}]  # fmt: skip
    page(batches({"batches": [{"rows": rows}]}), js_on_load=tokens.JS)


if __name__ == "__main__":
    alone(example)
