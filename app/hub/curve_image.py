"""Picture: a run's curves as a PNG for its card, drawn without a plotting library."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.history import series
from app.history.series import Series
from app.runs import events
from app.runs.store import Run

WIDTH, HEIGHT, SCALE = 440, 300, 3  # of one panel, in points; drawn three times as large, then halved twice in effect
LEFT, RIGHT, TOP, BOTTOM = 56, 20, 44, 36
PAGE, INK, QUIET, LINE = "#FFFFFF", "#1F2428", "#5B6570", "#DDD9D0"
LEARNED, TESTED = "#0F766E", "#B45309"
PANELS = (("Loss", "train/loss", ("eval/loss",)), ("Reward", "reward/mean", ("eval/reward/mean",)))


@dataclass(frozen=True)
class Panel:
    """One chart: a line of what was measured while learning, points of what was measured on held-out examples."""

    title: str
    learned: Series | None
    tested: Series | None

    @property
    def numbers(self) -> list[float]:
        return [value for one in (self.learned, self.tested) if one for value in one.values if value is not None]

    @property
    def last_step(self) -> int:
        return max(one.steps[-1] for one in (self.learned, self.tested) if one)


def picture(run: Run) -> bytes | None:
    """The loss and, beside it, the reward or the held-out score. None when too little was measured to draw."""
    panels = chosen(series.series(events.read(run.events)))
    return drawn(panels) if panels else None


def chosen(series: dict[str, Series]) -> list[Panel]:
    named = [Panel(title, series.get(line), next((series[name] for name in points if name in series), None))
             for title, line, points in PANELS]  # fmt: skip
    if named[1].learned is None:  # no rewards while learning: the score of held-out answers tells the same
        score = next((one for name, one in series.items() if one.tested and name != "eval/loss"), None)
        if score:
            named[1] = Panel(f"Held-out: {score.name.removeprefix('eval/')}", None, score)
    return [panel for panel in named if len(panel.numbers) > 1]


def drawn(panels: Sequence[Panel]) -> bytes:
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDTH * len(panels) * SCALE, HEIGHT * SCALE), PAGE)
    pen = ImageDraw.Draw(image)
    for place, panel in enumerate(panels):
        draw_panel(pen, panel, place * WIDTH)
    size = (image.width * 2 // SCALE, image.height * 2 // SCALE)
    file = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(file, "PNG", optimize=True)
    return file.getvalue()


def draw_panel(pen: Any, panel: Panel, left: int) -> None:
    low, high, marks = scale(min(panel.numbers), max(panel.numbers))
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(step: float, value: float) -> tuple[float, float]:
        across = left + LEFT + wide * step / max(panel.last_step, 1)
        return across * SCALE, (TOP + tall * (high - value) / (high - low)) * SCALE

    text(pen, (left + LEFT, 14), panel.title, 15, INK)
    for mark in marks:
        pen.line([at(0, mark), at(panel.last_step, mark)], LINE, SCALE)
        text(pen, (left + LEFT - 8, at(0, mark)[1] / SCALE), f"{mark:.4g}", 11, QUIET, "rm")
    text(pen, (left + LEFT, HEIGHT - 16), "step 0", 11, QUIET, "lm")
    text(pen, (left + WIDTH - RIGHT, HEIGHT - 16), f"{panel.last_step:,}", 11, QUIET, "rm")
    for one, colour in ((panel.learned, LEARNED), (panel.tested, TESTED)):
        if one:
            draw_series(pen, series.thinned(one, 600), at, colour)
    legend(pen, panel, left)


def draw_series(pen: Any, one: Series, at: Any, colour: str) -> None:
    """A line, broken where a number was not finite; tested points are dots as well, so that colour does not stand alone."""
    piece: list[tuple[float, float]] = []
    for step, value in [*zip(one.steps, one.values, strict=True), (0, None)]:
        if value is not None:
            piece.append(at(step, value))
            continue
        if len(piece) > 1:
            pen.line(piece, colour, 2 * SCALE, joint="curve")
        if one.tested:
            for x, y in piece:
                pen.ellipse([x - 4 * SCALE, y - 4 * SCALE, x + 4 * SCALE, y + 4 * SCALE], colour)
        piece = []


def legend(pen: Any, panel: Panel, left: int) -> None:
    """Each with its mark: a line for what was measured while learning, a dot for what was tested."""
    if not (panel.learned and panel.tested):
        return
    right, y = left + WIDTH - RIGHT, 23
    text(pen, (right, y), "held-out", 11, TESTED, "rm")
    pen.ellipse([(right - 58) * SCALE, (y - 4) * SCALE, (right - 50) * SCALE, (y + 4) * SCALE], TESTED)
    text(pen, (right - 72, y), "learning", 11, LEARNED, "rm")
    pen.line([(right - 132) * SCALE, y * SCALE, (right - 118) * SCALE, y * SCALE], LEARNED, 2 * SCALE)


def text(pen: Any, place: tuple[float, float], said: str, size: int, colour: str, anchor: str = "la") -> None:
    from PIL import ImageFont

    font = ImageFont.load_default(size * SCALE)
    pen.text((place[0] * SCALE, place[1] * SCALE), said, fill=colour, font=font, anchor=anchor)


def scale(low: float, high: float) -> tuple[float, float, list[float]]:
    """(lowest, highest, marks) of an axis: at most six round numbers, 1, 2 or 5 times a power of ten apart."""
    if high <= low:
        low, high = low - 0.5, high + 0.5
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    apart = next(step * power for step in (1, 2, 5, 10) if step * power >= rough)
    first, last = math.floor(low / apart + 1e-9), math.ceil(high / apart - 1e-9)
    return first * apart, last * apart, [count * apart for count in range(first, last + 1)]
