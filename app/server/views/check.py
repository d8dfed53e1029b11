"""Check: what the model will learn from, token by token, as the trainer itself prepares it, and the button that starts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.core import registry
from app.core.problems import Problem
from app.data import files
from app.planning import preflight
from app.server.error_boundary import QUIET, Updates, safely, steadily
from app.server.launch import begin
from app.server.views import audit
from app.server.views.choose import Choose, chosen
from app.server.views.dry_run import TRY, let_it_try
from app.setup import models
from app.setup.spec import Spec
from app.worker.client import Worker
from components import batches, dataset_stats, dry_run, notices, start_bar, tokens
from components.plan import model_of, title_of
from components.shell import Frame, view
from components.theme import page, safe
from components.tokens import way_of

FIRST, MOST = 50, 500  # examples of the first look, and of all


@dataclass
class Visit:
    """What one visitor's view shows. looks: counts them, so that an older look that ends later says nothing.

    key: of the setup on the page; packed: of the one whose batches are shown; promise: what starting would do.
    """

    looks: int = 0
    key: str = ""
    packed: str = ""
    promise: str = start_bar.UNKNOWN
    spec: Spec | None = None


@dataclass(frozen=True)
class Check:
    """The pieces, from above."""

    opened: gr.Button
    visit: gr.State
    setup: gr.HTML
    notice: gr.HTML
    tabs: gr.Tabs
    packed: gr.Tab
    example: gr.HTML
    more: gr.Button
    batches: gr.HTML
    findings: gr.HTML
    trial: gr.Column
    tried: gr.HTML
    attempt: gr.Button
    whole: gr.HTML
    audit: audit.Audit
    refusal: gr.HTML
    promise: gr.HTML
    start: gr.Button

    @property
    def looked(self) -> list[Any]:
        """What a look changes."""
        return [self.visit, self.setup, self.notice, self.tabs, self.example, self.batches, self.findings,
                self.trial, self.tried, self.attempt, self.whole, self.audit.shown, self.audit.note, self.refusal, self.promise, self.start]  # fmt: skip


def draw(_frame: Frame) -> Check:
    with view("check", "Check", "This is what the model reads, and what of it is learned.") as place:
        setup, notice = page(elem_id="check-setup"), page(elem_id="check-notice")
        page(notices.WAY, elem_id="check-way", js_on_load=notices.WAY_JS)
        noted = audit.note()
        with gr.Tabs(selected="examples", elem_id="check-tabs") as tabs:
            with gr.Tab("Examples", id="examples"):
                example = page(tokens.viewer(None), elem_id="example", js_on_load=tokens.JS)
                more = gr.Button(visible="hidden", elem_id="check-more")
            with gr.Tab("Batches", id="batches") as packed:
                page(f'<p class="quiet">{batches.EXPLAINED}</p>')
                shown = page(batches.batches(None), elem_id="batches", js_on_load=tokens.JS)
        findings = page(elem_id="findings", elem_classes="found")
        with gr.Column(visible=False, elem_id="trial") as trial:
            tried = page(dry_run.invitation(), elem_id="tried")
            attempt = gr.Button(TRY, elem_id="attempt")
        counted = page(dataset_stats.whole(None), elem_id="whole")
        audited = audit.draw(noted)
        refusal, promise, start = bar()
    return Check(place.opened, gr.State(Visit()), setup, notice, tabs, packed, example, more, shown, findings, trial,
                 tried, attempt, counted, audited, refusal, promise, start)  # fmt: skip


def bar() -> tuple[gr.HTML, gr.HTML, gr.Button]:
    """Stays in sight: why it cannot start, what starting does, and the button."""
    with gr.Column(elem_classes="start-bar"):
        refusal = page(elem_id="start-notice")
        with gr.Row(elem_classes="row"):
            promise = page(start_bar.COUNTING, elem_id="promise")
            start = gr.Button("Start training", variant="primary", elem_id="begin")
    return refusal, promise, start


def wire(frame: Frame, parts: Check, choose: Choose, worker: Worker) -> None:
    form = [choose.setup, *choose.fields]

    def look(visit: Visit, setup: dict[str, Any], *fields: Any) -> Iterator[Updates]:
        yield from look_at(parts, worker, visit, lambda: preflight.check(chosen(choose, setup, fields)))

    def see_more(visit: Visit) -> Updates:
        return {parts.example: tokens.viewer(worker.rows(visit.spec, MOST), way(visit.spec), at=FIRST)}

    def attempt(visit: Visit) -> Iterator[Updates]:
        yield from current(let_it_try(parts, worker, visit.spec), visit)

    choose.check.click(None, None, None, js="() => tunesmith.go('check')", **QUIET)
    parts.opened.click(
        steadily(look, parts.notice), [parts.visit, *form], parts.looked, trigger_mode="multiple", **QUIET
    )
    parts.more.click(safely(see_more, parts.notice), parts.visit, [parts.notice, parts.example], **QUIET)
    parts.packed.select(
        steadily(lambda visit: current(see_batches(parts, worker, visit), visit), parts.notice),
        parts.visit, [parts.notice, parts.batches], **QUIET,
    )  # fmt: skip
    parts.attempt.click(
        steadily(attempt, parts.notice), parts.visit, [parts.notice, parts.tried, parts.attempt], **QUIET
    )
    audit.wire(parts.audit, worker, parts.visit, parts.example, parts.notice, current,
               lambda visit: see_rows(parts, worker, visit.spec))  # fmt: skip
    wire_start(frame, parts, choose)


def wire_start(frame: Frame, parts: Check, choose: Choose) -> None:
    """The button rests, without a trip to the server, until the run has begun or was refused: no second click counts."""

    def start(setup: dict[str, Any], *fields: Any) -> Updates:
        return {frame.here: begin(chosen(choose, setup, fields))}

    def rested(visit: Visit) -> Updates:
        return {parts.start: gr.update(interactive=True), parts.promise: visit.promise}

    begun = safely(start, parts.refusal)
    parts.start.click(None, None, [parts.start, parts.promise, frame.here], js=REST, **QUIET).then(
        begun, [choose.setup, *choose.fields], [parts.refusal, frame.here], **QUIET
    ).then(None, frame.here, None, js=WATCH, **QUIET).then(
        rested, parts.visit, [parts.start, parts.promise], **QUIET
    )  # fmt: skip


REST = f"() => [{{__type__: 'update', interactive: false}}, {json.dumps(start_bar.STARTING)}, '']"
WATCH = "(run) => { if (run) tunesmith.go('watch', run); }"


def look_at(parts: Check, worker: Worker, visit: Visit, spec_of: Callable[[], Spec]) -> Iterator[Updates]:
    """The examples, then the count of the whole data, then, where it is quick, a dry run. Nothing when all that is shown."""
    try:
        spec = spec_of()
        key = key_of(spec)
    except Problem:
        visit.looks, visit.key = visit.looks + 1, ""
        yield nothing(parts, visit)
        raise
    if key == visit.key:
        return
    visit.looks, visit.key, visit.packed, visit.spec = visit.looks + 1, key, "", spec
    yield busy(parts, visit)
    try:
        yield from current(see(parts, worker, visit), visit)
    except Problem:
        if visit.promise == start_bar.UNKNOWN:  # what is shown already stays
            yield nothing(parts, visit) | {parts.setup: setup_line(spec)}
        raise


def current(news: Iterator[Updates], visit: Visit) -> Iterator[Updates]:
    """The news of a look, until a newer look has begun: what an older one still has to say, problems too, is void."""
    number = visit.looks
    try:
        for updates in news:
            if visit.looks != number:
                return
            yield updates
    except Problem:
        if visit.looks != number:
            return
        visit.key = ""  # the next visit looks again
        raise


def see(parts: Check, worker: Worker, visit: Visit) -> Iterator[Updates]:
    yield see_rows(parts, worker, visit.spec)
    plan = worker.plan(visit.spec)
    visit.promise = start_bar.promise(plan)
    yield {parts.whole: dataset_stats.whole(plan, way(visit.spec)), parts.promise: visit.promise}
    yield from audit.offer(parts.audit, worker, visit.spec, plan["rows"])
    if earns(visit.spec) and visit.spec.model.id in models.SHIPPED:  # quick enough to try without being asked
        yield from let_it_try(parts, worker, visit.spec, patient=False)


def see_rows(parts: Check, worker: Worker, spec: Spec) -> Updates:
    answer = worker.rows(spec, FIRST)
    return {parts.example: tokens.viewer(answer, way(spec), more=f"#{parts.more.elem_id}"),
            parts.findings: f"<h2>What was found</h2>{notices.findings(answer['findings'])}"}  # fmt: skip


def see_batches(parts: Check, worker: Worker, visit: Visit) -> Iterator[Updates]:
    """Once for each setup."""
    if visit.spec and visit.packed != visit.key:
        yield {parts.batches: batches.batches(None, way(visit.spec))}
        answer = worker.batches(visit.spec)
        visit.packed = visit.key
        yield {parts.batches: batches.batches(answer, way(visit.spec))}


def busy(parts: Check, visit: Visit) -> Updates:
    """Everything at its final size while the worker reads: the first look waits for its libraries."""
    spec = visit.spec
    reading = tokens.FETCHING if fetches(spec) else tokens.READING
    visit.promise = start_bar.UNKNOWN
    return {
        parts.setup: setup_line(spec), parts.tabs: gr.Tabs(selected="examples"),
        parts.example: tokens.viewer(None, way(spec), reading=reading), parts.batches: batches.batches(None, way(spec)), parts.findings: "",
        parts.trial: gr.update(visible=earns(spec)), parts.tried: dry_run.invitation(), parts.attempt: gr.update(value=TRY, interactive=True),
        parts.whole: dataset_stats.whole(None), parts.audit.shown: audit.audit({"state": "busy"}), parts.audit.note: "", parts.refusal: "", parts.promise: start_bar.COUNTING,
        parts.start: gr.update(interactive=True),
    }  # fmt: skip


def nothing(parts: Check, visit: Visit) -> Updates:
    """What stands there when the setup cannot be read: what would be seen, and the way back."""
    visit.promise, visit.spec = start_bar.UNKNOWN, None
    return {
        parts.setup: "", parts.tabs: gr.Tabs(selected="examples"),
        parts.example: tokens.viewer({"rows": []}), parts.batches: tokens.viewer({"rows": []}), parts.findings: "", parts.trial: gr.update(visible=False),
        parts.whole: "", parts.audit.shown: audit.audit({"state": "none"}), parts.audit.note: "", parts.refusal: "", parts.promise: visit.promise, parts.start: gr.update(interactive=False),
    }  # fmt: skip


def setup_line(spec: Spec) -> str:
    """What is looked at, and the way back to change it."""
    data = ", ".join(title_of(source) for source in spec.data)
    said = " · ".join(filter(None, [spec.title, registry.load("methods", spec.method).TITLE, model_of(spec), data]))
    return f'<p class="setup">{safe(said)} · <a class="way" href="#choose">Change</a></p>'


def key_of(spec: Spec) -> str:
    """The setup, and the files it names as they are now."""
    found = files.files_of(spec).values()
    return f"{spec.to_json()}{[(file.stat().st_mtime_ns, file.stat().st_size) for file in found]}"


def earns(spec: Spec) -> bool:
    """Whether the method writes its own answers and learns from their rewards."""
    return getattr(registry.load("methods", spec.method), "NEEDS_REWARDS", False)


def way(spec: Spec) -> str:
    return way_of(registry.load("methods", spec.method))


def fetches(spec: Spec) -> bool:
    """Whether something has to come from the Hub first."""
    return models.locate(spec.model.id) == spec.model.id or any(one.source.startswith("hub:") for one in spec.data)
