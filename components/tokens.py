"""Tokens: examples as the model reads them, token by token, with what is learned underlined as well as coloured."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.theme import alone, page, percent, safe

JS = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")

HINT = "Point at a token or tap it, or move through them with the arrow keys; N and P turn to the next and previous example."
READING = (
    "Reading the examples with the trainer's own code. The first look takes some seconds, while its libraries load."
)
FETCHING = "Reaching the Hub for the model, then reading the examples with the trainer's own code."
EMPTY = "No examples can be shown for this setup. Here you see them as the model reads them: every token, and which of them it learns."

READ = '<span><span class="token">read only</span> context, not trained</span>'
SPECIAL = '<span><span class="token special">special</span> marks between turns</span>'
CUT = '<span><span class="token cut">cut off</span> over the maximum length, never seen</span>'


@dataclass(frozen=True)
class Way:
    """How examples teach. marks: the legend; trained: what happens to what is marked as trained; rows: what an example is.

    paired: answers stand beside their prompt. compares: each by its name is made likelier or less likely.
    """

    marks: str
    trained: str = ""
    rows: str = "example"
    paired: bool = False
    compares: bool = False


LEARNED = f'<span><span class="token trained">learned</span> trained to say this</span>{READ}{SPECIAL}{CUT}'
ASKED = f'<span><span class="token">asked</span> what the model is asked; it writes the answers itself</span>{SPECIAL}'
COMPARED = f"""<span><span class="token trained">likelier</span> made likelier</span>
<span class="less"><span class="token trained">less likely</span> made less likely</span>{READ}{SPECIAL}{CUT}"""
SCORED = f'<span><span class="token trained">scored</span> the score is read here</span>{READ}{SPECIAL}'
JUDGED = f'<span><span class="token trained">judged</span> a step ends here and is judged</span>{READ}{SPECIAL}{CUT}'
WAYS = {
    "learned": Way(LEARNED, "learned"),
    "asked": Way(ASKED, rows="prompt"),
    "compared": Way(COMPARED, "learned", "pair", paired=True, compares=True),
    "thumbed": Way(COMPARED, "learned", "answer", paired=True, compares=True),
    "scored": Way(SCORED, "scored", "pair", paired=True),
    "judged": Way(JUDGED, "judged"),
}

# Answers beside a prompt: {name: (what it is called, what learning does to it)}.
SIDES = {
    "chosen": ("The better answer", "made likelier"),
    "rejected": ("The worse answer", "made less likely"),
    "reference": ("The best answer", "learned"),
    "liked": ("A liked answer", "made likelier"),
    "disliked": ("A disliked answer", "made less likely"),
}
LESS = ("rejected", "disliked")


def way_of(method: Any) -> str:
    """The way in which a method's examples teach, by what its module says of itself."""
    if getattr(method, "NEEDS_REWARDS", False) or hasattr(method, "WRITES"):  # it writes the answers itself
        return "asked"
    kind = getattr(method, "MODEL", "causal")
    if kind != "causal":
        return "scored" if kind == "scores" else "judged"
    if getattr(method, "FAMILY", "") != "prefer":
        return "learned"
    return "thumbed" if method.LAYOUTS[0] == "thumbs" else "compared"


def viewer(
    answer: dict[str, Any] | None, way: str = "learned", *, at: int = 0, more: str = "", reading: str = READING
) -> str:
    """What the worker answered to `rows`, drawn by tokens.js; none yet: the same at its final size.

    way: one of WAYS. more: the button that fetches further examples. reading: what is said until there is an answer.
    """
    if answer is None:
        return frame(waiting(reading), way)
    if not answer["rows"]:
        return frame(empty(), way)
    rows = [compact(row, way) for row in answer["rows"]]
    if answer.get("joined"):  # no example of the file, so that a count of those would be wrong
        rows = [row | {"title": f"Row {place:,} of joined texts"} for place, row in enumerate(rows, 1)]
    noun = "Prompt" if way == "asked" else "Example"
    for row, told in zip(rows, answer["rows"], strict=True):
        if "number" in told:  # chosen ones, by their place among all
            row["title"] = f"{noun} {told['number']:,}"
    told = {"noun": noun, "rows": rows, "of": answer.get("of") or len(rows), "at": at, "hint": HINT, "more": more}  # fmt: skip
    return frame(drawn(told), way)


def frame(inside: str, way: str, noun: str = "") -> str:
    """The buttons that turn, the line that tells about one token, the boxes of tokens, the legend."""
    noun = noun or ("prompt" if way == "asked" else "example")
    kinds = f"viewer{' asked' if way == 'asked' else ''}{' paired' if WAYS[way].paired else ''}"
    return (
        f'<div class="{kinds}"><div class="turn">{turn(-1, noun)}{turn(1, noun)}'
        f'<p class="count" aria-live="polite"></p><p class="share"></p></div>{inside}<p class="legend">{WAYS[way].marks}</p></div>'
    )


def turn(by: int, noun: str) -> str:
    word, sign = ("Next", "›") if by > 0 else ("Previous", "‹")
    return f'<button type="button" data-by="{by}" aria-label="{word} {noun}">{sign}</button>'


def drawn(told: dict[str, Any]) -> str:
    """The data as JSON in text that is hidden: a page may hold any text of strangers, as long as nothing reads it as markup."""
    data = safe(json.dumps(told, separators=(",", ":")))
    return f'<pre hidden class="data">{data}</pre><p class="detail"></p><div class="parts"></div>'


def waiting(text: str) -> str:
    return f'<p class="detail"></p><div class="parts"><div class="tokens resting" aria-busy="true" role="status">{safe(text)}</div></div>'


def empty() -> str:
    return f'<p class="detail"></p><div class="parts"><div class="tokens resting"><p>{EMPTY}</p><a class="way" href="#choose">Choose the examples</a></div></div>'


def compact(row: dict[str, Any], way: str = "learned", name: str = "") -> dict[str, Any]:
    """A row in few bytes: a strip of tokens, or a prompt with a strip for each answer in "sides". name: of the answer in it."""
    told = strip(row) | {"share": share(row, way, name), "does": does(name, way), "mark": mark(name, way)}
    if "sides" in row:
        told |= {"said": count(row["length"]), "sides": [side(one, way) for one in row["sides"]]}
    if row.get("beside"):
        told["beside"] = [[name, str(value)] for name, value in row["beside"].items()]
    return told


def strip(part: dict[str, Any]) -> dict[str, Any]:
    """kinds: one digit a token, 1 trained + 2 special + 4 cut off; whys: (where it ends, reason)."""
    tokens = part["tokens"]
    return {
        "texts": [token["text"] for token in tokens],
        "ids": [token["id"] for token in tokens],
        "kinds": "".join(str(kind(token)) for token in tokens),
        "whys": [[segment["end"], segment["why"]] for segment in part.get("segments", [])],
    }


def side(part: dict[str, Any], way: str) -> dict[str, Any]:
    name = part["name"]
    cut = f" · {part['cut']:,} cut off" if part.get("cut") else ""
    said = f"{count(part['length'])}, {does(name, way)}{cut}"
    return strip(part) | {"title": SIDES[name][0], "said": said, "mark": mark(name, way), "does": does(name, way)}


def does(name: str, way: str) -> str:
    """What happens to an answer of that name."""
    return SIDES[name][1] if name and WAYS[way].compares else WAYS[way].trained


def mark(name: str, way: str) -> str:
    """The class of what is made less likely."""
    return "less" if WAYS[way].compares and name in LESS else ""


def kind(token: dict[str, Any]) -> int:
    return token["trained"] + 2 * token["special"] + 4 * bool(token.get("cut"))


def share(row: dict[str, Any], way: str, name: str = "") -> str:
    """How much of it is learned, what is cut off, and what is not shown."""
    length, cut, shown = row["length"], row.get("cut", 0), sum(map(size, row["tokens"]))
    if way == "asked" or "sides" in row:
        return count(length + sum(one["length"] for one in row.get("sides", [])))
    read = sum(size(token) for token in row["tokens"] if not token.get("cut"))
    said = [f"{learned(row):,} of {count(read)} {does(name, way)} ({percent(learned(row) / max(1, read))})"]
    said += [f"{cut:,} cut off"] if cut else []
    said += [f"the first {shown:,} of {length + cut:,} are shown"] if shown < length + cut else []
    return " · ".join(said)


def size(token: dict[str, Any]) -> int:
    """How many it stands for: a picture is many, shown as one."""
    return token.get("count", 1)


def count(tokens: int) -> str:
    return f"{tokens:,} token{'' if tokens == 1 else 's'}"


def learned(row: dict[str, Any]) -> int:
    return sum(token["trained"] and not token.get("cut") for token in row["tokens"])


def example() -> None:
    words = [("<user>", 0, 1), ("What is ", 0, 0), ("<b>2 + 2</b>?", 0, 0), ("\n", 0, 0), ("It is ", 1, 0), ("4", 1, 0), ("<end>", 1, 1)]  # fmt: skip
    tokens = [{"text": t, "id": i, "trained": bool(a), "special": bool(b)} for i, (t, a, b) in enumerate(words)]
    segments = [{"start": 0, "end": 4, "why": "the question"}, {"start": 4, "end": 7, "why": "the answer"}]
    row = {"tokens": tokens, "length": 7, "cut": 0, "segments": segments}
    answers = [row | {"name": name, "tokens": tokens[4:], "segments": []} for name in ("chosen", "rejected")]
    page(viewer({"rows": [row, row], "of": 2}), js_on_load=JS)
    page(viewer({"rows": [row | {"tokens": tokens[:4], "sides": answers}], "of": 1}, "compared"), js_on_load=JS)
    page(viewer(None))


if __name__ == "__main__":
    alone(example)
