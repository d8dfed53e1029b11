"""Page: how soon it is usable beside an empty Gradio page with as many controls, what it weighs, how soon a launch shows its first point.

Servers and launches are measured in turns and the median counts, so that a busy machine disturbs all alike. A page is
usable once it is drawn and its load event has come back. A point is there when the engine has told its first loss.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import Browser, sync_playwright

from app.core.paths import ROOT
from app.core.workspace import local_workspace
from app.planning import preflight, presets
from app.runs import events, standby, store
from app.runs.store import Run
from app.setup.spec import Launch
from backends import local
from tests.support import until

ROUNDS = 5
IDLE = 3.0  # seconds after which a server that nobody asks is weighed
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-background-networking"]
BUDGET = {"empty": 1.3, "llamaboard": 12.5 / 2, "memory": 250, "launch": 3.0}  # CONTRACTS: Budgets

# A page of as many controls of each kind as ours has, and nothing in or behind them.
EMPTY = """
import json, os, socket, sys
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
import gradio as gr, uvicorn
from fastapi import FastAPI
with gr.Blocks(analytics_enabled=False) as demo:
    for kind, count in json.loads(sys.argv[1]).items():
        for _ in range(count):
            getattr(gr, kind)()
    demo.load(None, None, None, js="() => { window.tunesmith = {mounted: true} }", queue=False)
door = socket.create_server(("127.0.0.1", 0))
port = door.getsockname()[1]
app = gr.mount_gradio_app(FastAPI(), demo, "/", server_name="127.0.0.1", server_port=port, ssr_mode=False)
print(f"http://127.0.0.1:{port}/", flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[door])
"""
OURS = ["app.py", "--no-browser", "--port", "0"]


def controls() -> dict[str, int]:
    """Of our page, by kind."""
    import gradio as gr
    from gradio.components import Component

    from app.server.page import build_page
    from app.worker.client import WorkerClient

    kinds = Counter(
        type(block).__name__ for block in build_page(WorkerClient()).blocks.values() if isinstance(block, Component)
    )
    return {kind: count for kind, count in kinds.items() if hasattr(gr, kind) and kind != "State"}


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[psutil.Process, str]]:
    """The server's process and the address it prints."""
    with subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            said = server.stdout.readline()
            yield psutil.Process(server.pid), next(word for word in said.split() if word.startswith("http"))
        finally:
            server.terminate()


def opened(browser: Browser, *arguments: str) -> tuple[float, float, float]:
    """Seconds from the command to a usable page, seconds of a second visit, and the idle server's megabytes."""
    began = time.monotonic()
    with serving(*arguments) as (server, address):
        visit(browser, address)
        first = time.monotonic() - began
        began = time.monotonic()
        visit(browser, address)
        second = time.monotonic() - began
        time.sleep(IDLE)
        return first, second, server.memory_info().rss / 2**20


def visit(browser: Browser, address: str) -> None:
    """Opens the address as a new visitor and waits until the page is usable."""
    with browser.new_context() as context:
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.goto(address, wait_until="commit")
        page.wait_for_function("window.tunesmith?.mounted")


def first_point(spare: bool) -> float:
    """Seconds from the launch of the first evening's preset to its first loss."""
    if spare:
        until(lambda: standby.is_standby_ready(local_workspace()) or local.ensure_standby(local_workspace()), 120)
    assert standby.is_standby_ready(local_workspace()) == spare, "a spare waits exactly when it is wanted"
    spec = preflight.check_spec(presets.preset_spec("first_tune"))
    began = time.time()
    run = store.create_run(local_workspace(), spec, Launch())
    handle = local.start(run, run.launch)
    told = until(lambda: first_loss(run), 120, run)
    local.stop(handle, {"asked": 0, "terminated": 0})
    return told - began


def first_loss(run: Run) -> float | None:
    """When it was told; None before."""
    return next((event.time for event in events.of_type(events.read_events(run.events), events.StepEvent)), None)


def run(folder: Path) -> list[dict[str, Any]]:
    kinds = json.dumps(controls())
    ours, empty = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for _ in range(ROUNDS):
            empty.append(opened(browser, "-c", EMPTY, kinds))
            ours.append(opened(browser, *OURS))
        browser.close()
    launches = [(first_point(spare=False), first_point(spare=True)) for _ in range(ROUNDS)]
    return pages(ours, empty) + starts(launches)


def pages(ours: list[tuple[float, ...]], empty: list[tuple[float, ...]]) -> list[dict[str, Any]]:
    whole, again, memory = zip(*ours, strict=True)
    their_whole, their_again, their_memory = zip(*empty, strict=True)
    ratio = statistics.median(whole) / statistics.median(their_whole)
    return [
        row("from the command to a usable page, s", whole, f"{BUDGET['llamaboard']} (half of LlamaBoard's)"),
        row("the same, an empty Gradio page with as many controls, s", their_whole),
        {"what": "ours beside the empty page", "median": f"{ratio:.2f}", "budget": BUDGET["empty"]},
        row("a further visitor's usable page, s", again),
        row("the same, the empty page, s", their_again),
        row("idle server, MiB", memory, BUDGET["memory"], 0),
        row("the same, the empty page's, MiB", their_memory, "", 0),
    ]


def starts(launches: list[tuple[float, float]]) -> list[dict[str, Any]]:
    without, ready = zip(*launches, strict=True)
    return [row("launch to first point, a spare ready, s", ready, BUDGET["launch"]),
            row("launch to first point, no spare, s", without)]  # fmt: skip


def row(what: str, measured: tuple[float, ...], budget: Any = "", digits: int = 2) -> dict[str, Any]:
    return {"what": what, "median": f"{statistics.median(measured):.{digits}f}",
            "lowest to highest": f"{min(measured):.{digits}f} to {max(measured):.{digits}f}", "budget": budget}  # fmt: skip
