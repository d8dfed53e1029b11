"""Image of a run's curves for its model card: a PNG drawn with Pillow, without a plotting library."""

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

_PANEL_WIDTH, _PANEL_HEIGHT = 440, 300  # points
_PIXELS_PER_POINT = 3  # while drawing; the image is then scaled down to 2, which smooths the lines
_MARGIN_LEFT, _MARGIN_RIGHT, _MARGIN_TOP, _MARGIN_BOTTOM = 56, 20, 44, 36
_BACKGROUND_COLOR, _TEXT_COLOR, _MUTED_COLOR, _GRID_COLOR = "#FFFFFF", "#1F2428", "#5B6570", "#DDD9D0"
_TRAIN_COLOR, _EVAL_COLOR = "#0F766E", "#B45309"
_PANELS = (("Loss", "train/loss", ("eval/loss",)), ("Reward", "reward/mean", ("eval/reward/mean",)))


@dataclass(frozen=True)
class _Panel:
    """One chart: the curve of a training metric as a line, and that of a held-out metric as a line with dots."""

    title: str
    train_series: Series | None
    eval_series: Series | None

    @property
    def _curves(self) -> list[Series]:
        return [curve for curve in (self.train_series, self.eval_series) if curve]

    @property
    def finite_values(self) -> list[float]:
        """The values of both curves, for the range of the axis."""
        return [value for curve in self._curves for value in curve.values if value is not None]

    @property
    def last_step(self) -> int:
        """The last step of the longer curve."""
        return max(curve.steps[-1] for curve in self._curves)


def render_curves(run: Run) -> bytes | None:
    """A PNG with the loss and, beside it, the reward or the held-out score; None where there are too few
    measurements."""
    panels = _select_panels(series.series_by_metric(events.read_events(run.events)))
    return _draw_panels(panels) if panels else None


def _select_panels(series_by_name: dict[str, Series]) -> list[_Panel]:
    """The panels with at least two measurements."""
    panels = [
        _Panel(
            title,
            series_by_name.get(line),
            next((series_by_name[name] for name in points if name in series_by_name), None),
        )
        for title, line, points in _PANELS
    ]
    if panels[1].train_series is None:  # no training reward: show a held-out score instead
        score = next(
            (series for name, series in series_by_name.items() if name.startswith("eval/") and name != "eval/loss"),
            None,
        )
        if score:
            panels[1] = _Panel(f"Held-out: {score.name.removeprefix('eval/')}", None, score)
    return [panel for panel in panels if len(panel.finite_values) > 1]


def _draw_panels(panels: Sequence[_Panel]) -> bytes:
    """The panels side by side, as a PNG."""
    from PIL import Image, ImageDraw

    image = Image.new(
        "RGB", (_PANEL_WIDTH * len(panels) * _PIXELS_PER_POINT, _PANEL_HEIGHT * _PIXELS_PER_POINT), _BACKGROUND_COLOR
    )
    pen = ImageDraw.Draw(image)
    for panel_index, panel in enumerate(panels):
        _draw_panel(pen, panel, panel_index * _PANEL_WIDTH)
    size = (image.width * 2 // _PIXELS_PER_POINT, image.height * 2 // _PIXELS_PER_POINT)
    file = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(file, "PNG", optimize=True)
    return file.getvalue()


def _draw_panel(pen: Any, panel: _Panel, left: int) -> None:
    """Draws one panel. left: its left edge, in points."""
    low, high, ticks = axis_ticks(min(panel.finite_values), max(panel.finite_values))
    plot_width, plot_height = _PANEL_WIDTH - _MARGIN_LEFT - _MARGIN_RIGHT, _PANEL_HEIGHT - _MARGIN_TOP - _MARGIN_BOTTOM

    def to_pixels(step: float, value: float) -> tuple[float, float]:
        x = left + _MARGIN_LEFT + plot_width * step / max(panel.last_step, 1)
        return x * _PIXELS_PER_POINT, (_MARGIN_TOP + plot_height * (high - value) / (high - low)) * _PIXELS_PER_POINT

    _draw_text(pen, (left + _MARGIN_LEFT, 14), panel.title, 15, _TEXT_COLOR)
    for tick in ticks:
        pen.line([to_pixels(0, tick), to_pixels(panel.last_step, tick)], _GRID_COLOR, _PIXELS_PER_POINT)
        _draw_text(
            pen,
            (left + _MARGIN_LEFT - 8, to_pixels(0, tick)[1] / _PIXELS_PER_POINT),
            f"{tick:.4g}",
            11,
            _MUTED_COLOR,
            "rm",
        )
    _draw_text(pen, (left + _MARGIN_LEFT, _PANEL_HEIGHT - 16), "step 0", 11, _MUTED_COLOR, "lm")
    _draw_text(
        pen, (left + _PANEL_WIDTH - _MARGIN_RIGHT, _PANEL_HEIGHT - 16), f"{panel.last_step:,}", 11, _MUTED_COLOR, "rm"
    )
    for curve, colour in ((panel.train_series, _TRAIN_COLOR), (panel.eval_series, _EVAL_COLOR)):
        if curve:
            _draw_series(pen, series.downsample(curve, 600), to_pixels, colour)
    _draw_legend(pen, panel, left)


def _draw_series(pen: Any, curve: Series, to_pixels: Any, colour: str) -> None:
    """Draws a curve as a line with gaps for values that are not finite.

    Held-out curves get dots too, so that they can be told apart without colour.
    """
    points: list[tuple[float, float]] = []
    for step, value in [*zip(curve.steps, curve.values, strict=True), (0, None)]:
        if value is not None:
            points.append(to_pixels(step, value))
            continue
        if len(points) > 1:
            pen.line(points, colour, 2 * _PIXELS_PER_POINT, joint="curve")
        if curve.is_eval:
            for x, y in points:
                pen.ellipse(
                    [
                        x - 4 * _PIXELS_PER_POINT,
                        y - 4 * _PIXELS_PER_POINT,
                        x + 4 * _PIXELS_PER_POINT,
                        y + 4 * _PIXELS_PER_POINT,
                    ],
                    colour,
                )
        points = []


def _draw_legend(pen: Any, panel: _Panel, left: int) -> None:
    """Draws the legend of a panel with two curves: a line for training, a dot for held-out."""
    if not (panel.train_series and panel.eval_series):
        return
    right, y = left + _PANEL_WIDTH - _MARGIN_RIGHT, 23
    _draw_text(pen, (right, y), "held-out", 11, _EVAL_COLOR, "rm")
    pen.ellipse(
        [
            (right - 58) * _PIXELS_PER_POINT,
            (y - 4) * _PIXELS_PER_POINT,
            (right - 50) * _PIXELS_PER_POINT,
            (y + 4) * _PIXELS_PER_POINT,
        ],
        _EVAL_COLOR,
    )
    _draw_text(pen, (right - 72, y), "learning", 11, _TRAIN_COLOR, "rm")
    pen.line(
        [
            (right - 132) * _PIXELS_PER_POINT,
            y * _PIXELS_PER_POINT,
            (right - 118) * _PIXELS_PER_POINT,
            y * _PIXELS_PER_POINT,
        ],
        _TRAIN_COLOR,
        2 * _PIXELS_PER_POINT,
    )


def _draw_text(pen: Any, position: tuple[float, float], text: str, size: int, colour: str, anchor: str = "la") -> None:
    """Draws text. position, size: in points. anchor: as in Pillow."""
    from PIL import ImageFont

    font = ImageFont.load_default(size * _PIXELS_PER_POINT)
    pen.text(
        (position[0] * _PIXELS_PER_POINT, position[1] * _PIXELS_PER_POINT), text, fill=colour, font=font, anchor=anchor
    )


def axis_ticks(low: float, high: float) -> tuple[float, float, list[float]]:
    """(lower limit, upper limit, ticks) of an axis: at most six round numbers, spaced by 1, 2 or 5 times a power of
    ten."""
    if high <= low:
        low, high = low - 0.5, high + 0.5
    raw_spacing = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw_spacing))
    spacing = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw_spacing)
    first, last = math.floor(low / spacing + 1e-9), math.ceil(high / spacing - 1e-9)
    return first * spacing, last * spacing, [count * spacing for count in range(first, last + 1)]
