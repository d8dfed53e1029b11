"""Curves: the numbers of a run as live charts; curves.js draws what the stream tells, and plotly is loaded when Watch opens."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import gradio as gr

from app.live import PLOTLY, plotly
from components.look import alone, page, safe

# Each metric has its place in one chart; rest: what has none elsewhere. log: falls over magnitudes.
CHARTS = (
    {"name": "loss", "title": "Loss", "hint": "how wrong the answers are: lower is better", "large": True, "log": True,
     "metrics": ["train/loss", "eval/loss"]},
    {"name": "score", "title": "Score", "hint": "what is answered right: higher is better", "large": True, "rest": True,
     "metrics": ["reward/mean"]},
    {"name": "learning_rate", "title": "Learning rate", "hint": "how big each step is", "log": True,
     "metrics": ["train/learning_rate"]},
    {"name": "gradient", "title": "Gradient norm", "hint": "how hard each step pulls; spikes mean trouble", "log": True,
     "metrics": ["train/grad_norm"]},
    {"name": "speed", "title": "Tokens per second", "hint": "how fast it reads",
     "metrics": ["system/tokens_per_second"]},
    {"name": "memory", "title": "Memory, GB", "hint": "of the process, and of the graphics card",
     "metrics": ["system/memory", "system/gpu_memory"]},
)  # fmt: skip

JS = "".join(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("line.js", "curves.js"))

TOOLS = """<div class="chart-tools">
<label>Smoothing <input type="range" min="0" max="100" step="5" value="0" data-tool="smoothing"></label>
<label><input type="checkbox" data-tool="log"> Log scale</label>
<button type="button" data-tool="reset" disabled>Reset zoom</button></div>"""


def curves(library: str = PLOTLY, **where: object) -> gr.HTML:
    """All charts at their final size, waiting for their first points. library: where plotly is."""
    charts = {size: "".join(chart(one) for one in CHARTS if one.get("large", False) == size) for size in (True, False)}
    shown = (
        f'<div class="charts" data-plotly="{safe(library)}" data-charts="{safe(json.dumps(CHARTS))}">{TOOLS}'
        f'<div class="large">{charts[True]}</div><div class="small">{charts[False]}</div></div>'
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
    told = {"run": "example", "seq": 1, "series": series, "names": names, "now": {"of": 120}}
    gr.set_static_paths([plotly()])
    curves(f"/gradio_api/file={plotly()}")
    script = f"document.dispatchEvent(new CustomEvent('tunesmith:snapshot', {{ detail: {json.dumps(told)} }}))"
    page(js_on_load=f"setTimeout(() => {{ {script} }}, 500)")


if __name__ == "__main__":
    alone(example)
