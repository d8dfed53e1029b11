"""Watch: a run as it goes: how far, its curves, its answers, and the button that stops and saves it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app import events, preflight, rooms, runs
from app.curves import series
from app.pages.border import QUIET, Updates, safely
from app.pages.choose import Choose, chosen
from app.runs import Run
from app.spec import Launch
from components import curves
from components.answers import answers
from components.look import page
from components.progress import last, progress
from components.shell import Frame, view

LISTED = 50  # newest runs in the menu
EVERY = 1.0  # seconds between two looks at a living run


@dataclass(frozen=True)
class Watch:
    """The pieces. seen: what of which run is on the page, so that a tick without news sends nothing."""

    runs: gr.Dropdown
    notice: gr.HTML
    progress: gr.HTML
    loss: gr.Plot
    score: gr.Plot
    answers: gr.HTML
    stop: gr.Button
    timer: gr.Timer
    seen: gr.State

    @property
    def shown(self) -> list[Any]:
        return [self.runs, self.notice, self.progress, self.loss, self.score, self.answers, self.stop,
                self.timer, self.seen]  # fmt: skip


def draw(_frame: Frame) -> Watch:
    with view("watch", "Watch", "Closing this page does not stop a run."):
        with gr.Row(elem_classes="heading"):
            menu = gr.Dropdown([], label="Run", filterable=False, elem_id="runs")
        notice = page(elem_id="watch-notice")
        state = page(elem_id="progress")
        with gr.Row(elem_classes="actions"):
            stop = gr.Button("Stop and save", elem_id="stop", interactive=False)
        with gr.Row():
            loss = gr.Plot(show_label=False, elem_classes="curve", elem_id="loss", min_width=300)
            score = gr.Plot(show_label=False, elem_classes="curve", elem_id="score", min_width=300, visible=False)
        said = page(elem_id="answers")
    return Watch(menu, notice, state, loss, score, said, stop, gr.Timer(EVERY, active=False), gr.State(None))


def wire(demo: gr.Blocks, parts: Watch, choose: Choose) -> None:
    def begin(setup: dict[str, Any], *fields: Any) -> Updates:
        spec, launch = preflight.check(chosen(choose, setup, fields)), Launch()
        run = runs.create(spec, launch)
        rooms.load("backends", launch.machine.partition(":")[0]).start(run, launch)
        return menu(parts, run.id) | look(parts, run.id, None)

    def arrive() -> Updates:
        found = runs.every()[:1]
        return menu(parts, found[0].id) | look(parts, found[0].id, None) if found else {}

    def tick(name: str, seen: Any) -> Updates:
        return look(parts, name, seen)

    def ask_to_stop(name: str) -> Updates:
        backend_of(runs.find(name)).control(runs.find(name).handle, "stop")
        return {parts.stop: gr.update(interactive=False, value="Stopping …")}

    started = choose.start.click(
        safely(begin, choose.notice), [choose.setup, *choose.fields], [choose.notice, *parts.shown], **QUIET
    )
    started.success(None, None, None, js=OPEN, **QUIET)
    demo.load(safely(arrive, parts.notice), None, parts.shown, **QUIET)
    parts.runs.input(safely(lambda name: look(parts, name, None), parts.notice), parts.runs, parts.shown, **QUIET)
    parts.timer.tick(safely(tick, parts.notice), [parts.runs, parts.seen], parts.shown, queue=False, **QUIET)
    parts.stop.click(safely(ask_to_stop, parts.notice), parts.runs, [parts.notice, parts.stop], **QUIET)


OPEN = "() => { tunesmith.go('watch'); return []; }"


def menu(parts: Watch, name: str) -> Updates:
    choices = [(title(run.id), run.id) for run in runs.every()[:LISTED]]
    return {parts.runs: gr.update(choices=choices, value=name)}


def title(name: str) -> str:
    """First tune, 22 Nov 15:30: read from the id alone, so that a list of runs opens no file."""
    day, clock, *words, _ = name.split("-")
    when = time.strptime(f"{day}{clock}", "%Y%m%d%H%M%S")
    return f"{' '.join(words).capitalize()}, {when.tm_mday} {time.strftime('%b %H:%M', when)}"


def backend_of(run: Run) -> Any:
    return rooms.load("backends", run.handle.get("backend", "local"))


def look(parts: Watch, name: str, seen: Any) -> Updates:
    """The run as its folder tells it now; nothing when that is on the page already."""
    run = runs.find(name)
    alive = backend_of(run).alive(run.handle)  # before reading: what it wrote just before its end is still read
    news = (run.id, run.events.stat().st_size if run.events.exists() else 0, alive)
    if news == seen:
        return {parts.seen: seen}
    story = events.current(events.read(run.events))
    return {
        parts.seen: news,
        parts.timer: gr.Timer(active=alive),
        parts.progress: progress(runs.state(run, alive), story),
        parts.stop: gr.update(interactive=alive, value="Stop and save"),
        parts.answers: said(run, story),
    } | charts(parts, story)


def charts(parts: Watch, story: list[dict[str, Any]]) -> Updates:
    every, of = series(story), (last(story, "step") or {"of": 0})["of"]
    return {parts.loss: curves.loss_chart(every, of),
            parts.score: gr.update(value=curves.score_chart(every, of), visible=bool(curves.scores(every)))}  # fmt: skip


def said(run: Run, story: list[dict[str, Any]]) -> str:
    """The latest answers beside the first to the same prompts."""
    samples = [event for event in story if event["kind"] == "sample"]
    latest = last(samples, "sample")
    return answers(rows_of(run, samples[0]), rows_of(run, latest), latest["step"]) if latest else ""


def rows_of(run: Run, event: dict[str, Any]) -> list[dict[str, Any]]:
    """A sample's rows; long ones lie in a file of the run."""
    return event["rows"] if "rows" in event else runs.load_json(run.path / event["file"])
