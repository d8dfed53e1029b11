"""Shell of the page: the views, of which the address's fragment shows one, and the navigation between the steps."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import gradio as gr

from components import scripts
from components.theme import escape, html_block, launch_demo

STEP_TITLES = {"choose": "Choose", "check": "Check", "watch": "Watch", "try": "Try", "publish": "Publish"}
RUN_TAB = "setup"  # beside the steps while a run is open
VIEW_NAMES = ("start", *STEP_TITLES, RUN_TAB, "journey", "runs", "words")


@dataclass(frozen=True)
class ViewContainer:
    """Container of a view. heading: has an event `select` when the view opens or its run changes, with `run`, the run's id."""

    column: gr.Column
    heading: gr.HTML


@contextlib.contextmanager
def build_view(name: str, heading: str = "", sentence: str = "") -> Iterator[ViewContainer]:
    """A column that is visible while the address's fragment names it. Fills it in a `with` statement."""
    assert name in VIEW_NAMES, f"there is no view called {name}"
    heading_html = f'<div class="words"><h1 tabindex="-1">{escape(heading)}</h1><p>{escape(sentence)}</p></div>'
    with gr.Column(elem_id=f"view-{name}", elem_classes="view") as column:
        yield ViewContainer(
            column,
            html_block(
                heading_html if heading else "",
                visible=True if heading else "hidden",
                js_on_load=scripts.on_load("shell", "mountHeading"),
                view=name,
            ),
        )


def build_step_nav() -> gr.HTML:
    """Navigation with one link for each step; shell.js updates their states. Its value is the id of the open run.

    The browser knows which run is open, from the address, and sets the value; events take it as their input. A handler
    that starts a run sets it, and the browser opens that run.
    """
    links = "".join(
        f'<li><a href="#{name}" data-step="{name}"><span class="mark" aria-hidden="true"></span>{title}</a></li>'
        for name, title in STEP_TITLES.items()
    )
    run_tab = f'<li class="run-tab"><a href="#{RUN_TAB}" data-step="{RUN_TAB}">Setup</a></li>'
    return gr.HTML(
        "",
        html_template=f'<nav class="steps" aria-label="Steps"><ol>{links}{run_tab}</ol></nav>',
        apply_default_css=False,
        elem_id="steps",
        js_on_load=scripts.on_load("shell", "mountNavigation"),
    )


def _demo() -> None:
    build_step_nav()
    for name in STEP_TITLES:
        with build_view(name, STEP_TITLES[name], "A view of its own."):
            pass


if __name__ == "__main__":
    launch_demo(_demo)
