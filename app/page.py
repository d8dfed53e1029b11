"""Page: which piece sits where, and which event calls which plain function."""

from __future__ import annotations

import gradio as gr
from fastapi import FastAPI

from app.access import Access
from app.pages import check, choose, journey, publish, runs, side, start, talk, watch
from app.pages.border import QUIET
from app.preview import Worker
from app.readiness import Readiness
from app.story import live as news
from components import live, runs_list, shell
from components.look import styles, theme

READY = "() => tunesmith.ready()"


def build(worker: Worker) -> gr.Blocks:
    """The whole page. The worker is started by the first visit, once its page is painted."""
    with gr.Blocks(title="Tunesmith", analytics_enabled=False) as demo:
        frame = shell.frame()
        with gr.Column(elem_id="side"):
            beside = side.draw()
        with gr.Column(elem_id="main"):
            shell.steps()
            start.draw(frame)
            chosen = choose.draw(frame, worker)
            checked = check.draw(frame)
            watched = watch.draw(frame)
            tried = talk.draw(frame)
            published = publish.draw(frame)
            journey.draw(frame)
            listed = runs.draw(frame)
        check.wire(frame, checked, chosen, worker)
        watch.wire(watched)
        talk.wire(tried, frame, worker)
        publish.wire(published, frame)
        runs.wire(listed, frame, chosen)
        side.wire(demo, beside)
        demo.load(None, None, None, js=READY, **QUIET)
        demo.load(Readiness(worker).begin, None, None, **QUIET)
    return demo


def serve(demo: gr.Blocks, port: int) -> Access:
    """The page as an ASGI app that asks for its key."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    choose.serve(app)
    news.mount(app)
    app = gr.mount_gradio_app(app, demo, "/", server_name="127.0.0.1", server_port=port, footer_links=[], run_history=False,
                              ssr_mode=False, mcp_server=False, theme=theme(), css_paths=styles(), head=shell.HEAD + runs_list.HEAD + live.HEAD)  # fmt: skip
    return Access(app, port)
