"""The scoring panel in Try, for reward models: scores a person's own answers, or judges the steps of a solution."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from app.core.json_files import DamagedFile
from app.core.json_types import JsonObject
from app.engine.contracts import load_method
from app.engine.questions.score import Question as ScoreQuestion
from app.runs import store
from app.runs.events import Event, SampleEvent, last_of_type
from app.runs.store import Run
from app.server.error_boundary import EVENT_OPTIONS, Updates, error_notice, stream_with_error_notice
from app.server.visitor import visitor_workspace
from app.worker.client import WorkerClient
from components import notices, scores
from components.theme import html_block

_SCORE_LABEL, _JUDGE_LABEL = "Score", "Judge the steps"
_INTRODUCTIONS = {
    "scores": "This model does not write: it gives answers a score. Try one of your own, or two against each other.",
    "step_scores": "This model does not write: it judges each step of a solution as right or wrong. Try one of your own.",
}


@dataclass(frozen=True)
class ScoringPanel:
    """Components of the panel. answers: two text boxes, hidden for a model that judges steps."""

    body: gr.Column
    introduction: gr.HTML
    prompt: gr.Textbox
    answers: tuple[gr.Textbox, gr.Textbox]
    steps: gr.Textbox
    ask_button: gr.Button
    side_notice: gr.HTML
    status: gr.HTML
    report: gr.HTML

    @property
    def components(self) -> list[Block]:
        """All components, for the outputs of events."""
        return [
            self.body,
            self.introduction,
            self.prompt,
            *self.answers,
            self.steps,
            self.ask_button,
            self.side_notice,
            self.status,
            self.report,
        ]


def build_scoring_panel() -> ScoringPanel:
    """Builds the panel, hidden."""
    with gr.Column(visible=False, elem_id="opinion-body") as body:
        introduction = html_block(elem_id="opinion-words")
        prompt = gr.Textbox(label="A question", lines=1, max_lines=8, elem_id="opinion-prompt")
        first = gr.Textbox(label="An answer", lines=2, max_lines=12, elem_id="opinion-first")
        second = gr.Textbox(
            label="Another answer to compare, if you like", lines=2, max_lines=12, elem_id="opinion-second"
        )
        steps = gr.Textbox(
            label="The steps of a solution, one on each line", lines=4, max_lines=24, elem_id="opinion-steps"
        )
        with gr.Row(elem_classes="actions"):
            ask_button = gr.Button(_SCORE_LABEL, variant="primary", elem_id="opinion-ask")
            publish_button = gr.Button("Publish to the Hub", elem_id="opinion-publish")
        side_notice, status = html_block(elem_id="opinion-aside"), html_block(elem_id="opinion-status")
        report = html_block(elem_id="opinion-told")
    publish_button.click(None, None, None, js="() => { tunesmith.go('publish'); return []; }", **EVENT_OPTIONS)
    return ScoringPanel(body, introduction, prompt, (first, second), steps, ask_button, side_notice, status, report)


def bind_scoring_events(panel: ScoringPanel, open_run: gr.HTML, worker: WorkerClient) -> None:
    """Binds the events of the panel. open_run: its value is the id of the run whose model scores."""

    def score_answers(run_id: str, prompt: str, first: str, second: str, steps: str) -> Iterator[Updates]:
        run = store.get_run(visitor_workspace(), run_id)
        if model_kind(run) == "step_scores":
            question = ScoreQuestion(run.id, prompt, steps=_non_empty_lines(steps))
        else:
            question = ScoreQuestion(run.id, prompt, answers=tuple(text for text in (first, second) if text.strip()))
        yield {
            panel.side_notice: "",
            panel.ask_button: gr.update(interactive=False),
            panel.status: notices.render_status("Getting the model ready …"),
        }
        idle_updates = {panel.ask_button: gr.update(interactive=True), panel.status: ""}
        try:
            for message in worker.stream(question):
                if "waiting" in message:
                    yield {panel.status: notices.render_status(message["waiting"])}
                elif "done" in message:
                    yield idle_updates | {
                        panel.side_notice: "",
                        panel.report: _render_scoring(question, message["done"]),
                    }
        except Exception as error:
            yield idle_updates | {panel.report: "", panel.side_notice: error_notice(error, score_answers)}

    panel.ask_button.click(
        stream_with_error_notice(score_answers, panel.side_notice),
        [open_run, panel.prompt, *panel.answers, panel.steps],
        [panel.side_notice, panel.ask_button, panel.status, panel.report],
        **EVENT_OPTIONS,
    )


def model_kind(run: Run) -> str:
    """Kind of the run's model: "causal", "scores" (reward model) or "step_scores" (process reward model)."""
    return load_method(run.spec.method).produces


def show_scoring_panel(panel: ScoringPanel, run: Run, events: Sequence[Event], is_new_run: bool) -> Updates:
    """Updates that show the panel for a run, filled with a held-out example if is_new_run."""
    updates: Updates = {panel.body: gr.update(visible=True)}
    if not is_new_run:
        return updates
    judges_steps = model_kind(run) == "step_scores"
    prompt, texts = _held_out_example(run, events)
    first, second = ("", "") if judges_steps else [*texts, "", ""][:2]
    return updates | {
        panel.introduction: f"<p>{_INTRODUCTIONS[model_kind(run)]}</p>",
        panel.prompt: prompt,
        panel.answers[0]: gr.update(value=first, visible=not judges_steps),
        panel.answers[1]: gr.update(value=second, visible=not judges_steps),
        panel.steps: gr.update(value="\n".join(texts) if judges_steps else "", visible=judges_steps),
        panel.ask_button: gr.update(value=_JUDGE_LABEL if judges_steps else _SCORE_LABEL, interactive=True),
        panel.side_notice: "",
        panel.status: "",
        panel.report: "",
    }


def _held_out_example(run: Run, events: Sequence[Event]) -> tuple[str, list[str]]:
    """(prompt, answers or steps) of the first held-out example in the latest evaluation; empty where there is none."""
    sample = last_of_type(events, SampleEvent)
    rows: list[JsonObject] = []
    with contextlib.suppress(DamagedFile):  # boundary: the disk; the panel goes on without an example
        rows = [row for row in store.sample_rows(run, sample) if row.get("given")] if sample else []
    if not rows:
        return "", []
    prompt, steps = str(rows[0].get("prompt")), rows[0].get("steps")
    if isinstance(steps, list):
        return prompt, [str(step) for step in steps]
    return prompt, [str(row.get("completion")) for row in rows if row.get("prompt") == prompt]


def _non_empty_lines(text: str) -> tuple[str, ...]:
    return tuple(line for line in text.splitlines() if line.strip())


def _render_scoring(question: ScoreQuestion, response: dict[str, list[float]]) -> str:
    if "steps" in response:
        return scores.render_step_judgements(question.steps, response["steps"])
    return scores.render_scores(question.answers, response["scores"])
