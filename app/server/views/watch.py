"""Watch: a run as it goes: how far, its curves, its answers, its log, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.core import registry
from app.core.problems import Problem
from app.runs import store
from app.runs.store import Run
from app.server.error_boundary import QUIET, Updates, safely
from components import curves, log, progress, samples
from components.shell import Frame, view
from components.theme import page

RESUMABLE = ("new", "stopped", "failed", "lost")
TRY = "() => { tunesmith.go('try'); return []; }"
REUSE = "() => { tunesmith.asked = { run: tunesmith.run, text: '' }; document.querySelector('#runs-again').click(); return []; }"


@dataclass(frozen=True)
class Watch:
    """The pieces a person can act on; everything shown comes over the page's stream, and the server keeps none of it."""

    frame: Frame
    notice: gr.HTML
    stop: gr.Button
    save: gr.Button
    resume: gr.Button
    again: gr.Button
    attempt: gr.Button
    reuse: gr.Button


def draw(frame: Frame) -> Watch:
    with view("watch", "Watch", "Closing this page does not stop a run."):
        progress.empty(elem_id="no-run")
        progress.progress(elem_id="progress", elem_classes="of-a-run")
        with gr.Row(elem_classes="actions of-a-run", elem_id="watch-actions"):
            stop = gr.Button("Stop and save", variant="primary", elem_id="stop")
            save = gr.Button("Save now", elem_id="save")
            resume = gr.Button("Resume", variant="primary", elem_id="resume")
            again = gr.Button("Start again", variant="primary", elem_id="again")
            attempt = gr.Button("Try it", variant="primary", elem_id="try-it")
            reuse = gr.Button("Use this setup again", elem_id="reuse")
        notice = page(elem_id="watch-notice", elem_classes="of-a-run")
        curves.curves(elem_id="curves", elem_classes="of-a-run")
        samples.answers(elem_id="answers", elem_classes="of-a-run")
        log.log(elem_id="log", elem_classes="of-a-run")
    return Watch(frame, notice, stop, save, resume, again, attempt, reuse)


def wire(parts: Watch) -> None:
    deeds = ((parts.stop, "stop", ask("stop")), (parts.save, "save", ask("save")), (parts.resume, "resume", resume),
             (parts.again, "again", resume))  # fmt: skip
    for button, name, deed in deeds:
        button.click(safely(deed, parts.notice), parts.frame.here, parts.notice, js=asked(name), **QUIET)
    parts.attempt.click(None, None, None, js=TRY, **QUIET)
    parts.reuse.click(None, None, None, js=REUSE, **QUIET)


def asked(name: str) -> str:
    """Says at once that it was asked, and sends the run: the answer may take as long as a step."""
    return f"(_) => {{ document.dispatchEvent(new CustomEvent('tunesmith:asked', {{ detail: '{name}' }})); return tunesmith.run; }}"


def ask(command: str) -> Callable[[str], Updates]:
    def deed(name: str) -> Updates:
        run = store.exact(name)
        if not store.alive(run):
            raise Problem("This run is not running any more.", advice="What it saved is kept.")
        backend_of(run).control(run.handle, command)
        return {}

    deed.__name__ = command
    return deed


def resume(name: str) -> Updates:
    """Goes on from the last checkpoint, from the beginning where there is none. Raises Problem for a run that runs or is finished."""
    run = store.exact(name)
    state = store.state(run, store.alive(run))
    if state not in RESUMABLE:
        raise Problem(f"This run is {state}, so there is nothing to resume.", advice="Start a new one from Choose.")
    backend_of(run).start(run, run.launch)
    return {}


def backend_of(run: Run) -> Any:
    return registry.load("backends", run.handle.get("backend", "local"))
