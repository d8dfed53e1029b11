"""Shell of the page: the views, of which the address's fragment shows one, and the navigation between the steps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import gradio as gr

from components.theme import escape, html_block, launch_demo

STEP_TITLES = {"choose": "Choose", "check": "Check", "watch": "Watch", "try": "Try", "publish": "Publish"}
VIEW_NAMES = ("start", *STEP_TITLES, "journey", "runs", "words")

# Puts the id of the open run into an event's first input: the browser knows which run is open, the server does not.
RUN_ID_INPUT_JS = "(_, ...rest) => [tunesmith.run, ...rest]"
OPEN_WATCH_JS = "(run) => { tunesmith.go('watch', run); return run; }"


@dataclass(frozen=True)
class SharedComponents:
    """Components that all views share. run_id: carries the id of the open run, see RUN_ID_INPUT_JS."""

    run_id: gr.Textbox


@dataclass(frozen=True)
class ViewContainer:
    """Container of a view. open_trigger: hidden button that shell.js clicks when the view opens or its run changes."""

    column: gr.Column
    open_trigger: gr.Button


def build_shared_components() -> SharedComponents:
    """Builds what all views share; call it once, before the views."""
    return SharedComponents(gr.Textbox(visible="hidden", elem_id="here"))


@contextlib.contextmanager
def build_view(name: str, heading: str = "", sentence: str = "") -> Iterator[ViewContainer]:
    """A column that is visible while the address's fragment names it. Fills it in a `with` statement."""
    assert name in VIEW_NAMES, f"there is no view called {name}"
    with gr.Column(elem_id=f"view-{name}", elem_classes="view") as column:
        if heading:
            html_block(f'<div class="words"><h1 tabindex="-1">{escape(heading)}</h1><p>{escape(sentence)}</p></div>')
        opened = gr.Button(visible="hidden", elem_id=f"opened-{name}")
        yield ViewContainer(column, opened)


def build_step_nav() -> gr.HTML:
    """Navigation with one link for each step; shell.js updates their states."""
    links = "".join(
        f'<li><a href="#{name}" data-step="{name}"><span class="mark" aria-hidden="true"></span>{title}</a></li>'
        for name, title in STEP_TITLES.items()
    )
    return html_block(f'<nav class="steps" aria-label="Steps"><ol>{links}</ol></nav>', elem_id="steps")


def _demo() -> None:
    build_shared_components()
    build_step_nav()
    for name in STEP_TITLES:
        with build_view(name, STEP_TITLES[name], "A view of its own."):
            pass


if __name__ == "__main__":
    launch_demo(_demo)
