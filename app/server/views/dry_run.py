"""Trial: the untouched model tries some prompts, so that a person sees what there is to earn before anything is learned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from app.core.problems import Problem
from app.server.error_boundary import Updates
from app.setup.spec import Spec
from app.worker.client import Worker
from components import dry_run

TRY, AGAIN = "Let the untouched model try", "Let it try again"
TRIED = {"prompts": 8, "attempts": 4}


def let_it_try(parts: Any, worker: Worker, spec: Spec, patient: bool = True) -> Iterator[Updates]:
    """A dry run as it goes. Who did not ask for it (not patient) does not wait for the device."""
    rested = {parts.tried: dry_run.invitation(), parts.attempt: gr.update(interactive=True)}
    yield {parts.tried: dry_run.going(0, 0), parts.attempt: gr.update(interactive=False)}
    try:
        for part in worker.stream("dry_run", spec=spec.to_dict(), **TRIED):
            if "done" in part:
                rested = {
                    parts.tried: dry_run.dry_run(part["done"]),
                    parts.attempt: gr.update(value=AGAIN, interactive=True),
                }
            elif "progress" in part:
                yield {parts.tried: dry_run.going(part["progress"]["done"], part["progress"]["of"])}
            elif patient:
                yield {parts.tried: dry_run.going(0, 0, part["waiting"])}
            else:
                break
    except Problem:
        yield rested
        raise
    yield rested
