"""Whole: what the whole data holds, beyond the examples that are looked at: how much is learned, cut off, or left out."""

from __future__ import annotations

from typing import Any

from components.lengths import histogram
from components.theme import alone, page, percent, safe
from components.tokens import WAYS

SHARES = {
    "learned": "Learned",
    "compared": "Compared",
    "thumbed": "In the answers",
}  # what the trained tokens are, by way


def whole(plan: dict[str, Any] | None, way: str = "learned") -> str:
    """The worker's plan as terms and bars; none yet: the same place, busy."""
    if plan is None:
        return '<div class="whole" aria-busy="true"><h2>The whole data</h2><p class="told">Counting the tokens of every example …</p></div>'
    facts = "".join(fact(*one) for one in facts_of(plan, way))
    bars = histogram(plan["lengths"]) if plan.get("lengths") else ""
    return f'<div class="whole"><h2>The whole data</h2><dl class="facts">{facts}</dl>{bars}{left_out(plan)}</div>'


def fact(name: str, value: str, kind: str = "") -> str:
    sign = {"careful": "! ", "": ""}[kind]
    return f'<div class="{kind}"><dt>{safe(name)}</dt><dd>{sign}{safe(value)}</dd></div>'


def facts_of(plan: dict[str, Any], way: str) -> list[tuple[str, ...]]:
    """(name, value, maybe "careful") of everything that is known."""
    rows, tokens, lengths, asked = plan["rows"], plan.get("tokens"), plan.get("lengths"), way == "asked"
    noun = WAYS[way].rows
    facts: list[tuple[str, ...]] = [
        ("To learn from", "read while training" if rows is None else f"{rows:,} {noun}{'' if rows == 1 else 's'}")
    ]
    facts += [("Kept aside to test", f"{plan['held_out']:,}")] if plan["held_out"] else []
    if tokens and not asked:
        facts += [("Tokens", f"{tokens['all']:,}")]
        facts += [(SHARES[way], percent(tokens["trained"] / max(1, tokens["all"])))] if way in SHARES else []
    if lengths:
        facts += [
            ("Longest", f"{lengths['longest']:,} tokens"),
            ("Half are at most", f"{lengths['median']:,.0f} tokens"),
        ]
    for name, key in (("Cut off", "truncated"), ("Nothing to learn", "empty")):
        if not asked and plan.get(key) is not None:
            facts.append((name, f"{plan[key]:,}", "careful" if plan[key] else ""))
    return facts


def left_out(plan: dict[str, Any]) -> str:
    """Rows that training never sees, by reason."""
    found = plan.get("left_out") or {}
    rows = "".join(f'<li class="careful">{count:,} left out: {safe(reason)}</li>' for reason, count in found.items())
    return f'<ul class="notice">{rows}</ul>' if rows else ""


def example() -> None:
    lengths = {"edges": [0, 50, 100, 150, 200], "counts": [40, 210, 160, 3], "limit": 160, "longest": 183, "median": 98}
    page(whole({"rows": 413, "held_out": 20, "tokens": {"all": 40_100, "trained": 15_200}, "lengths": lengths,
                "truncated": 3, "empty": 0, "left_out": {"the answer is empty": 2}}))  # fmt: skip


if __name__ == "__main__":
    alone(example)
