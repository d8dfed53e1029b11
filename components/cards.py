"""Cards: the presets to choose from, as radio buttons that look like cards."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app import presets
from components.look import alone


def cards(every: list[dict[str, Any]]) -> gr.Radio:
    """One card for each preset, the first chosen."""
    choices = [(in_words(one), one["name"]) for one in every]
    return gr.Radio(choices, value=every[0]["name"], label="Start from", elem_classes="cards", elem_id="presets")


def in_words(preset: dict[str, Any]) -> str:
    """Title, sentence, and what it takes; the stylesheet makes the first line the title."""
    minutes = preset["minutes"]
    return f"{preset['title']}\n{preset['sentence']}\nAbout {minutes:g} minute{'' if minutes == 1 else 's'} · {preset['needs']}"


if __name__ == "__main__":
    alone(lambda: cards(presets.every()))
