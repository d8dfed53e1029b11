"""Dry run: the untrained model answers some prompts, so that a person sees its rewards before training."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr

from app.core.problems import Problem
from app.engine.questions.dry_run import Question as DryRunQuestion
from app.server.error_boundary import Updates
from app.setup.spec import Spec
from app.worker.client import WorkerClient
from components import dry_run

TRY_LABEL, _TRY_AGAIN_LABEL = "Let the untouched model try", "Let it try again"
_PROMPTS, _ATTEMPTS = 8, 4


def stream_dry_run(
    report: gr.HTML, button: gr.Button, worker: WorkerClient, spec: Spec, wants_to_wait: bool = True
) -> Iterator[Updates]:
    """Updates of a dry run. wants_to_wait: waits for a busy device; else the dry run is given up."""
    idle_updates: Updates = {
        report: dry_run.render_dry_run_invitation(),
        button: gr.update(interactive=True),
    }
    yield {
        report: dry_run.render_dry_run_progress(0, 0),
        button: gr.update(interactive=False),
    }
    try:
        for message in worker.stream(DryRunQuestion(spec, prompts=_PROMPTS, attempts=_ATTEMPTS)):
            if "done" in message:
                idle_updates = {
                    report: dry_run.render_dry_run(message["done"]),
                    button: gr.update(value=_TRY_AGAIN_LABEL, interactive=True),
                }
            elif "progress" in message:
                yield {report: dry_run.render_dry_run_progress(message["progress"]["done"], message["progress"]["of"])}
            elif wants_to_wait:
                yield {report: dry_run.render_dry_run_progress(0, 0, message["waiting"])}
            else:
                break
    except Problem:
        yield idle_updates
        raise
    yield idle_updates
