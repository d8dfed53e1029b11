"""Page: which piece sits where, and which event calls which plain function."""

from __future__ import annotations

import gradio as gr
from fastapi import FastAPI

from app.server import sse as news
from app.server.error_boundary import QUIET
from app.server.local_access import Access
from app.server.views import chat, check, choose, landing, pipeline, publish, runs, sidebar, watch
from app.worker.client import Worker
from app.worker.prewarm import Readiness
from components import event_stream, runs_list, shell
from components.theme import styles, theme

READY = "() => tunesmith.ready()"


def build(worker: Worker) -> gr.Blocks:
    """The whole page. The worker is started by the first visit, once its page is painted."""
    with gr.Blocks(title="Tunesmith", analytics_enabled=False) as demo:
        frame = shell.frame()
        with gr.Column(elem_id="side"):
            beside = sidebar.draw()
        with gr.Column(elem_id="main"):
            shell.steps()
            landing.draw(frame)
            chosen = choose.draw(frame, worker)
            checked = check.draw(frame)
            watched = watch.draw(frame)
            tried = chat.draw(frame)
            published = publish.draw(frame)
            pipeline.draw(frame)
            listed = runs.draw(frame)
        check.wire(frame, checked, chosen, worker)
        watch.wire(watched)
        chat.wire(tried, frame, worker)
        publish.wire(published, frame)
        runs.wire(listed, frame, chosen)
        sidebar.wire(demo, beside)
        demo.load(None, None, None, js=READY, **QUIET)
        demo.load(Readiness(worker).begin, None, None, **QUIET)
    return demo


def serve(demo: gr.Blocks, port: int) -> Access:
    """The page as an ASGI app that asks for its key."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    choose.serve(app)
    news.mount(app)
    app = gr.mount_gradio_app(app, demo, "/", server_name="127.0.0.1", server_port=port, footer_links=[], run_history=False,
                              ssr_mode=False, mcp_server=False, theme=theme(), css_paths=styles(), head=shell.HEAD + runs_list.HEAD + event_stream.HEAD)  # fmt: skip
    return Access(app, port)
