"""Shell: the page's frame: the views, the row of steps, and the place in the address that says where one is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from components.theme import alone, page, safe

STEPS = {"choose": "Choose", "check": "Check", "watch": "Watch", "try": "Try", "publish": "Publish"}
VIEWS = ("start", *STEPS, "journey", "runs")

HEAD = f"<script>{Path(__file__).with_suffix('.js').read_text(encoding='utf-8')}</script>"

# Puts the run on the page into the first input of an event: the browser knows which one is open, the server keeps nothing.
HERE = "(_, ...rest) => [tunesmith.run, ...rest]"
WATCH = "(run) => { tunesmith.go('watch', run); return run; }"


@dataclass(frozen=True)
class Frame:
    """What every view shares. here: carries the id of the run on the page, see HERE."""

    here: gr.Textbox


@dataclass(frozen=True)
class View:
    """One view. opened: a button nobody sees, clicked by the shell whenever the view opens or shows another run."""

    column: gr.Column
    opened: gr.Button


def frame() -> Frame:
    return Frame(gr.Textbox(visible="hidden", elem_id="here"))


@contextlib.contextmanager
def view(name: str, heading: str = "", sentence: str = "") -> Iterator[View]:
    """A column that shows while the address's fragment names it."""
    assert name in VIEWS, f"there is no view called {name}"
    with gr.Column(elem_id=f"view-{name}", elem_classes="view") as column:
        if heading:
            page(f'<div class="words"><h1 tabindex="-1">{safe(heading)}</h1><p>{safe(sentence)}</p></div>')
        opened = gr.Button(visible="hidden", elem_id=f"opened-{name}")
        yield View(column, opened)


def steps() -> gr.HTML:
    """The way from a choice to a published result, one link for each step; shell.js keeps their states."""
    links = "".join(
        f'<li><a href="#{name}" data-step="{name}"><span class="mark" aria-hidden="true"></span>{title}</a></li>'
        for name, title in STEPS.items()
    )
    return page(f'<nav class="steps" aria-label="Steps"><ol>{links}</ol></nav>', elem_id="steps")


def example() -> None:
    frame()
    steps()
    for name in STEPS:
        with view(name, STEPS[name], "A view of its own."):
            pass


if __name__ == "__main__":
    alone(example, head=HEAD)
