"""Curves: the numbers of a run as charts, each line named at its end and different in dash as well as hue."""

from __future__ import annotations

import math
from typing import Any

import gradio as gr
import plotly.graph_objects as go

from app.curves import Series, thinned
from components.look import alone

LOSS = ("train/loss", "eval/loss")
NAMES = {"train/loss": "training", "eval/loss": "held-out", "reward/mean": "reward"}
DASHES = ("solid", "dot", "dash", "dashdot")


def loss_chart(every: dict[str, Series], of: int) -> go.Figure:
    """How wrong the model is: falling is learning."""
    return chart("Loss, lower is better", [every[name] for name in LOSS if name in every], of)


def score_chart(every: dict[str, Series], of: int) -> go.Figure:
    """What earns reward or is answered right: rising is learning."""
    title = "Score, higher is better" if "reward/mean" in every else "Held-out score, higher is better"
    return chart(title, scores(every), of)


def scores(every: dict[str, Series]) -> list[Series]:
    """The mean reward, then every test on held-out examples other than loss."""
    tests = [one for name, one in every.items() if name.startswith("eval/") and name not in LOSS]
    return [every[name] for name in ("reward/mean",) if name in every] + tests


def chart(title: str, lines: list[Series], of: int) -> go.Figure:
    """Lines that grow toward step `of`. Colours come from the stylesheet, so that light and dark need no new figure."""
    return go.Figure(
        [trace(thinned(line), DASHES[place % len(DASHES)]) for place, line in enumerate(lines)],
        layout={
            "template": "none", "height": 280, "showlegend": False, "uirevision": "kept", "hovermode": "x unified",
            "margin": {"l": 40, "r": 88, "t": 48, "b": 48}, "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
            "title": {"text": title, "x": 0, "xanchor": "left", "y": 0.94, "font": {"size": 15}},
            "xaxis": {"title": {"text": "step", "font": {"size": 13}}, "range": [0, max(of, 1)], "showgrid": False, "zeroline": False,
                      "ticklabelstandoff": 6},
            "yaxis": {"zeroline": False, "nticks": 5, "ticklabelstandoff": 6, "range": flat(lines)}, "annotations": labels(lines), "dragmode": False,
        },
    )  # fmt: skip


def trace(line: Series, dash: str) -> go.Scatter:
    return go.Scatter(
        x=line.steps, y=line.values, name=named(line), mode="lines+markers" if line.tested else "lines",
        line={"width": 2, "dash": dash}, marker={"size": 9}, cliponaxis=False,
    )  # fmt: skip


def named(line: Series) -> str:
    """`eval/correct` is “held-out correct”."""
    return NAMES.get(line.name) or f"held-out {line.name.removeprefix('eval/')}"


def flat(lines: list[Series]) -> list[float] | None:
    """The axis of a line that never moved: it lies on the floor, not in the middle of a made-up span."""
    known = {value for line in lines for value in line.values if value is not None}
    return [value + up for value in known for up in (0, 1)] if len(known) == 1 else None


def labels(lines: list[Series]) -> list[dict[str, Any]]:
    """Each line's name and last value at its end, spread so that two never lie on one another."""
    ends = sorted((line for line in lines if line.latest is not None), key=lambda line: line.latest)
    heights = apart([line.latest for line in ends], gap(lines))
    return [
        {"x": line.steps[-1], "y": height, "xanchor": "left", "align": "left", "showarrow": False, "xshift": 8,
         "text": f"{named(line).removeprefix('held-out ')}<br><b>{line.latest:.3g}</b>", "font": {"size": 13}}
        for line, height in zip(ends, heights, strict=True)
    ]  # fmt: skip


def gap(lines: list[Series]) -> float:
    """A quarter of what the axis spans: the height of one label."""
    known = [value for line in lines for value in line.values if value is not None]
    return (max(known) - min(known)) / 4 if known else 0.0


def apart(heights: list[float], least: float) -> list[float]:
    """Rising heights pushed up until each is `least` above the one below."""
    placed: list[float] = []
    for height in heights:
        placed.append(max(height, placed[-1] + least) if placed else height)
    return placed


def example() -> None:
    steps = list(range(1, 121))
    loss = Series("train/loss", steps, [3 * math.exp(-s / 40) + 0.2 * math.sin(s) for s in steps])
    held = Series("eval/loss", [0, 40, 80, 120], [3.1, 1.4, 0.9, 0.6], tested=True)
    right = Series("eval/correct", [0, 40, 80, 120], [0.0, 0.3, 0.7, 0.88], tested=True)
    gr.Plot(loss_chart({one.name: one for one in (loss, held)}, 120), show_label=False, elem_classes="curve")
    gr.Plot(score_chart({right.name: right}, 120), show_label=False, elem_classes="curve")


if __name__ == "__main__":
    alone(example)
