"""Start: where an evening begins."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr

from components.shell import Frame, view


@dataclass(frozen=True)
class Start:
    """The pieces."""

    minute: gr.Button


def draw(_frame: Frame) -> Start:
    with view("start", "Teach a model something in a minute", "See exactly what it learns from before it learns it."):
        return Start(gr.Button("Try it in a minute", variant="primary", elem_id="minute"))
