"""Adding a machine that is reached with ssh, in the view Check: its fields, what it has, and preparing it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import gradio as gr

from app.core import platform
from app.core.problems import Problem
from app.planning import launcher
from app.remote import environment
from app.remote.machines import create_machine, get_machine
from app.server.error_boundary import EVENT_OPTIONS, Updates, stream_with_error_notice
from app.server.visitor import visitor_workspace
from components import notices
from components.theme import html_block

_EXPLANATION = (
    '<p class="quiet">A run can train on another computer that you reach with <code>ssh</code>, such as one with a graphics '
    "card. It goes on there while this computer sleeps; its curve, its checkpoints and its result come back here.</p>"
)


@dataclass(frozen=True)
class MachineForm:
    """host: as ssh takes it. python: of an environment there, empty to make one."""

    notice: gr.HTML
    report: gr.HTML
    name: gr.Textbox
    host: gr.Textbox
    python: gr.Textbox
    folder: gr.Textbox
    config: gr.Textbox
    add_button: gr.Button
    prepare_button: gr.Button


def build_machine_form() -> MachineForm:
    """Builds the form; hidden where the owner's keys are not to be used."""
    with gr.Accordion("Add a machine", open=False, visible=platform.takes_local_files(), elem_id="add-machine"):
        html_block(_EXPLANATION)
        with gr.Row(equal_height=False, elem_classes="row"):
            name = gr.Textbox(label="Name", info="A short one for the list, such as lab.", elem_id="machine-name")
            host = gr.Textbox(
                label="Address",
                info="As you type it after ssh: me@lab.example, or a name of your ssh configuration.",
                elem_id="machine-host",
            )
        with gr.Accordion("For special cases", open=False), gr.Row(equal_height=False, elem_classes="row"):
            folder = gr.Textbox(
                label="Folder there",
                info="Everything is put into it. Empty: .tunesmith-remote.",
                elem_id="machine-folder",
            )
            python = gr.Textbox(
                label="Python there",
                info="Of an environment that has the packages already. Empty: one is made.",
                elem_id="machine-python",
            )
            config = gr.Textbox(
                label="Configuration of ssh",
                info="Another file than your own. Empty: your own.",
                elem_id="machine-config",
            )
        notice = html_block(elem_id="machine-notice")
        report = html_block(elem_id="machine-report")
        with gr.Row(elem_classes="row"):
            add_button = gr.Button("Add and test it", elem_id="machine-add")
            prepare_button = gr.Button("Prepare it for training", visible=False, elem_id="machine-prepare")
    return MachineForm(notice, report, name, host, python, folder, config, add_button, prepare_button)


def bind_machine_events(form: MachineForm, machine: gr.Dropdown) -> None:
    """Binds the two buttons. machine: the choice of where a run computes."""

    def add_machine(name: str, host: str, python: str, folder: str, config: str) -> Iterator[Updates]:
        _require_owner()
        fields = {"python": python.strip(), "folder": folder.strip(), "config": config.strip()}
        added = create_machine(visitor_workspace(), name=name.strip(), backend="ssh", host=host.strip(), **fields)
        choices = [(known["title"], known["name"]) for known in launcher.list_machines()]
        yield {
            form.report: notices.render_status("Looking what it has …"),
            machine: gr.update(choices=choices, value=added.address, visible=True),
        }
        found = environment.probe(added)
        yield {
            form.report: notices.render_note(" ".join(environment.describe_machine(found))),
            form.prepare_button: gr.update(visible=True),
        }

    def prepare_machine(name: str) -> Iterator[Updates]:
        _require_owner()
        chosen = get_machine(visitor_workspace(), name.strip())
        for text in environment.prepare(chosen):
            yield {form.report: notices.render_status(text)}
        found = environment.probe(chosen)
        yield {form.report: notices.render_note(f"Ready. {' '.join(environment.describe_machine(found))}")}

    form.add_button.click(
        stream_with_error_notice(add_machine, form.notice),
        [form.name, form.host, form.python, form.folder, form.config],
        [form.notice, form.report, form.prepare_button, machine],
        **EVENT_OPTIONS,
    )
    form.prepare_button.click(
        stream_with_error_notice(prepare_machine, form.notice), form.name, [form.notice, form.report], **EVENT_OPTIONS
    )


def _require_owner() -> None:
    if not platform.takes_local_files():
        raise Problem(
            "This page is open to others, so it takes no machines that its owner’s keys open.",
            advice="Add it on the command line: python -m app machines add.",
        )
