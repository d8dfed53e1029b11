"""Tokens: examples as the model reads them, token by token, with what is learned underlined as well as coloured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from components.look import alone, page, safe

JS = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")

HINT = "Point at a token, or move through them with the arrow keys; N and P turn to the next and previous example."
READING = (
    "Reading the examples with the trainer's own code. The first look takes some seconds, while its libraries load."
)
EMPTY = "No examples can be shown for this setup. Here you see them as the model reads them: every token, and which of them it learns."

LEARNED = """<p class="legend"><span><span class="token trained">learned</span> trained to say this</span>
<span><span class="token">read only</span> context, not trained</span>
<span><span class="token special">special</span> marks between turns</span>
<span><span class="token cut">cut off</span> over the maximum length, never seen</span></p>"""
ASKED = """<p class="legend"><span><span class="token">asked</span> what the model is asked; it writes the answers itself</span>
<span><span class="token special">special</span> marks between turns</span></p>"""


def viewer(answer: dict[str, Any] | None, *, asked: bool = False, at: int = 0, more: str = "") -> str:
    """What the worker answered to `rows`, drawn by tokens.js; none yet: the same at its final size.

    asked: the model is asked these and writes the answers itself. more: the button that fetches further examples.
    """
    if answer is None:
        return frame(waiting(READING), "Example", asked)
    if not answer["rows"]:
        return frame(empty(), "Example", asked)
    told = {"noun": "Prompt" if asked else "Example", "rows": [compact(row, asked) for row in answer["rows"]],
            "of": answer.get("of") or len(answer["rows"]), "at": at, "asked": asked, "hint": HINT, "more": more}  # fmt: skip
    return frame(drawn(told), "prompt" if asked else "example", asked)


def frame(inside: str, noun: str, asked: bool) -> str:
    """The buttons that turn, the box of tokens, the line that tells about one of them, the legend."""
    return (
        f'<div class="viewer{" asked" if asked else ""}"><div class="turn">{turn(-1, noun)}{turn(1, noun)}'
        f'<p class="count" aria-live="polite"></p><p class="share"></p></div>{inside}{ASKED if asked else LEARNED}</div>'
    )


def turn(by: int, noun: str) -> str:
    word, sign = ("Next", "›") if by > 0 else ("Previous", "‹")
    return f'<button type="button" data-by="{by}" aria-label="{word} {noun}">{sign}</button>'


def drawn(told: dict[str, Any]) -> str:
    """The data as JSON in text that is hidden: a page may hold any text of strangers, as long as nothing reads it as markup."""
    data = safe(json.dumps(told, separators=(",", ":")))
    return f'<pre hidden class="data">{data}</pre><div class="tokens" role="listbox" aria-orientation="horizontal"></div><p class="detail"></p>'


def waiting(text: str) -> str:
    return f'<div class="tokens resting" aria-busy="true" role="status">{safe(text)}</div><p class="detail"></p>'


def empty() -> str:
    return f'<div class="tokens resting"><p>{EMPTY}</p><a class="way" href="#choose">Choose the examples</a></div><p class="detail"></p>'


def compact(row: dict[str, Any], asked: bool = False) -> dict[str, Any]:
    """A row in few bytes. kinds: one digit a token, 1 trained + 2 special + 4 cut off; whys: (where it ends, reason)."""
    tokens = row["tokens"]
    return {
        "texts": [token["text"] for token in tokens],
        "ids": [token["id"] for token in tokens],
        "kinds": "".join(str(kind(token)) for token in tokens),
        "whys": [[segment["end"], segment["why"]] for segment in row.get("segments", [])],
        "share": share(row, asked),
    }


def kind(token: dict[str, Any]) -> int:
    return token["trained"] + 2 * token["special"] + 4 * bool(token.get("cut"))


def share(row: dict[str, Any], asked: bool) -> str:
    """How much of it is learned, what is cut off, and what is not shown."""
    length, cut, shown = row["length"], row.get("cut", 0), len(row["tokens"])
    if asked:
        return count(length)
    read = sum(not token.get("cut") for token in row["tokens"])
    said = [f"{learned(row):,} of {count(read)} learned ({learned(row) / max(1, read):.0%})"]
    said += [f"{cut:,} cut off"] if cut else []
    said += [f"the first {shown:,} of {length + cut:,} are shown"] if shown < length + cut else []
    return " · ".join(said)


def count(tokens: int) -> str:
    return f"{tokens:,} token{'' if tokens == 1 else 's'}"


def learned(row: dict[str, Any]) -> int:
    return sum(token["trained"] and not token.get("cut") for token in row["tokens"])


def example() -> None:
    words = [("<user>", 0, 1), ("What is ", 0, 0), ("<b>2 + 2</b>?", 0, 0), ("\n", 0, 0), ("It is ", 1, 0), ("4", 1, 0), ("<end>", 1, 1)]  # fmt: skip
    tokens = [{"text": t, "id": i, "trained": bool(a), "special": bool(b)} for i, (t, a, b) in enumerate(words)]
    segments = [{"start": 0, "end": 4, "why": "the question"}, {"start": 4, "end": 7, "why": "the answer"}]
    row = {"tokens": tokens, "length": 7, "cut": 0, "segments": segments}
    page(viewer({"rows": [row, row], "of": 2}), js_on_load=JS)
    page(viewer(None))


if __name__ == "__main__":
    alone(example)
