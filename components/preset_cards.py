"""Cards: presets to start from, each with what it teaches and what it takes; what takes several lessons; and, once there are some, the last runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from app.core import registry
from app.data import compatible_methods
from app.setup import presets
from components.settings import MINUTE
from components.theme import alone, page, safe

HOW = [
    ("Choose", "A preset, a model and examples."),
    ("Check", "Every token that will be learned, before anything starts."),
    ("Watch", "The curve, and the answers as they change."),
    ("Try", "The model before and after, side by side."),
    ("Publish", "The result, if you like it: a small file."),
]


def cards(every: list[dict[str, Any]], chains: list[dict[str, Any]] = ()) -> gr.HTML:  # type: ignore[assignment]
    """By what a person wants: a line for each preset, which fills the form with it and goes there; and one for each chain."""
    how = "".join(f"<li><strong>{title}</strong> <span>{safe(sentence)}</span></li>" for title, sentence in HOW)
    script = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
    return page(f'<h2>Or start from <small>{safe(needs([*every, *chains]))}</small> <a class="way" href="#choose">Bring your own examples</a></h2><div class="families">{starts(every)}{ways(chains)}</div>'
                '<section class="lately" hidden><h2>Go on with</h2><ul></ul></section>'
                f'<section class="how"><h2>How it goes</h2><ol>{how}</ol></section>', elem_id="cards", js_on_load=script)  # fmt: skip


def needs(every: list[dict[str, Any]]) -> str:
    """Said once where all need the same."""
    found = {one["needs"] for one in every}
    return f"{found.pop()} will do, with the practice model." if len(found) == 1 else ""


def starts(every: list[dict[str, Any]]) -> str:
    """A card for each thing a person may want, in the order in which Choose asks it; in it the usual way first, then the quickest."""
    apart = len({one["needs"] for one in every}) > 1
    groups: dict[str, list[str]] = {name: [] for name in compatible_methods.FAMILIES}
    for one in sorted(every, key=lambda one: (one["name"] != MINUTE, compatible_methods.order(one["method"]))):
        line = row(one, f'data-preset="{safe(one["name"])}"', one["needs"] if apart else "")
        groups[compatible_methods.family(registry.load("methods", one["method"]))].append(line)
    return "".join(group(*compatible_methods.FAMILIES[name][:2], lines) for name, lines in groups.items() if lines)


def ways(chains: list[dict[str, Any]]) -> str:
    """What takes several lessons, each building on the one before."""
    lines = [row(one, f'data-chain="{safe(one["id"])}"') for one in chains]
    return group("In several lessons", "Each builds on the one before; all are compared at the end.", lines) if lines else ""  # fmt: skip


def group(title: str, sentence: str, lines: list[str]) -> str:
    found = "".join(f"<li>{line}</li>" for line in lines)
    return f'<section class="family"><h3>{safe(title)}</h3><small>{safe(sentence)}</small><ul>{found}</ul></section>'


def row(one: dict[str, Any], names: str, more: str = "") -> str:
    """One button: title, minutes, what it teaches; more: a word beside that."""
    aside = f"<small>{safe(more)}</small>" if more else ""
    return (f'<button type="button" {names}><strong>{safe(one["title"])}</strong><small class="minutes">{one["minutes"]:g} min</small>'
            f'<span>{safe(one["sentence"])}</span>{aside}</button>')  # fmt: skip


if __name__ == "__main__":
    alone(lambda: cards(presets.every()))
