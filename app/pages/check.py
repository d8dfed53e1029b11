"""Check: what the model will learn from, token by token, as the trainer itself prepares it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app import preflight
from app.pages.border import QUIET, Updates, safely
from app.pages.choose import Choose, chosen
from app.preview import Worker
from components import notices, tokens
from components.look import page
from components.shell import Frame, view

ROWS = 50


@dataclass(frozen=True)
class Check:
    """The pieces. rows: the examples shown, as the worker told them; at: which of them."""

    rows: gr.State
    at: gr.State
    count: gr.HTML
    example: gr.HTML
    findings: gr.HTML
    previous: gr.Button
    following: gr.Button

    @property
    def shown(self) -> list[Any]:
        return [self.rows, self.at, self.count, self.example, self.findings]


def draw(_frame: Frame) -> Check:
    with view("check", "Check", "This is what the model reads, and what of it is learned."):
        count = page(elem_id="count")
        example = page(tokens.WAITING, elem_id="example", js_on_load=tokens.KEYS)
        page(tokens.LEGEND)
        with gr.Row(elem_classes="actions"):
            previous = gr.Button("‹ Previous example", elem_id="previous")
            following = gr.Button("Next example ›", elem_id="next")
        findings = page(elem_id="findings")
    return Check(gr.State([]), gr.State(0), count, example, findings, previous, following)


def wire(parts: Check, choose: Choose, worker: Worker) -> None:
    def look(setup: dict[str, Any], *fields: Any) -> Updates:
        answer = worker.rows(preflight.check(chosen(choose, setup, fields)), ROWS)
        found = {parts.rows: answer["rows"], parts.findings: notices.findings(answer["findings"])}
        return found | show(parts, answer["rows"], 0)

    def turn(by: int) -> Any:
        return lambda rows, at: show(parts, rows, (at + by) % max(1, len(rows)))

    outputs = [choose.notice, *parts.shown]
    asked = choose.check.click(lambda: open_empty(parts), None, parts.shown, js=OPEN, **QUIET)
    asked.then(safely(look, choose.notice), [choose.setup, *choose.fields], outputs, **QUIET)
    for button, by in ((parts.previous, -1), (parts.following, 1)):
        button.click(turn(by), [parts.rows, parts.at], [parts.at, parts.count, parts.example], **QUIET)


OPEN = "() => { tunesmith.go('check'); return []; }"


def open_empty(parts: Check) -> Updates:
    """The section at its final size while the worker reads: the first look waits for its libraries."""
    return {parts.rows: [], parts.at: 0, parts.count: "",
            parts.example: tokens.WAITING, parts.findings: ""}  # fmt: skip


def show(parts: Check, rows: list[dict[str, Any]], at: int) -> Updates:
    if not rows:
        return {parts.at: 0, parts.count: "", parts.example: ""}
    return {parts.at: at, parts.count: tokens.count_html(rows, at), parts.example: tokens.example_html(rows[at])}
