"""Layout of the view Try: the chat with the base and the tuned model."""

from __future__ import annotations

from dataclasses import dataclass

import gradio as gr
from gradio.blocks import Block

from app.server.error_boundary import EVENT_OPTIONS
from app.server.views import scores
from components import chat
from components.shell import build_view
from components.theme import html_block

MEASURE_LABEL = "Test both on held-out examples"
_KEYS_HINT = "Enter asks; Shift and Enter begin a new line."
_TEMPERATURE_HINT = (
    "0 always takes the likeliest next word, so the answer is the same each time. Higher values vary it."
)


@dataclass(frozen=True)
class ChatView:
    """Components of the view. heading: see ViewContainer.

    answered_run: the AnsweredRun of chat.py that the answers belong to. side_notice: beside the buttons.
    """

    heading: gr.HTML
    notice: gr.HTML
    header: gr.HTML
    body: gr.Column
    side_notice: gr.HTML
    prompt: gr.Textbox
    ask_button: gr.Button
    stop_button: gr.Button
    measure_button: gr.Button
    suggestions: gr.HTML
    status: gr.HTML
    answers: gr.HTML
    temperature: gr.Slider
    publish_button: gr.Button
    answered_run: gr.State
    scoring_panel: scores.ScoringPanel

    @property
    def answer_outputs(self) -> list[Block]:
        """Components that an answer updates."""
        return [
            self.side_notice,
            self.prompt,
            self.answers,
            self.status,
            self.ask_button,
            self.stop_button,
            self.publish_button,
        ]

    @property
    def open_outputs(self) -> list[Block]:
        """Components that opening the view updates, beside those of an answer."""
        return [
            self.notice,
            self.header,
            self.body,
            self.suggestions,
            self.measure_button,
            self.answered_run,
            *self.scoring_panel.components,
        ]


def build_chat_view() -> ChatView:
    """Builds the view, without the events that need the worker."""
    with build_view("try", "Try", "Ask the model as it was and the model as it is now, and compare.") as container:
        notice, header = html_block(elem_id="talk-notice"), html_block(chat.NO_RUN_HTML, elem_id="talk-head")
        with gr.Column(visible=False, elem_id="talk-body") as body:
            measure_button = gr.Button(MEASURE_LABEL, elem_id="talk-measure", visible=False)
            prompt = gr.Textbox(label="Your prompt", info=_KEYS_HINT, lines=1, max_lines=8, elem_id="talk-prompt")
            with gr.Row(elem_classes="actions"):
                ask_button = gr.Button("Ask both", variant="primary", elem_id="talk-ask")
                stop_button = gr.Button("Stop", elem_id="talk-stop", interactive=False)
            side_notice = html_block(elem_id="talk-aside")
            suggestions = html_block(elem_id="talk-prompts", js_on_load=chat.JS)
            status = html_block(elem_id="talk-status")
            answers = html_block(chat.render_empty_pair(), elem_id="talk-answers")
            with gr.Accordion("Advanced", open=False):
                temperature = gr.Slider(
                    0, 1.5, 0, step=0.1, label="Temperature", info=_TEMPERATURE_HINT, elem_id="talk-freedom"
                )
            publish_button = _build_next_steps()
        scoring_panel = scores.build_scoring_panel()
    return ChatView(
        heading=container.heading,
        notice=notice,
        header=header,
        body=body,
        side_notice=side_notice,
        prompt=prompt,
        ask_button=ask_button,
        stop_button=stop_button,
        measure_button=measure_button,
        suggestions=suggestions,
        status=status,
        answers=answers,
        temperature=temperature,
        publish_button=publish_button,
        answered_run=gr.State(None),
        scoring_panel=scoring_panel,
    )


def _build_next_steps() -> gr.Button:
    """The buttons below the answers, with the event of the second. Returns the first, which publishes."""
    with gr.Row(elem_classes="actions"):
        publish_button = gr.Button("Publish to the Hub", elem_id="talk-publish")
        teach_button = gr.Button("Teach it more, with your own examples", elem_id="talk-teach")
    teach_button.click(None, None, None, js=chat.TEACH_MORE_JS, **EVENT_OPTIONS)
    return publish_button
