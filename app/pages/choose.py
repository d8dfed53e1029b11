"""Choose: a preset or a shared link fills the setup, and a small form changes it. Nothing here starts anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app import presets, rooms, share
from app.pages.border import QUIET, Updates, safely
from app.spec import Spec, read
from components import notices
from components.cards import cards
from components.look import page
from components.plan import plan
from components.settings import form
from components.shell import Frame, view

BY_LINK = "This setup came by a link. Nothing has started. Look it over before you start it."


@dataclass(frozen=True)
class Choose:
    """The pieces. setup: the Spec chosen, as plain data; forms: by method, the settings laid over it."""

    setup: gr.State
    presets: gr.Radio
    plan: gr.HTML
    notice: gr.HTML
    groups: dict[str, gr.Column]
    forms: dict[str, dict[str, Any]]
    check: gr.Button
    start: gr.Button

    @property
    def fields(self) -> list[Any]:
        return [field for form in self.forms.values() for field in form.values()]

    @property
    def filled(self) -> list[Any]:
        """What a chosen setup changes on the page."""
        return [self.setup, self.plan, self.notice, *self.groups.values(), *self.fields]


def draw(_frame: Frame) -> Choose:
    every = presets.every()
    spec = presets.spec(every[0]["name"])
    with view("choose", "Choose", "Start from one of these and change what you like."):
        menu = cards(every)
        notice = page(elem_id="choose-notice")
        summary = page(plan(spec), elem_id="plan")
        groups, forms = draw_forms(spec)
        with gr.Row(elem_classes="actions"):
            start = gr.Button("Start training", variant="primary", elem_id="start")
            check = gr.Button("Check the examples", elem_id="check")
    return Choose(gr.State(spec.to_dict()), menu, summary, notice, groups, forms, check, start)


def draw_forms(spec: Spec) -> tuple[dict[str, gr.Column], dict[str, dict[str, Any]]]:
    """A form for each method, one of them visible: the page needs no second trip to show it."""
    groups, forms = {}, {}
    for method in rooms.choices("methods"):
        chosen = method == spec.method
        with gr.Column(visible=chosen, elem_classes="settings", elem_id=f"settings-{method}") as groups[method]:
            forms[method] = form(method, spec.knobs if chosen else {})
    return groups, forms


def wire(demo: gr.Blocks, parts: Choose) -> None:
    def choose(name: str) -> Updates:
        return fill(parts, presets.spec(name))

    def arrive(request: gr.Request) -> Updates:
        code = request.query_params.get(share.PARAMETER)
        return open_link(parts, code) if code else {}

    parts.presets.input(safely(choose, parts.notice), parts.presets, parts.filled, **QUIET)
    demo.load(safely(arrive, parts.notice), None, [parts.presets, *parts.filled], **QUIET)


def open_link(parts: Choose, code: str) -> Updates:
    """Fills the form and says where it came from; no preset is chosen any more."""
    return fill(parts, share.decode(code)) | {parts.presets: None, parts.notice: notices.note(BY_LINK)}


def fill(parts: Choose, spec: Spec) -> Updates:
    shown = {group: gr.update(visible=method == spec.method) for method, group in parts.groups.items()}
    values = {field: spec.knobs.get(name) for name, field in parts.forms[spec.method].items()}
    return {parts.setup: spec.to_dict(), parts.plan: plan(spec)} | shown | values


def chosen(parts: Choose, setup: dict[str, Any], fields: tuple[Any, ...]) -> Spec:
    """The setup with its method's form laid over it; an emptied field means the default. Raises Problem."""
    values = dict(zip(parts.fields, fields, strict=True))
    changed = {name: values[field] for name, field in parts.forms[setup["method"]].items()}
    return read(setup | {"knobs": setup["knobs"] | changed})
