"""Layout of the view Try: the chat with the base and the tuned model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.server.error_boundary import EVENT_OPTIONS
from app.server.views import scores
from components import chat
from components.shell import SharedComponents, build_view
from components.theme import html_block

MEASURE_LABEL = "Test both on held-out examples"
_KEYS_HINT = "Enter asks; Shift and Enter begin a new line."
_TEMPERATURE_HINT = (
    "0 always takes the likeliest next word, so the answer is the same each time. Higher values vary it."
)


@dataclass(frozen=True)
class ChatView:
    """Components of the view.

    answered_run: [run id, modification time of its result] that the answers belong to. side_notice: beside the buttons.
    """

    open_trigger: gr.Button
    notice: gr.HTML
    header: gr.HTML
    body: gr.Column
    side_notice: gr.HTML
    prompt: gr.Textbox
    ask_button: gr.Button
    suggestion_button: gr.Button
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
    def open_outputs(self) -> list[Any]:
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


def build_chat_view(_shared: SharedComponents) -> ChatView:
    """Builds the view, without the events that need the worker."""
    with build_view("try", "Try", "Ask the model as it was and the model as it is now, and compare.") as container:
        notice, header = html_block(elem_id="talk-notice"), html_block(chat.NO_RUN_HTML, elem_id="talk-head")
        # Outside of the column: showing a column also shows the hidden components in it.
        suggestion_button = gr.Button(visible="hidden", elem_id="talk-chip")
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
            with gr.Row(elem_classes="actions"):
                publish_button = gr.Button("Publish to the Hub", elem_id="talk-publish")
                teach_button = gr.Button("Teach it more, with your own examples", elem_id="talk-teach")
        scoring_panel = scores.build_scoring_panel()
    teach_button.click(None, None, None, js=chat.TEACH_MORE_JS, **EVENT_OPTIONS)
    return ChatView(
        open_trigger=container.open_trigger,
        notice=notice,
        header=header,
        body=body,
        side_notice=side_notice,
        prompt=prompt,
        ask_button=ask_button,
        suggestion_button=suggestion_button,
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
