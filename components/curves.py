"""Live charts of a run's metrics. curves.js draws the events of the stream; plotly is loaded when Watch opens."""

from __future__ import annotations

import json
import math
from typing import Any, NotRequired, TypedDict

import gradio as gr

from app.core import registry
from app.engine.contracts import load_method
from components import scripts
from components.plotly_script import PLOTLY_ROUTE, plotly_script_path
from components.theme import html_block, launch_demo


class _Chart(TypedDict):
    """log: logarithmic axis. share: in percent while all numbers lie between 0 and 1."""

    name: str
    title: str
    hint: str
    large: NotRequired[bool]
    log: NotRequired[bool]
    share: NotRequired[bool]


class _ChartSpec(_Chart):
    metrics: list[str]


class _ChartGroup(_Chart):
    """short: label of each line in a small chart, by metric."""

    short: dict[str, str]


# Each metric belongs to one chart.
_FIXED_CHARTS: tuple[_ChartSpec, ...] = (
    {
        "name": "loss",
        "title": "Loss",
        "hint": "how wrong the answers are: lower is better",
        "large": True,
        "log": True,
        "metrics": ["train/loss", "train/ce", "eval/loss"],
    },
    {
        "name": "score",
        "title": "Score",
        "hint": "what is answered right: higher is better",
        "large": True,
        "share": True,
        "metrics": ["reward/mean", "prefer/accuracy", "score/accuracy", "score/steps"],
    },
    {
        "name": "learning_rate",
        "title": "Learning rate",
        "hint": "how big each step is",
        "log": True,
        "metrics": ["train/learning_rate"],
    },
    {
        "name": "gradient",
        "title": "Gradient norm",
        "hint": "how hard each step pulls; spikes mean trouble",
        "log": True,
        "metrics": ["train/grad_norm"],
    },
    {
        "name": "speed",
        "title": "Tokens per second",
        "hint": "how fast it reads",
        "metrics": ["system/tokens_per_second"],
    },
    {
        "name": "memory",
        "title": "Memory, GB",
        "hint": "of the process, and of the graphics card",
        "metrics": ["system/memory", "system/gpu_memory"],
    },
)
# Metrics of methods that share a chart, most important chart first.
# Further metrics of a method (its CURVES) get a chart each.
_CHART_GROUPS: tuple[_ChartGroup, ...] = (
    {
        "name": "margin",
        "title": "Margin",
        "hint": "how far better answers are ahead of worse ones",
        "short": {"prefer/margin": "", "score/margin": "", "reward/margin": "reward"},
    },
    {
        "name": "sides",
        "title": "Grown likelier",
        "hint": "better answers should stay above worse ones",
        "short": {"prefer/chosen": "better", "prefer/rejected": "worse"},
    },
    {
        "name": "given",
        "title": "Scores given",
        "hint": "the mean, the highest and the lowest",
        "short": {"score/mean": "mean", "score/highest": "highest", "score/lowest": "lowest"},
    },
    {"name": "length", "title": "Length of answers", "hint": "in tokens", "short": {"policy/length": ""}},
    {
        "name": "silent",
        "title": "Taught nothing",
        "hint": "share of prompts whose tries earn the same",
        "share": True,
        "short": {"policy/silent_groups": ""},
    },
    {"name": "doubt", "title": "Doubt", "hint": "near 0 it tries nothing new", "short": {"policy/entropy": ""}},
    {
        "name": "moved",
        "title": "Distance from the start",
        "hint": "how far the model has moved",
        "short": {"policy/kl": ""},
    },
    {
        "name": "critic",
        "title": "Critic",
        "hint": "how much of the rewards it foretold: 1 is all",
        "short": {"value/explained": ""},
    },
    {
        "name": "cut_off",
        "title": "Cut off",
        "hint": "share of answers that were too long",
        "share": True,
        "short": {"policy/cut_off": ""},
    },
    {
        "name": "clipped",
        "title": "Held back",
        "hint": "share of tokens, on their way down and up",
        "share": True,
        "short": {"policy/clipped": "all", "policy/clipped_down": "down", "policy/clipped_up": "up"},
    },
    {
        "name": "again",
        "title": "Taken again",
        "hint": "groups learned from twice, prompts tried anew",
        "short": {"policy/replayed": "again", "policy/rerolled": "anew"},
    },
    {
        "name": "parts",
        "title": "Parts of the loss",
        "hint": "what it is made of",
        "short": {
            "policy/loss": "model",
            "value/loss": "critic",
            "copy/own_answers": "own answers",
            "copy/given_answers": "given ones",
            "prefer/imitation": "imitation",
            "prefer/odds_loss": "odds",
        },
    },
    {
        "name": "tokens",
        "title": "Loss by token",
        "hint": "shared by both models, or of one alone",
        "short": {"copy/shared_tokens": "shared", "copy/other_tokens": "other"},
    },
)

_NO_SCORE = "This lesson has no score: its loss tells how it goes."
_MACHINE_TITLE = "The steps and the machine: learning rate, gradient, speed, memory"
_BLANK_CHART: _Chart = {"name": "", "title": "", "hint": ""}
JS = scripts.on_load("curves")

_CHART_TOOLS = """<div class="chart-tools">
<label>Smoothing <input type="range" min="0" max="100" step="5" value="0" data-tool="smoothing"></label>
<label><input type="checkbox" data-tool="log"> Log scale</label>
<button type="button" data-tool="reset" disabled>Reset zoom</button></div>"""


def build_charts(plotly_url: str = PLOTLY_ROUTE, **html_options: Any) -> gr.HTML:
    """All charts at their final size, still empty. plotly_url: address of plotly's script."""
    charts_by_size = {
        is_large: "".join(_render_chart(chart) for chart in _FIXED_CHARTS if chart.get("large", False) == is_large)
        for is_large in (True, False)
    }
    reward_methods = [name for name in registry.names("methods") if load_method(name).needs_rewards]
    chart_groups = [group | {"metrics": [*group["short"]]} for group in _CHART_GROUPS]
    charts = {"fixed": _FIXED_CHARTS, "groups": chart_groups, "rewarded": reward_methods}
    content = (
        f'<div class="charts"><div class="large">{charts_by_size[True]}</div><p class="no-score" hidden>{_NO_SCORE}</p>{_CHART_TOOLS}<div class="small more"></div>'
        '<details class="fold of-method" hidden><summary></summary><div class="small more"></div></details>'
        f'<details class="fold" data-fold="machine"><summary>{_MACHINE_TITLE}</summary><div class="small">{charts_by_size[False]}</div></details>'
        f"<template>{_render_chart(_BLANK_CHART)}</template></div>"
    )
    return html_block(content, js_on_load=JS, charts=charts, plotly_url=plotly_url, **html_options)


def _render_chart(chart: _Chart) -> str:
    """HTML of one empty chart. The title of a small chart is a button that enlarges it."""
    title, hint = f'<span class="chart-title">{chart["title"]}</span>', f"<small>{chart['hint']}</small>"
    head = (
        f"<h3>{title} {hint}</h3>"
        if chart.get("large")
        else f'<button type="button" aria-expanded="false">{title} <b class="chart-value"></b> {hint}</button>'
    )
    return (
        f'<figure class="chart" data-chart="{chart["name"]}">{head}'
        f'<div class="plot" role="img" aria-label="{chart["title"]}: no points yet"><p class="soon">The first point comes after the first step.</p></div></figure>'
    )


def _demo() -> None:
    """An invented run of 120 steps, sent as the event stream sends it."""
    steps = [*range(1, 121)]
    series = {
        "train/loss": {"x": steps, "y": [3 * math.exp(-s / 40) + 0.2 * math.sin(s) + 0.3 for s in steps]},
        "eval/loss": {"x": [0, 40, 80, 120], "y": [3.1, 1.4, 0.9, 0.6], "tested": True},
        "eval/correct": {"x": [0, 40, 80, 120], "y": [0.0, 0.3, 0.7, 0.88], "tested": True},
        "train/learning_rate": {"x": steps, "y": [0.004 * (1 - s / 121) for s in steps]},
    }
    line_titles = {
        "train/loss": "training",
        "eval/loss": "held-out",
        "eval/correct": "held-out: exactly the right answer",
    }
    snapshot = {
        "run": "example",
        "seq": 1,
        "series": series,
        "names": line_titles,
        "method": "sft",
        "now": {"of": 120, "step": 120},
    }
    gr.set_static_paths([plotly_script_path()])
    build_charts(f"/gradio_api/file={plotly_script_path()}")
    script = f"document.dispatchEvent(new CustomEvent('tunesmith:snapshot', {{ detail: {json.dumps(snapshot)} }}))"
    html_block(js_on_load=f"setTimeout(() => {{ {script} }}, 500)")


if __name__ == "__main__":
    launch_demo(_demo)
