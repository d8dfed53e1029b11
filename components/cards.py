"""Cards: the presets to start from, each with what it teaches and what it takes; and, once there are some, the last runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from app import presets, rooms
from components.look import alone, page, safe

HOW = [
    ("Choose", "A preset, a model and examples."),
    ("Check", "Every token that will be learned, before anything starts."),
    ("Watch", "The curve, and the answers as they change."),
    ("Try", "The model before and after, side by side."),
    ("Publish", "The result, if you like it: a small file."),
]


def cards(every: list[dict[str, Any]]) -> gr.HTML:
    """A button for each preset. A click fills the form with it and goes there."""
    listed = "".join(f"<li>{card(one)}</li>" for one in every)
    how = "".join(f"<li><strong>{title}</strong> <span>{safe(sentence)}</span></li>" for title, sentence in HOW)
    script = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    return page(f'<h2>Or start from</h2><ul class="starts">{listed}</ul><section class="lately" hidden><h2>Go on with</h2><ul></ul></section>'
                f'<section class="how"><h2>How it goes</h2><ol>{how}</ol></section>', elem_id="cards", js_on_load=script)  # fmt: skip


def card(preset: dict[str, Any]) -> str:
    minutes = preset["minutes"]
    takes = f"About {minutes:g} minute{'' if minutes == 1 else 's'} · {preset['needs']}"
    lesson = rooms.load("methods", preset["method"]).TITLE
    return (f'<button type="button" data-preset="{safe(preset["name"])}"><small>{safe(lesson)}</small><strong>{safe(preset["title"])}</strong>'
            f'<span>{safe(preset["sentence"])}</span><small>{safe(takes)}</small></button>')  # fmt: skip


if __name__ == "__main__":
    alone(lambda: cards(presets.every()))
