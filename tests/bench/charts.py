"""Charts: the cost of a live update in the browser at 100, 10,000 and 100,000 points, and of twenty watchers on the server.

This process writes the events of a run as an engine does, five steps a second. Main-thread time is the CPU time that the
browser reports, so that other programs do not add to it; an update is one message of the stream, whatever it contains.
"""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, CDPSession, Page, sync_playwright

from app.core import processes
from app.core.json_files import write_json
from app.core.workspace import local_workspace
from app.planning import presets
from app.runs import events, store
from app.runs.store import Run
from app.setup.spec import Launch
from tests.browser.conftest import CHROMIUM, CHROMIUM_FLAGS, Site, serve_site

RUN_LENGTHS = (100, 10_000, 100_000)
MEASURED_SECONDS = 20  # how long each page is measured
STEP_SECONDS = 0.2  # seconds between two steps
BROWSER_COUNT, STREAM_COUNT = 2, 18
BUDGET = {"main thread": 50, "bytes": 1_000, "drawn": 2_000, "memory": 400, "cores": 0.5}  # CONTRACTS: Budgets
COUNT_UPDATES_JS = """() => { window.news = 0; document.addEventListener('tunesmith:news', () => window.news++); }"""
VISIBLE_CHARTS_JS = """() => [...document.querySelectorAll('.js-plotly-plot')].filter(
  plot => plot.getBoundingClientRect().top < innerHeight && plot.getBoundingClientRect().bottom > 0).length"""
MAX_POINTS_JS = "() => Math.max(0, ...[...document.querySelectorAll('.js-plotly-plot')].flatMap(plot => plot.data.map(line => line.x.length)))"


def run(folder: Path) -> list[dict[str, Any]]:
    with serve_site(Path(os.environ["TUNESMITH_HOME"])) as site, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        costs = [measure_live_page(browser, site, length) for length in RUN_LENGTHS]
        server_rows = measure_server_load(browser, site)
        browser.close()
    return [*cost_rows(costs), *server_rows]


def measure_live_page(browser: Browser, site: Site, length: int) -> dict[str, float]:
    """Mean costs over MEASURED_SECONDS of one page that shows a run of that length while steps are added."""
    watched_run = create_run_with_steps(length)
    with (
        browser.new_context(viewport={"width": 1280, "height": 900}) as context,
        steps_appended_in_background(watched_run),
    ):
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.goto(site.address)
        page.wait_for_selector("#view-start", state="attached")
        started_at = time.monotonic()
        page.evaluate("run => tunesmith.go('watch', run)", watched_run.id)
        page.wait_for_function(f"({MAX_POINTS_JS})() > 1")
        open_seconds = time.monotonic() - started_at
        page.wait_for_timeout(3_000)  # until the rest of the page is loaded
        return {"opened": open_seconds} | measure_update_cost(page, context.new_cdp_session(page))


def measure_update_cost(page: Page, session: CDPSession) -> dict[str, float]:
    received_bytes = [0]
    session.on("Network.dataReceived", lambda event: received_bytes.append(event["dataLength"]))
    session.send("Network.enable")
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.evaluate(COUNT_UPDATES_JS)
    busy_before, max_points, started_at = main_thread_seconds(session), 0, time.monotonic()
    while time.monotonic() - started_at < MEASURED_SECONDS:
        page.wait_for_timeout(1_000)
        max_points = max(max_points, page.evaluate(MAX_POINTS_JS))
    busy_seconds, update_count, visible_charts = (
        main_thread_seconds(session) - busy_before,
        page.evaluate("news"),
        page.evaluate(VISIBLE_CHARTS_JS),
    )
    return {"main thread": 1_000 * busy_seconds / update_count / visible_charts, "shown": visible_charts, "bytes": sum(received_bytes) / update_count,
            "drawn": max_points, "apart": MEASURED_SECONDS / update_count}  # fmt: skip


def main_thread_seconds(session: CDPSession) -> float:
    """CPU seconds of the page's main thread so far."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def measure_server_load(browser: Browser, site: Site) -> list[dict[str, Any]]:
    """CPU and memory of the server while BROWSER_COUNT pages and STREAM_COUNT plain HTTP streams watch one run."""
    watched_run = create_run_with_steps(10_000)
    stopped = threading.Event()
    with browser.new_context() as context, steps_appended_in_background(watched_run):
        for _ in range(BROWSER_COUNT):
            page = context.new_page()
            page.goto(site.address)
            page.wait_for_selector("#view-start", state="attached")
            page.evaluate("run => tunesmith.go('watch', run)", watched_run.id)
        cookie = "; ".join(f"{cookie['name']}={cookie['value']}" for cookie in context.cookies())
        message_counts = [[0] for _ in range(STREAM_COUNT)]
        for message_count in message_counts:
            request = urllib.request.Request(f"{site.base_url}live?run={watched_run.id}", headers={"Cookie": cookie})
            threading.Thread(target=count_messages, args=(request, message_count, stopped), daemon=True).start()
        page.wait_for_timeout(5_000)
        cpu_before, messages_before = sum(site.process.cpu_times()[:2]), sum(map(sum, message_counts))
        page.wait_for_timeout(1_000 * MEASURED_SECONDS)
        cores = (sum(site.process.cpu_times()[:2]) - cpu_before) / MEASURED_SECONDS
        messages_per_second = (sum(map(sum, message_counts)) - messages_before) / STREAM_COUNT / MEASURED_SECONDS
        memory_mib = site.process.memory_info().rss / 2**20
        stopped.set()
    return [
        table_row("20 watchers of a run: the server's cores", f"{cores:.3f}", BUDGET["cores"]),
        table_row("20 watchers of a run: the server's memory, MiB", f"{memory_mib:.0f}", BUDGET["memory"]),
        table_row("20 watchers of a run: messages a second to each", f"{messages_per_second:.2f}", ""),
    ]


def count_messages(request: urllib.request.Request, message_count: list[int], stopped: threading.Event) -> None:
    with urllib.request.urlopen(request, timeout=60) as stream:
        for line in stream:
            message_count[0] += line.startswith(b"event: news")
            if stopped.is_set():
                return


def create_run_with_steps(length: int) -> Run:
    """A run of that many steps whose handle names this process as its engine."""
    watched_run = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
    write_json(watched_run.path / "handle.json", {"backend": "local", "folder": str(watched_run.path)} | processes.process_identity(os.getpid()))  # fmt: skip
    with watched_run.events.open("w") as file:
        file.writelines(step_event_line(step, length) for step in range(1, length + 1))
    return watched_run


def step_event_line(step: int, run_length: int) -> str:
    noise = step * 7919 % 1013 / 1013
    metrics = {"train/loss": 1 + noise, "train/grad_norm": 0.5 + noise, "train/learning_rate": 0.004 * (1 - step / (2 * run_length)), "train/entropy": noise,
               "train/token_accuracy": noise, "time/step": STEP_SECONDS, "system/tokens": 400.0 * step, "system/tokens_per_second": 2_000 + 100 * noise,
               "system/memory": 0.6, "reward/mean": noise, "reward/correct/mean": noise}  # fmt: skip
    event = {"seq": step, "attempt": 1, "time": time.time(), "kind": "step", "step": step, "of": 2 * run_length, "seconds_left": 60.0, "metrics": metrics}  # fmt: skip
    return json.dumps(event) + "\n"


@contextmanager
def steps_appended_in_background(watched_run: Run) -> Iterator[None]:
    """Appends a step event every STEP_SECONDS, in a thread, while the context is open."""
    stopped, last_step = threading.Event(), events.last_event(watched_run.events).step

    def append_steps() -> None:
        for step in count(last_step + 1):
            if stopped.wait(STEP_SECONDS):
                return
            with watched_run.events.open("a") as file:
                file.write(step_event_line(step, last_step))

    thread = threading.Thread(target=append_steps, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def cost_rows(costs: list[dict[str, float]]) -> list[dict[str, Any]]:
    table_rows = []
    for length, cost in zip(RUN_LENGTHS, costs, strict=True):
        prefix = f"{length:,} points: "
        table_rows += [
            table_row(f"{prefix}main thread for each visible chart and update, ms", f"{cost['main thread']:.1f}", BUDGET["main thread"]),
            table_row(f"{prefix}an update, bytes", f"{cost['bytes']:.0f}", BUDGET["bytes"]),
            table_row(f"{prefix}seconds between updates", f"{cost['apart']:.2f}", "at least 1"),
            table_row(f"{prefix}most points of a line drawn", f"{cost['drawn']:.0f}", BUDGET["drawn"]),
            table_row(f"{prefix}from opening to the drawn curve, s", f"{cost['opened']:.2f}", ""),
        ]  # fmt: skip
    return table_rows


def table_row(label: str, measured: str, budget: Any) -> dict[str, Any]:
    """A row with the columns of tests/bench/page.py, so that both fit in one table."""
    return {"what": label, "median": measured, "lowest to highest": "", "budget": budget}
