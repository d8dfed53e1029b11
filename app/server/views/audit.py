"""Audit: the part of Check that looks at all examples: by itself where that is quick, and otherwise when somebody asks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.core import registry
from app.core.problems import Problem
from app.server.error_boundary import QUIET, Updates, safely, steadily
from app.setup.knob import describe
from app.setup.spec import Spec
from app.worker.client import Worker
from components import tokens
from components.audit import JS, audit
from components.theme import page, safe
from components.tokens import way_of

QUICK = 20_000  # rows that are looked at without being asked
LENGTHS = [1, 1_000_000]  # of a maximum length, where its method says nothing
NOTE_JS = "element.addEventListener('click', event => { if (event.target.closest('button')) { tunesmith.wanted = ''; document.querySelector('#audit-open').click(); } });"  # fmt: skip


@dataclass(frozen=True)
class Audit:
    """The pieces. note: which examples the view of tokens shows, when they are not the first ones.

    go, open: buttons nobody sees, which audit.js clicks; wanted: the examples that are to be opened.
    """

    shown: gr.HTML
    note: gr.HTML
    go: gr.Button
    open: gr.Button
    wanted: gr.Textbox


def note() -> gr.HTML:
    return page(elem_id="audit-note", elem_classes="audit-note", js_on_load=NOTE_JS)


def draw(noted: gr.HTML) -> Audit:
    shown = page(audit({"state": "none"}), elem_id="audit", js_on_load=JS)
    go, opened = gr.Button(visible="hidden", elem_id="audit-go"), gr.Button(visible="hidden", elem_id="audit-open")
    return Audit(shown, noted, go, opened, gr.Textbox(visible="hidden", elem_id="audit-wanted"))


def wire(parts: Audit, worker: Worker, visit: gr.State, example: gr.HTML, notice: gr.HTML,
         current: Callable[..., Iterator[Updates]], first: Callable[[Any], Updates]) -> None:  # fmt: skip
    """current: the news of a look until a newer one begins; first: the first examples again."""

    def go(visited: Any) -> Iterator[Updates]:
        if visited.spec:
            yield from current(look(parts, worker, visited.spec), visited)

    def see(wanted: str, visited: Any) -> Updates:
        if not visited.spec:
            return {}
        return opened(parts, worker, visited.spec, example, wanted) if wanted else first(visited) | {parts.note: ""}

    parts.go.click(steadily(go, notice), visit, [notice, visit, parts.shown], **QUIET)
    parts.open.click(safely(see, notice), [parts.wanted, visit], [notice, example, parts.note],
                     js="(_, ...rest) => [tunesmith.wanted ?? '', ...rest]", trigger_mode="multiple", **QUIET)  # fmt: skip


def offer(parts: Audit, worker: Worker, spec: Spec, rows: int | None) -> Iterator[Updates]:
    """The look itself where it is quick; else a button for it."""
    if rows is not None and rows <= QUICK:
        yield from look(parts, worker, spec)
    else:
        yield {parts.shown: audit({"state": "asked"})}


def look(parts: Audit, worker: Worker, spec: Spec) -> Iterator[Updates]:
    """How far it is, and what was found; what was found before is there at once."""
    try:
        for part in worker.audit(spec):
            if "done" in part:
                told = {"state": "done", "result": part["done"], "limits": limits(spec)}
                yield {parts.shown: audit(told)}
            elif "progress" in part:
                yield {parts.shown: audit({"state": "busy", "progress": part["progress"]})}
    except Problem as problem:  # it is said where it happened; the examples above stay
        yield {parts.shown: audit({"state": "refused", "text": f"{problem.text} {problem.advice}".strip()})}


def limits(spec: Spec) -> list[float]:
    """The least and the most that a maximum length may be."""
    known = next(
        (one for one in describe(registry.load("methods", spec.method).Knobs) if one["name"] == "max_length"), {}
    )
    return [known.get("low") or LENGTHS[0], known.get("high") or LENGTHS[1]]


def opened(parts: Audit, worker: Worker, spec: Spec, example: gr.HTML, wanted: str) -> Updates:
    """The examples of a finding, token by token, the one that was asked for first."""
    asked = json.loads(wanted)
    numbers = [int(one) for one in asked["rows"]][:20]
    answer = worker.ask("rows", spec=spec.to_dict(), rows=len(numbers), numbers=numbers) | {"of": len(numbers)}
    said = f"{safe(asked['text'])} <button type='button' class='back'>Back to the first examples</button>"
    return {example: tokens.viewer(answer, way_of(registry.load("methods", spec.method))), parts.note: f"<p>{said}</p>"}
