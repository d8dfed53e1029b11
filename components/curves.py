"""Curves: the numbers of a run as live charts; curves.js draws what the stream tells, and plotly is loaded when Watch opens."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import gradio as gr

from app.core import registry
from components.plotly_script import PLOTLY, plotly
from components.theme import alone, page, safe

# Each metric has its place in one chart. log: falls over magnitudes. share: in percent while all lies between 0 and 1.
FIXED = (
    {"name": "loss", "title": "Loss", "hint": "how wrong the answers are: lower is better", "large": True, "log": True,
     "metrics": ["train/loss", "train/ce", "eval/loss"]},
    {"name": "score", "title": "Score", "hint": "what is answered right: higher is better", "large": True, "share": True,
     "metrics": ["reward/mean", "prefer/accuracy", "score/accuracy", "score/steps"]},
    {"name": "learning_rate", "title": "Learning rate", "hint": "how big each step is", "log": True,
     "metrics": ["train/learning_rate"]},
    {"name": "gradient", "title": "Gradient norm", "hint": "how hard each step pulls; spikes mean trouble", "log": True,
     "metrics": ["train/grad_norm"]},
    {"name": "speed", "title": "Tokens per second", "hint": "how fast it reads",
     "metrics": ["system/tokens_per_second"]},
    {"name": "memory", "title": "Memory, GB", "hint": "of the process, and of the graphics card",
     "metrics": ["system/memory", "system/gpu_memory"]},
)  # fmt: skip
# Numbers of methods that belong together, the most telling first. short: what a line is called where there is little room.
# What a method tells beside these (its CURVES) has a chart of its own.
GROUPS = (
    {"name": "margin", "title": "Margin", "hint": "how far better answers are ahead of worse ones", "short": {"prefer/margin": "", "score/margin": "", "reward/margin": "reward"}},
    {"name": "sides", "title": "Grown likelier", "hint": "better answers should stay above worse ones", "short": {"prefer/chosen": "better", "prefer/rejected": "worse"}},
    {"name": "given", "title": "Scores given", "hint": "the mean, the highest and the lowest", "short": {"score/mean": "mean", "score/highest": "highest", "score/lowest": "lowest"}},
    {"name": "length", "title": "Length of answers", "hint": "in tokens", "short": {"policy/length": ""}},
    {"name": "silent", "title": "Taught nothing", "hint": "share of prompts whose tries earn the same", "share": True, "short": {"policy/silent_groups": ""}},
    {"name": "doubt", "title": "Doubt", "hint": "near 0 it tries nothing new", "short": {"policy/entropy": ""}},
    {"name": "moved", "title": "Distance from the start", "hint": "how far the model has moved", "short": {"policy/kl": ""}},
    {"name": "critic", "title": "Critic", "hint": "how much of the rewards it foretold: 1 is all", "short": {"value/explained": ""}},
    {"name": "cut_off", "title": "Cut off", "hint": "share of answers that were too long", "share": True, "short": {"policy/cut_off": ""}},
    {"name": "clipped", "title": "Held back", "hint": "share of tokens, on their way down and up", "share": True,
     "short": {"policy/clipped": "all", "policy/clipped_down": "down", "policy/clipped_up": "up"}},
    {"name": "again", "title": "Taken again", "hint": "groups learned from twice, prompts tried anew", "short": {"policy/replayed": "again", "policy/rerolled": "anew"}},
    {"name": "parts", "title": "Parts of the loss", "hint": "what it is made of",
     "short": {"policy/loss": "model", "value/loss": "critic", "copy/own_answers": "own answers", "copy/given_answers": "given ones", "prefer/imitation": "imitation", "prefer/odds_loss": "odds"}},
    {"name": "tokens", "title": "Loss by token", "hint": "shared by both models, or of one alone", "short": {"copy/shared_tokens": "shared", "copy/other_tokens": "other"}},
)  # fmt: skip

BLANK = {"name": "", "title": "", "hint": ""}
JS = "".join(
    Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("line.js", "chart.js", "curves.js")
)

TOOLS = """<div class="chart-tools">
<label>Smoothing <input type="range" min="0" max="100" step="5" value="0" data-tool="smoothing"></label>
<label><input type="checkbox" data-tool="log"> Log scale</label>
<button type="button" data-tool="reset" disabled>Reset zoom</button></div>"""


def curves(library: str = PLOTLY, **where: object) -> gr.HTML:
    """All charts at their final size, waiting for their first points. library: where plotly is."""
    charts = {size: "".join(chart(one) for one in FIXED if one.get("large", False) == size) for size in (True, False)}
    rewarded = [
        name for name in registry.choices("methods") if getattr(registry.load("methods", name), "NEEDS_REWARDS", False)
    ]
    groups = [one | {"metrics": [*one["short"]]} for one in GROUPS]
    told = safe(json.dumps({"fixed": FIXED, "groups": groups, "rewarded": rewarded}))
    shown = (
        f'<div class="charts" data-plotly="{safe(library)}" data-charts="{told}">{TOOLS}'
        f'<div class="large">{charts[True]}</div><div class="small">{charts[False]}</div><div class="small more"></div>'
        '<details class="fold" hidden><summary></summary><div class="small more"></div></details>'
        f"<template>{chart(BLANK)}</template></div>"
    )
    return page(shown, js_on_load=JS, **where)


def chart(one: dict[str, Any]) -> str:
    """A small one is enlarged by its title, which is a button."""
    title = f'<span class="chart-title">{one["title"]}</span> <small>{one["hint"]}</small>'
    head = f"<h3>{title}</h3>" if one.get("large") else f'<button type="button" aria-expanded="false">{title}</button>'
    return (
        f'<figure class="chart" data-chart="{one["name"]}">{head}'
        f'<div class="plot" role="img" aria-label="{one["title"]}: no points yet"><p class="soon">The first point comes after the first step.</p></div></figure>'
    )


def example() -> None:
    """A made-up run of 120 steps, told as the stream tells."""
    steps = [*range(1, 121)]
    series = {
        "train/loss": {"x": steps, "y": [3 * math.exp(-s / 40) + 0.2 * math.sin(s) + 0.3 for s in steps]},
        "eval/loss": {"x": [0, 40, 80, 120], "y": [3.1, 1.4, 0.9, 0.6], "tested": True},
        "eval/correct": {"x": [0, 40, 80, 120], "y": [0.0, 0.3, 0.7, 0.88], "tested": True},
        "train/learning_rate": {"x": steps, "y": [0.004 * (1 - s / 121) for s in steps]},
    }
    names = {"train/loss": "training", "eval/loss": "held-out", "eval/correct": "held-out: exactly the right answer"}
    told = {
        "run": "example",
        "seq": 1,
        "series": series,
        "names": names,
        "method": "sft",
        "now": {"of": 120, "step": 120},
    }
    gr.set_static_paths([plotly()])
    curves(f"/gradio_api/file={plotly()}")
    script = f"document.dispatchEvent(new CustomEvent('tunesmith:snapshot', {{ detail: {json.dumps(told)} }}))"
    page(js_on_load=f"setTimeout(() => {{ {script} }}, 500)")


if __name__ == "__main__":
    alone(example)
