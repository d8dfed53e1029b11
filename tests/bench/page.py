"""Page: load time compared with an empty Gradio page of as many controls, memory of the idle server, and time from launch to the first loss.

Servers and launches are measured alternately and the median is reported, so that a busy machine disturbs all measurements
alike. A page is usable once it is rendered and its load event has returned. A launch ends with the first loss in the events.
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
from tests.support import wait_until

ROUNDS = 5
IDLE_SECONDS = 3.0  # seconds without requests before the server's memory is measured
CHROMIUM = "/usr/bin/chromium"
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-background-networking"]
BUDGETS = {"empty": 1.3, "llamaboard": 12.5 / 2, "memory": 250, "launch": 3.0}  # CONTRACTS: Budgets

# A page with as many controls of each kind as ours, without content and event handlers.
EMPTY_PAGE_SCRIPT = """
import json, os, socket, sys
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
import gradio as gr, uvicorn
from fastapi import FastAPI
with gr.Blocks(analytics_enabled=False) as demo:
    for kind, count in json.loads(sys.argv[1]).items():
        for _ in range(count):
            getattr(gr, kind)()
    demo.load(None, None, None, js="() => { window.tunesmith = {mounted: true} }", queue=False)
listener = socket.create_server(("127.0.0.1", 0))
port = listener.getsockname()[1]
app = gr.mount_gradio_app(FastAPI(), demo, "/", server_name="127.0.0.1", server_port=port, ssr_mode=False)
print(f"http://127.0.0.1:{port}/", flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
"""
SERVER_ARGUMENTS = ["app.py", "--no-browser", "--port", "0"]


def count_controls() -> dict[str, int]:
    """The number of controls of each kind on our page."""
    import gradio as gr
    from gradio.components import Component

    from app.server.page import build_page
    from app.worker.client import WorkerClient

    counts_by_kind = Counter(
        type(block).__name__ for block in build_page(WorkerClient()).blocks.values() if isinstance(block, Component)
    )
    return {kind: count for kind, count in counts_by_kind.items() if hasattr(gr, kind) and kind != "State"}


@contextmanager
def run_server(*arguments: str) -> Iterator[tuple[psutil.Process, str]]:
    """Starts a server and yields its process and the address that it prints."""
    with subprocess.Popen([sys.executable, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            first_line = server.stdout.readline()
            yield psutil.Process(server.pid), next(word for word in first_line.split() if word.startswith("http"))
        finally:
            server.terminate()


def measure_page(browser: Browser, *arguments: str) -> tuple[float, float, float]:
    """Seconds from the command to a usable page, seconds of a later visit, and memory of the idle server in MiB."""
    start_time = time.monotonic()
    with run_server(*arguments) as (server, address):
        next_address = load_page(browser, address) or address
        first_visit_seconds = time.monotonic() - start_time
        start_time = time.monotonic()
        load_page(browser, next_address)
        later_visit_seconds = time.monotonic() - start_time
        time.sleep(IDLE_SECONDS)
        return first_visit_seconds, later_visit_seconds, server.memory_info().rss / 2**20


def load_page(browser: Browser, address: str) -> str:
    """Opens the address in a new browser context and waits until the page is usable. Returns the address for a further
    browser; empty where the page is for everybody."""
    with browser.new_context() as context:
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.goto(address, wait_until="commit")
        page.wait_for_function("window.tunesmith?.mounted")
        return page.evaluate(
            "fetch('sign-in-address', { method: 'POST' }).then(reply => (reply.ok ? reply.text() : ''))"
        )


def measure_launch(use_standby: bool) -> float:
    """Seconds from the launch of the preset `first_tune` to its first loss."""
    if use_standby:
        wait_until(lambda: standby.is_standby_ready(local_workspace()) or local.ensure_standby(local_workspace()), 120)
    assert standby.is_standby_ready(local_workspace()) == use_standby, (
        "a standby engine must be ready exactly when it is to be used"
    )
    spec = preflight.check_spec(presets.preset_spec("first_tune"))
    start_time = time.time()
    run = store.create_run(local_workspace(), spec, Launch())
    handle = local.start(run, run.launch)
    loss_time = wait_until(lambda: first_loss_time(run), 120, run)
    local.stop(handle, {"asked": 0, "terminated": 0})
    return loss_time - start_time


def first_loss_time(run: Run) -> float | None:
    """The time of the run's first step event; None before there is one."""
    return next((event.time for event in events.of_type(events.read_events(run.events), events.StepEvent)), None)


def run(folder: Path) -> list[dict[str, Any]]:
    control_counts_json = json.dumps(count_controls())
    page_measurements, empty_page_measurements = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        for _ in range(ROUNDS):
            empty_page_measurements.append(measure_page(browser, "-c", EMPTY_PAGE_SCRIPT, control_counts_json))
            page_measurements.append(measure_page(browser, *SERVER_ARGUMENTS))
        browser.close()
    launch_seconds = [(measure_launch(use_standby=False), measure_launch(use_standby=True)) for _ in range(ROUNDS)]
    return page_rows(page_measurements, empty_page_measurements) + launch_rows(launch_seconds)


def page_rows(
    page_measurements: list[tuple[float, ...]], empty_page_measurements: list[tuple[float, ...]]
) -> list[dict[str, Any]]:
    first_visit_seconds, later_visit_seconds, memory_mib = zip(*page_measurements, strict=True)
    empty_first_visit_seconds, empty_later_visit_seconds, empty_memory_mib = zip(*empty_page_measurements, strict=True)
    ratio = statistics.median(first_visit_seconds) / statistics.median(empty_first_visit_seconds)
    return [
        table_row(
            "from the command to a usable page, s",
            first_visit_seconds,
            f"{BUDGETS['llamaboard']} (half of LlamaBoard's)",
        ),
        table_row("the same, an empty Gradio page with as many controls, s", empty_first_visit_seconds),
        {"what": "ours beside the empty page", "median": f"{ratio:.2f}", "budget": BUDGETS["empty"]},
        table_row("a further visitor's usable page, s", later_visit_seconds),
        table_row("the same, the empty page, s", empty_later_visit_seconds),
        table_row("idle server, MiB", memory_mib, BUDGETS["memory"], 0),
        table_row("the same, the empty page's, MiB", empty_memory_mib, "", 0),
    ]


def launch_rows(launch_seconds: list[tuple[float, float]]) -> list[dict[str, Any]]:
    seconds_without_standby, seconds_with_standby = zip(*launch_seconds, strict=True)
    return [table_row("launch to first point, a spare ready, s", seconds_with_standby, BUDGETS["launch"]),
            table_row("launch to first point, no spare, s", seconds_without_standby)]  # fmt: skip


def table_row(label: str, measurements: tuple[float, ...], budget: Any = "", digits: int = 2) -> dict[str, Any]:
    return {"what": label, "median": f"{statistics.median(measurements):.{digits}f}",
            "lowest to highest": f"{min(measurements):.{digits}f} to {max(measurements):.{digits}f}", "budget": budget}  # fmt: skip
