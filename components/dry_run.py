"""Dry run: what the untouched model answers to real prompts, and what that would earn it: the spread is what it learns from."""

from __future__ import annotations

from typing import Any

from components import notices
from components.theme import alone, page, safe

LONGEST = 600  # letters of one answer
EXPLAINED = (
    "The model learns from the difference between its own attempts. So let it try before it has learned anything: "
    "if every attempt earns the same, there is nothing to prefer, and nothing to learn from."
)


def invitation() -> str:
    return f'<div class="trial"><h2>What it would earn today</h2><p>{EXPLAINED}</p></div>'


def going(done: int, of: int, waiting: str = "") -> str:
    """While it tries: how far, or what it waits for."""
    text = waiting or (
        f"It tries prompt {min(done + 1, of)} of {of} …" if of else "The untouched model is being loaded …"
    )
    share = done / of if of else 0
    return (
        f'<div class="trial" aria-busy="true"><h2>What it would earn today</h2><p role="status">{safe(text)}</p>'
        f'<div class="track" role="progressbar" aria-label="Prompts tried" aria-valuemin="0" aria-valuemax="{of}" aria-valuenow="{done}">'
        f'<i style="width: {share:.0%}"></i></div></div>'
    )


def dry_run(result: dict[str, Any]) -> str:
    """The worker's answer: findings first, then rewards by name, then every prompt with its attempts."""
    prompts = "".join(prompt(row) for row in result["rows"])
    return (
        f'<div class="trial"><h2>What it would earn today</h2>{notices.findings(result["findings"])}'
        f'{by_reward(result["by_reward"])}<div class="attempts">{prompts}</div></div>'
    )


def by_reward(rewards: dict[str, dict[str, float | None]]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{safe(name)}</th>{"".join(f"<td>{number(one[key])}</td>" for key in ("lowest", "mean", "highest"))}</tr>'
        for name, one in rewards.items()
    )
    heads = "".join(f'<th scope="col">{name}</th>' for name in ("Reward", "lowest", "mean", "highest"))
    return f'<table class="earned"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'


def prompt(row: dict[str, Any]) -> str:
    """A prompt, how far its attempts lie apart, and each attempt with what it earned."""
    same = "all earn the same" if not row["spread"] else f"{number(row['spread'])} between the best and the worst"
    attempts = "".join(attempt(one) for one in row["completions"])
    return f'<article><p class="asked">{clip(row["prompt"])}</p><p class="spread">{safe(same)}</p><ol>{attempts}</ol></article>'


def attempt(one: dict[str, Any]) -> str:
    """What it earned and what it wrote; by name where several rewards add up."""
    names = " · ".join(f"{name} {number(value)}" for name, value in one["rewards"].items())
    apart = f"<small>{safe(names)}</small>" if len(one["rewards"]) > 1 else ""
    return f'<li><b title="{safe(names)}">{number(one["total"])}</b><span>{clip(one["text"]) or "(nothing)"}{apart}</span></li>'


def clip(text: str) -> str:
    """Escaped; a very long answer by its beginning."""
    return safe(text if len(text) <= LONGEST else f"{text[:LONGEST]} …")


def number(value: float | None) -> str:
    """No reward at all is a dash."""
    return "–" if value is None else f"{value:.3g}"


def example() -> None:
    tried = [
        {"text": "43", "rewards": {"correct": 1.0}, "total": 1.0},
        {"text": "<b>34</b>", "rewards": {"correct": 0.0}, "total": 0.0},
    ]
    page(invitation())
    page(going(3, 32))
    page(dry_run({"rows": [{"prompt": "What is 12 + 31?", "completions": tried, "spread": 1.0}],
                  "by_reward": {"correct": {"lowest": 0.0, "mean": 0.5, "highest": 1.0}},
                  "findings": [{"severity": "good", "text": "The attempts differ, so there is something to learn from."}]}))  # fmt: skip


if __name__ == "__main__":
    alone(example)
