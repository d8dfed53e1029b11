"""Layout of the view Publish: its components, without their events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.blocks import Block

from components import chat, publish
from components.shell import build_view
from components.theme import html_block

NO_RUN_HTML = f'<div class="empty"><p>Here a result goes to the Hugging Face Hub, where others can load it. First there must be one.</p><p>{chat.START_LINK}</p></div>'
DISABLED: dict[str, Any] = {"interactive": False}


@dataclass(frozen=True)
class PublishView:
    """Components of the view. heading: see ViewContainer. fixed_name_button: offers a valid name for an invalid one."""

    heading: gr.HTML
    notice: gr.HTML
    header: gr.HTML
    body: gr.Column
    account: gr.HTML
    retry_button: gr.Button
    owner: gr.Dropdown
    name: gr.Textbox
    fixed_name_button: gr.Button
    private: gr.Checkbox
    plan: gr.HTML
    publish_button: gr.Button
    progress: gr.HTML
    published: gr.HTML
    card_accordion: gr.Accordion
    card: gr.HTML

    @property
    def outputs(self) -> list[Block]:
        """Components that opening the view and publishing update."""
        return [
            self.notice,
            self.header,
            self.body,
            self.account,
            self.retry_button,
            self.owner,
            self.name,
            self.fixed_name_button,
            self.private,
            self.plan,
            self.publish_button,
            self.progress,
            self.published,
            self.card,
        ]


def build_publish_view() -> PublishView:
    """Builds the view, without its events."""
    with build_view(
        "publish",
        "Publish",
        "The Hub keeps the result with a card that says how it was made. Nothing is sent before you press the button.",
    ) as container:
        notice, header = html_block(elem_id="publish-notice"), html_block(NO_RUN_HTML, elem_id="publish-title")
        with gr.Column(visible=False, elem_id="publish-body") as body:
            published = html_block(elem_id="publish-done", js_on_load=publish.JS)
            account = html_block(elem_id="publish-who")
            with gr.Row(elem_classes="actions"):
                retry_button = gr.Button("Look again", visible=False, elem_id="publish-again")
            owner, name = _build_repository_fields()
            fixed_name_button = gr.Button(visible=False, elem_id="publish-fixed")
            private = gr.Checkbox(
                True, label="Private: only you and whom you let in can see it", elem_id="publish-private"
            )
            plan = html_block(elem_id="publish-plan")
            with gr.Accordion("The card that goes with it", open=False, elem_id="publish-preview") as card_accordion:
                card = html_block(elem_id="publish-card")
            progress = html_block(elem_id="publish-progress")
            with gr.Row(elem_classes="actions"):
                publish_button = gr.Button("Publish to the Hub", variant="primary", elem_id="publish-push", **DISABLED)
    return PublishView(
        heading=container.heading,
        notice=notice,
        header=header,
        body=body,
        account=account,
        retry_button=retry_button,
        owner=owner,
        name=name,
        fixed_name_button=fixed_name_button,
        private=private,
        plan=plan,
        publish_button=publish_button,
        progress=progress,
        published=published,
        card_accordion=card_accordion,
        card=card,
    )


def _build_repository_fields() -> tuple[gr.Dropdown, gr.Textbox]:
    """Owner and name of the repository."""
    with gr.Row(elem_id="publish-fields"):
        owner = gr.Dropdown([], label="Owner", elem_id="publish-owner", filterable=False)
        name = gr.Textbox(label="Name", elem_id="publish-name", max_lines=1)
    return owner, name
