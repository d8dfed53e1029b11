"""Statistics of the complete dataset: numbers of rows and tokens, lengths, and what is trained, cut off or left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.lengths import render_length_histogram
from components.theme import escape, format_percent, html_block, launch_demo
from components.tokens import LEARNING_MODES

if TYPE_CHECKING:
    from app.engine.preview.run_estimate import LengthHistogram, RunEstimate

_TRAINED_SHARE_LABELS = {
    "learned": "Learned",
    "compared": "Compared",
    "thumbed": "In the answers",
}  # label of the share of trained tokens, by learning mode


def render_dataset_stats(plan: RunEstimate | None, mode: str = "learned") -> str:
    """HTML of the statistics in the worker's plan; None while the worker counts."""
    if plan is None:
        return '<div class="whole" aria-busy="true"><h2>The whole data</h2><p class="told">Counting the tokens of every example …</p></div>'
    facts_html = "".join(_render_fact(*fact) for fact in _dataset_facts(plan, mode))
    lengths = plan.get("lengths")
    histogram_html = render_length_histogram(lengths) if lengths else ""
    return f'<div class="whole"><h2>The whole data</h2><dl class="facts">{facts_html}</dl>{histogram_html}{_render_left_out(plan)}</div>'


def _render_fact(label: str, text: str, severity: str = "") -> str:
    sign = {"careful": "! ", "": ""}[severity]
    return f'<div class="{severity}"><dt>{escape(label)}</dt><dd>{sign}{escape(text)}</dd></div>'


def _dataset_facts(plan: RunEstimate, mode: str) -> list[tuple[str, ...]]:
    """(label, text) or (label, text, severity) of every known fact."""
    row_count, tokens, lengths, is_prompts_only = plan["rows"], plan.get("tokens"), plan.get("lengths"), mode == "asked"
    noun = LEARNING_MODES[mode].row_noun
    facts: list[tuple[str, ...]] = [
        (
            "To learn from",
            "read while training" if row_count is None else f"{row_count:,} {noun}{'' if row_count == 1 else 's'}",
        )
    ]
    facts += [("Kept aside to test", f"{plan['held_out']:,}")] if plan["held_out"] else []
    if tokens and not is_prompts_only:
        facts += [("Tokens", f"{tokens['all']:,}")]
        facts += (
            [(_TRAINED_SHARE_LABELS[mode], format_percent(tokens["trained"] / max(1, tokens["all"])))]
            if mode in _TRAINED_SHARE_LABELS
            else []
        )
    if lengths:
        facts += [
            ("Longest", f"{lengths['longest']:,} tokens"),
            ("Half are at most", f"{lengths['median']:,.0f} tokens"),
        ]
    for label, count in (("Cut off", plan.get("truncated")), ("Nothing to learn", plan.get("empty"))):
        if not is_prompts_only and count is not None:
            facts.append((label, f"{count:,}", "careful" if count else ""))
    return facts


def _render_left_out(plan: RunEstimate) -> str:
    """HTML list of rows that are not trained on, by reason."""
    counts_by_reason = plan.get("left_out") or {}
    items_html = "".join(
        f'<li class="careful">{count:,} left out: {escape(reason)}</li>' for reason, count in counts_by_reason.items()
    )
    return f'<ul class="notice">{items_html}</ul>' if items_html else ""


def _demo() -> None:
    lengths: LengthHistogram = {
        "edges": [0, 50, 100, 150, 200],
        "counts": [40, 210, 160, 3],
        "limit": 160,
        "longest": 183,
        "median": 98,
    }
    html_block(
        render_dataset_stats(
            {
                "rows": 413,
                "held_out": 20,
                "eval_sets": {},
                "tokens": {"all": 40_100, "trained": 15_200},
                "lengths": lengths,
                "truncated": 3,
                "empty": 0,
                "memory": None,
                "memory_changes": [],
                "left_out": {"the answer is empty": 2},
                "steps": 26,
                "effective_batch": 16,
                "seconds": 50.0,
                "evaluation_seconds": 4.0,
                "seconds_why": "",
                "seconds_range": None,
            }
        )
    )


if __name__ == "__main__":
    launch_demo(_demo)
