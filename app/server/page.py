"""The Gradio page: the layout of all views, their events, and the ASGI app that serves them."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr
from fastapi import FastAPI

from app.server import abandoned, sse
from app.server.error_boundary import EVENT_OPTIONS
from app.server.host_access import HostAccess, HostOptions
from app.server.local_access import LocalAccess
from app.server.page_blocks import PageBlocks
from app.server.run_downloads import mount_download_routes
from app.server.views import (
    chat,
    chat_layout,
    check,
    check_layout,
    choose,
    landing,
    pipeline,
    publish,
    publish_layout,
    run_setup,
    runs,
    sidebar,
    watch,
    words,
)
from app.worker.client import WorkerClient
from app.worker.prewarm import Prewarm
from components import scripts, shell
from components.theme import build_theme, stylesheet_paths

_READY_JS = scripts.call("shell", "ready")


def build_page(worker: WorkerClient) -> gr.Blocks:
    """Builds the page with all views and events. The first visit starts the worker, once its page is usable."""
    with PageBlocks(title="Tunesmith", analytics_enabled=False) as demo:
        with gr.Column(elem_id="side"):
            sidebar_footer = sidebar.build_sidebar()
        with gr.Column(elem_id="main"):
            open_run = shell.build_step_nav()
            landing.build_landing_view()
            choose_view = choose.build_choose_view(worker)
            check_view = check_layout.build_check_view()
            watch_view = watch.build_watch_view()
            chat_view = chat_layout.build_chat_view()
            publish_view = publish_layout.build_publish_view()
            run_setup.build_run_setup_view()
            pipeline.build_pipeline_view()
            runs.build_runs_view()
            words.build_words_view()
        check.bind_check_events(check_view, open_run, choose_view, worker)
        watch.bind_watch_events(watch_view, open_run)
        chat.bind_chat_events(chat_view, open_run, worker)
        publish.bind_publish_events(publish_view, open_run)
        sidebar.bind_sidebar_events(demo, sidebar_footer)
        abandoned.watch_departures(demo)
        mounted = demo.load(None, None, None, js=_READY_JS, **EVENT_OPTIONS)
        mounted.then(Prewarm(worker).start, None, None, **EVENT_OPTIONS)  # later: it needs a core, and so does drawing
    return demo


def create_app(
    demo: gr.Blocks,
    worker: WorkerClient,
    port: int,
    name: str = "127.0.0.1",
    announce: Callable[[str], None] | None = None,
    host_options: HostOptions | None = None,
) -> LocalAccess:
    """The ASGI app of the page with its upload and event routes, behind its access keys; see LocalAccess.

    host_options: how the page is open to other machines, with HostAccess instead; None where it is not."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    choose.mount_upload_route(app, worker.bounded_calls)
    sse.mount_routes(app)
    mount_download_routes(app)
    app = gr.mount_gradio_app(
        app,
        demo,
        "/",
        server_name="127.0.0.1",
        server_port=port,
        footer_links=[],
        run_history=False,
        ssr_mode=False,
        mcp_server=False,
        theme=build_theme(),
        css_paths=stylesheet_paths(),
        head=scripts.head(),
    )
    module_server = scripts.ModuleServer(app)
    if host_options:
        return HostAccess(module_server, port, host_options, announce)
    return LocalAccess(module_server, port, name, announce)
