"""Cards: the presets to start from, each with what it teaches and what it takes; and, once there are some, the last runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from app import fitting, presets, rooms
from components.look import alone, page, safe

FEW = 4  # presets; more stand by what a person wants
HOW = [
    ("Choose", "A preset, a model and examples."),
    ("Check", "Every token that will be learned, before anything starts."),
    ("Watch", "The curve, and the answers as they change."),
    ("Try", "The model before and after, side by side."),
    ("Publish", "The result, if you like it: a small file."),
]


def cards(every: list[dict[str, Any]]) -> gr.HTML:
    """A button for each preset, by what a person wants. A click fills the form with it and goes there."""
    how = "".join(f"<li><strong>{title}</strong> <span>{safe(sentence)}</span></li>" for title, sentence in HOW)
    script = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    return page(f'<h2>Or start from</h2>{starts(every)}<section class="lately" hidden><h2>Go on with</h2><ul></ul></section>'
                f'<section class="how"><h2>How it goes</h2><ol>{how}</ol></section>', elem_id="cards", js_on_load=script)  # fmt: skip


def starts(every: list[dict[str, Any]]) -> str:
    """All of them, quickest first; from a handful on by family, the one with the quickest first."""
    if len(every) <= FEW:
        return listed(every)
    groups: dict[str, list[dict[str, Any]]] = {}
    for one in every:
        groups.setdefault(fitting.family(rooms.load("methods", one["method"])), []).append(one)
    order = sorted(groups, key=lambda name: (groups[name][0]["minutes"], [*fitting.FAMILIES].index(name)))
    return "".join(group(*fitting.FAMILIES[name][:2], groups[name]) for name in order)


def group(title: str, sentence: str, found: list[dict[str, Any]]) -> str:
    return f'<section class="family"><h3>{safe(title)} <small>{safe(sentence)}</small></h3>{listed(found)}</section>'


def listed(found: list[dict[str, Any]]) -> str:
    return f'<ul class="starts">{"".join(f"<li>{card(one)}</li>" for one in found)}</ul>'


def card(preset: dict[str, Any]) -> str:
    minutes = preset["minutes"]
    takes = f"About {minutes:g} minute{'' if minutes == 1 else 's'} · {preset['needs']}"
    lesson = rooms.load("methods", preset["method"]).TITLE
    return (f'<button type="button" data-preset="{safe(preset["name"])}"><small>{safe(lesson)}</small><strong>{safe(preset["title"])}</strong>'
            f'<span>{safe(preset["sentence"])}</span><small>{safe(takes)}</small></button>')  # fmt: skip


if __name__ == "__main__":
    alone(lambda: cards(presets.every()))
