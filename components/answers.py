"""Answers: what the model said before and says now, to the same prompts."""

from __future__ import annotations

from typing import Any

from components.look import alone, page, safe

SHOWN = 6


def answers(first: list[dict[str, Any]], now: list[dict[str, Any]], step: int) -> str:
    """The latest samples, {"prompt", "completion", maybe "wanted", "rewards"}, beside the first to the same prompt."""
    before = {row["prompt"]: row["completion"] for row in first}
    shown = "".join(pair(row, before.get(row["prompt"]) if step else None, step) for row in now[:SHOWN])
    return f'<div class="answers"><h3>Answers at step {step:,}</h3>{shown}</div>' if now else ""


def pair(row: dict[str, Any], before: str | None, step: int) -> str:
    old = "" if before is None else said("before", before, "", "")
    wanted = f"wanted: {row['wanted']}" if row.get("wanted") else ""
    who, kind = ("now", "now") if step else ("before training", "")
    new = said(who, row["completion"], kind, " · ".join(filter(None, [wanted, rewards(row)])))
    return f'<div class="answer"><p class="asked">{safe(row["prompt"])}</p><div class="pair">{old}{new}</div></div>'


def said(who: str, text: str, kind: str, more: str) -> str:
    small = f"<small>{safe(more)}</small>" if more else ""
    return f'<p class="said {kind}"><small>{who}</small>{safe(text) or "(nothing)"}{small}</p>'


def rewards(row: dict[str, Any]) -> str:
    """Each reward by its name."""
    return ", ".join(f"{name} {value:.3g}" for name, value in (row.get("rewards") or {}).items() if value is not None)


def example() -> None:
    before = [{"prompt": "What colour is the sky?", "completion": "The <b>sky</b>."}]
    now = [{"prompt": "What colour is the sky?", "completion": "Blue.", "wanted": "Blue.", "rewards": {"correct": 1.0}}]
    page(answers(before, now, 40))


if __name__ == "__main__":
    alone(example)
