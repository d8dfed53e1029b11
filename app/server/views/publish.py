"""The view Publish: uploads a result with its model card to the Hub, private by default."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from app.core import platform
from app.core.json_files import DamagedFile
from app.core.problems import Problem
from app.hub import api, identity, model_card, publication_plan, publish_job
from app.hub.publish_job import Publication, PublishJob
from app.runs import store
from app.runs.store import Run
from app.server.error_boundary import EVENT_OPTIONS, Updates, error_notice, stream_with_error_notice, with_error_notice
from app.server.views.publish_layout import DISABLED, NO_RUN_HTML, PublishView
from app.server.visitor import visitor_workspace
from components import chat, notices, publish
from components.theme import escape

_SETUP_BLOCK = re.compile(r"<details>.*?</details>", re.DOTALL)
_SETUP_SUMMARY = "(Here the card holds the whole setup, as a program reads it.)"


def bind_publish_events(view: PublishView, open_run: gr.HTML) -> None:
    """Binds the events of the view. open_run: its value is the id of the run to publish."""

    def open_view(event: gr.EventData, request: gr.Request) -> Iterator[Updates]:
        yield from _open_handler(view)(event.run, request)

    outputs = view.outputs
    view.heading.select(stream_with_error_notice(open_view, view.notice), None, outputs, **EVENT_OPTIONS)
    view.retry_button.click(
        stream_with_error_notice(_retry_handler(view), view.notice), open_run, outputs, **EVENT_OPTIONS
    )
    view.publish_button.click(
        stream_with_error_notice(_publish_handler(view), view.notice),
        [open_run, view.owner, view.name, view.private],
        outputs,
        **EVENT_OPTIONS,
    )
    view.fixed_name_button.click(
        lambda title: {view.name: api.nearest_repo_name(title), view.notice: ""},
        view.name,
        [view.name, view.notice],
        **EVENT_OPTIONS,
    )
    _bind_previews(view, open_run)


def _bind_previews(view: PublishView, open_run: gr.HTML) -> None:
    """Binds what shows the plan and the card.

    Their problems appear in their own places: an answer that comes after that of the publish button must not clear the
    reason of a refusal. The browser clears that itself when the person types another name.
    """
    view.name.input(None, None, view.notice, js="() => ''", **EVENT_OPTIONS)
    for changed in (view.owner, view.name, view.private):
        changed.change(
            with_error_notice(_plan_handler(view), view.plan),
            [open_run, view.owner, view.name, view.private],
            [view.plan, view.fixed_name_button],
            **EVENT_OPTIONS,
        )
    view.card_accordion.expand(
        with_error_notice(_card_handler(view), view.card), [open_run, view.owner, view.name], view.card, **EVENT_OPTIONS
    )


def _open_handler(view: PublishView, checked_at: str = "") -> Callable[[str, gr.Request], Iterator[Updates]]:
    """Handler that shows a run and the account. checked_at: time of a repeated check, such as "14:31"."""

    def open_view(run_id: str, request: gr.Request) -> Iterator[Updates]:
        try:
            run = store.get_run(visitor_workspace(), run_id)
        except Problem:  # no run is open, or it was deleted: the view says how to get one
            yield _show_no_run(view, NO_RUN_HTML)
            return
        if not run.adapter.is_dir():
            yield _show_no_run(view, chat.render_no_result(store.run_title(run), store.is_alive(run)))
            return
        push = publish_job.active_job(run)  # asked first: a push that ends while the Hub answers is followed to its end
        yield _show_run(view, run)
        yield _show_account(view, run, identity.identity_of_request(request).token, checked_at)
        if push:
            yield from _stream_push(view, push)

    return open_view


def _retry_handler(view: PublishView) -> Callable[[str, gr.Request], Iterator[Updates]]:
    """Handler that asks the Hub again who is signed in."""

    def retry(run_id: str, request: gr.Request) -> Iterator[Updates]:
        return _open_handler(view, time.strftime("%H:%M"))(run_id, request)

    return retry


def _publish_handler(view: PublishView) -> Callable[[str, str | None, str, bool, gr.Request], Iterator[Updates]]:
    """Handler that uploads the result and follows the upload."""

    def publish_run(
        run_id: str, owner: str | None, title: str, private: bool, request: gr.Request
    ) -> Iterator[Updates]:
        run, token = store.get_run(visitor_workspace(), run_id), identity.identity_of_request(request).token
        yield {view.notice: "", view.publish_button: gr.update(**DISABLED)}
        try:
            push = publish_job.start_publishing(run, f"{owner}/{title.strip()}", private, token)
            yield from _stream_push(view, push)
        except Exception as error:
            yield {
                view.publish_button: gr.update(interactive=True),
                view.progress: "",
                view.notice: error_notice(error, publish_run),
            }

    return publish_run


def _plan_handler(view: PublishView) -> Callable[[str, str | None, str, bool], Updates]:
    """Handler that lists what publishing under this name would write, and offers a valid name for an invalid one.

    It offers while the person types: a button that came when the field loses the focus would move the publish button away
    under the mouse, which had not let go of it yet.
    """

    def show_plan(run_id: str, owner: str | None, title: str, private: bool) -> Updates:
        run = store.get_run(visitor_workspace(), run_id)
        return {
            view.plan: _render_plan(run, owner, title, private),
            view.fixed_name_button: _offer_valid_name(title),
        }

    return show_plan


def _render_plan(run: Run, owner: str | None, title: str, private: bool) -> str:
    """HTML of what publishing would write, or why it would be refused; for an invalid name under the one that is offered."""
    name = api.nearest_repo_name(title) if title.strip() else "NAME"
    try:
        repositories = publication_plan.plan_publication(run, f"{owner or 'YOUR-NAME'}/{name}")
    except Problem as problem:  # boundary: a result on a model that only this machine has; the view goes on
        return notices.render_problem(problem)
    return publish.render_publication_plan(repositories, private)


def _card_handler(view: PublishView) -> Callable[[str, str | None, str], Updates]:
    """Handler that shows the model card as it would be published."""

    def show_card(run_id: str, owner: str | None, title: str) -> Updates:
        card_context = model_card.CardContext(
            repo=f"{owner or 'OWNER'}/{api.nearest_repo_name(title)}", page=identity.page_url()
        )
        text = _SETUP_BLOCK.sub(
            _SETUP_SUMMARY, model_card.render_model_card(store.get_run(visitor_workspace(), run_id), card_context)
        )
        return {view.card: f"<pre>{escape(text)}</pre>"}

    return show_card


def _show_no_run(view: PublishView, reason_html: str) -> Updates:
    return {view.header: reason_html, view.body: gr.update(visible=False)}


def _show_run(view: PublishView, run: Run) -> Updates:
    """Updates before the Hub has answered."""
    return {
        view.header: f"<p>{escape(store.run_title(run))}</p>{_render_end_notes(run)}",
        view.body: gr.update(visible=True),
        view.published: _render_published(run),
        view.card: "",
        view.plan: _render_plan(run, None, api.make_repo_name(store.run_title(run)), True),
        view.private: True,
        view.account: '<p class="who">Asking the Hub who you are …</p>',
        view.retry_button: gr.update(visible=False),
        view.name: api.make_repo_name(store.run_title(run)),
        view.fixed_name_button: gr.update(visible=False),
        view.publish_button: gr.update(**DISABLED),
        view.progress: "",
    }


def _render_end_notes(run: Run) -> str:
    """HTML of what somebody who loads the result elsewhere has to know about where its answers end; mostly empty."""
    try:
        return "".join(f'<p class="careful">{escape(note)}</p>' for note in run.facts.get("end_notes", []))
    except DamagedFile as damage:  # boundary: the disk; the view goes on
        return notices.render_problem(damage)


def _render_published(run: Run) -> str:
    """HTML of where the run is published, or what is wrong with the file that says it; empty if it is not."""
    try:
        publication = publish_job.last_publication(run)
        if not publication:
            return ""
        return publish.render_published(publication, publish_job.usage_snippet(run, publication["repo"]))
    except DamagedFile as damage:  # boundary: the disk; the view goes on, as for a run that is not published
        return notices.render_problem(damage)


def _last_publication(run: Run) -> Publication | None:
    """Where the run is published; None where it is not, and where the file that says it is damaged."""
    try:
        return publish_job.last_publication(run)
    except DamagedFile:  # boundary: the disk; `_render_published` says it
        return None


def _show_account(view: PublishView, run: Run, token: str | None, checked_at: str = "") -> Updates:
    """Updates with the account and its namespaces. The run's last repository is the default.

    checked_at: time of a repeated check, such as "14:31".
    """
    try:
        account = api.signed_in_user(token)
    except Problem as problem:  # boundary: the Hub cannot be reached, or refuses the token
        checked_text = f" Looked at {checked_at}." if checked_at else ""
        return {
            view.account: f'<p class="who careful" role="status">{escape(problem)}{checked_text}</p>',
            view.retry_button: gr.update(visible=True),
        }
    if account is None:
        return {
            view.account: publish.render_signed_out(run.adapter, checked_at),
            view.retry_button: gr.update(visible=True),
        }
    publication = _last_publication(run)
    owner, _, name = publication["repo"].partition("/") if publication else (account.name, "", "")
    is_own_namespace = owner in account.namespaces
    return {
        view.account: publish.render_account(account.name, account.can_write, platform.is_space()),
        view.retry_button: gr.update(visible=not account.can_write),
        view.owner: gr.update(choices=list(account.namespaces), value=owner if is_own_namespace else account.name),
        view.publish_button: gr.update(
            interactive=account.can_write, value="Publish again" if publication else "Publish to the Hub"
        ),
    } | ({view.name: name, view.private: publication["private"]} if publication and is_own_namespace else {})


def _stream_push(view: PublishView, push: PublishJob) -> Iterator[Updates]:
    """Updates with the progress of a push, then with its address."""
    for progress in push.follow():
        yield {
            view.publish_button: gr.update(**DISABLED),
            view.progress: publish.render_upload_progress(progress["phase"], progress["done"], progress["of"]),
        }
    yield {
        view.progress: "",
        view.published: _render_published(push.run),
        view.publish_button: gr.update(interactive=True, value="Publish again"),
    }


def _offer_valid_name(title: str) -> dict[str, Any]:
    """Update of the button with the nearest valid repository name; hidden when the name is valid."""
    valid_name = api.nearest_repo_name(title)
    return gr.update(visible=title.strip() not in ("", valid_name), value=f"Use “{valid_name}”")
