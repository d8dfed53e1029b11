"""Charts: what a live update costs a browser at 100, 10,000 and 100,000 points, and what twenty watchers cost the server.

A run is told here as an engine tells it, five steps a second. Main-thread time is the browser's own count of processor
time, so that other programs do not add to it; an update is one message of the stream, whatever it holds.
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
from tests.browser.conftest import CHROMIUM, FLAGS, Site, serving

LENGTHS = (100, 10_000, 100_000)
SECONDS = 20  # each is watched
PACE = 0.2  # seconds between two steps
BROWSERS, CLIENTS = 2, 18
BUDGET = {"main thread": 50, "bytes": 1_000, "drawn": 2_000, "memory": 400, "cores": 0.5}  # CONTRACTS: Budgets
NEWS = """() => { window.news = 0; document.addEventListener('tunesmith:news', () => window.news++); }"""
SHOWN = """() => [...document.querySelectorAll('.js-plotly-plot')].filter(
  plot => plot.getBoundingClientRect().top < innerHeight && plot.getBoundingClientRect().bottom > 0).length"""
DRAWN = "() => Math.max(0, ...[...document.querySelectorAll('.js-plotly-plot')].flatMap(plot => plot.data.map(line => line.x.length)))"


def run(folder: Path) -> list[dict[str, Any]]:
    with serving(Path(os.environ["TUNESMITH_HOME"])) as site, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        updates = [watched(browser, site, length) for length in LENGTHS]
        crowd = watchers(browser, site)
        browser.close()
    return [*rows(updates), *crowd]


def watched(browser: Browser, site: Site, length: int) -> dict[str, float]:
    """Means over SECONDS of one page that watches a run of that length grow."""
    one = told(length)
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context, growing(one):
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.goto(site.address)
        page.wait_for_selector("#view-start", state="attached")
        began = time.monotonic()
        page.evaluate("run => tunesmith.go('watch', run)", one.id)
        page.wait_for_function(f"({DRAWN})() > 1")
        opened = time.monotonic() - began
        page.wait_for_timeout(3_000)  # the rest of the page has settled
        return {"opened": opened} | cost(page, context.new_cdp_session(page))


def cost(page: Page, session: CDPSession) -> dict[str, float]:
    received = [0]
    session.on("Network.dataReceived", lambda event: received.append(event["dataLength"]))
    session.send("Network.enable")
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.evaluate(NEWS)
    before, most, began = busy(session), 0, time.monotonic()
    while time.monotonic() - began < SECONDS:
        page.wait_for_timeout(1_000)
        most = max(most, page.evaluate(DRAWN))
    spent, updates, shown = busy(session) - before, page.evaluate("news"), page.evaluate(SHOWN)
    return {"main thread": 1_000 * spent / updates / shown, "shown": shown, "bytes": sum(received) / updates,
            "drawn": most, "apart": SECONDS / updates}  # fmt: skip


def busy(session: CDPSession) -> float:
    """Seconds the page's main thread has worked."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(one["value"] for one in metrics if one["name"] == "TaskDuration")


def watchers(browser: Browser, site: Site) -> list[dict[str, Any]]:
    """The server's processor and memory while BROWSERS pages and CLIENTS bare streams watch one run."""
    one = told(10_000)
    ended = threading.Event()
    with browser.new_context() as context, growing(one):
        for _ in range(BROWSERS):
            page = context.new_page()
            page.goto(site.address)
            page.wait_for_selector("#view-start", state="attached")
            page.evaluate("run => tunesmith.go('watch', run)", one.id)
        cookie = "; ".join(f"{one['name']}={one['value']}" for one in context.cookies())
        heard = [[0] for _ in range(CLIENTS)]
        for mine in heard:
            asked = urllib.request.Request(f"{site.plain}live?run={one.id}", headers={"Cookie": cookie})
            threading.Thread(target=listen, args=(asked, mine, ended), daemon=True).start()
        page.wait_for_timeout(5_000)
        busy_before, heard_before = sum(site.process.cpu_times()[:2]), sum(map(sum, heard))
        page.wait_for_timeout(1_000 * SECONDS)
        cores = (sum(site.process.cpu_times()[:2]) - busy_before) / SECONDS
        messages = (sum(map(sum, heard)) - heard_before) / CLIENTS / SECONDS
        memory = site.process.memory_info().rss / 2**20
        ended.set()
    return [
        row("20 watchers of a run: the server's cores", f"{cores:.3f}", BUDGET["cores"]),
        row("20 watchers of a run: the server's memory, MiB", f"{memory:.0f}", BUDGET["memory"]),
        row("20 watchers of a run: messages a second to each", f"{messages:.2f}", ""),
    ]


def listen(asked: urllib.request.Request, heard: list[int], ended: threading.Event) -> None:
    with urllib.request.urlopen(asked, timeout=60) as stream:
        for line in stream:
            heard[0] += line.startswith(b"event: news")
            if ended.is_set():
                return


def told(length: int) -> Run:
    """A run of that many steps, with this process as the one that works on it."""
    one = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
    write_json(one.path / "handle.json", {"backend": "local", "folder": str(one.path)} | processes.process_identity(os.getpid()))  # fmt: skip
    with one.events.open("w") as file:
        file.writelines(line(step, length) for step in range(1, length + 1))
    return one


def line(step: int, of: int) -> str:
    noise = step * 7919 % 1013 / 1013
    metrics = {"train/loss": 1 + noise, "train/grad_norm": 0.5 + noise, "train/learning_rate": 0.004 * (1 - step / (2 * of)), "train/entropy": noise,
               "train/token_accuracy": noise, "time/step": PACE, "system/tokens": 400.0 * step, "system/tokens_per_second": 2_000 + 100 * noise,
               "system/memory": 0.6, "reward/mean": noise, "reward/correct/mean": noise}  # fmt: skip
    event = {"seq": step, "attempt": 1, "time": time.time(), "kind": "step", "step": step, "of": 2 * of, "seconds_left": 60.0, "metrics": metrics}  # fmt: skip
    return json.dumps(event) + "\n"


@contextmanager
def growing(one: Run) -> Iterator[None]:
    """The run goes on while this is open."""
    ended, first = threading.Event(), events.last_event(one.events).step

    def grow() -> None:
        for step in count(first + 1):
            if ended.wait(PACE):
                return
            with one.events.open("a") as file:
                file.write(line(step, first))

    thread = threading.Thread(target=grow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def rows(updates: list[dict[str, float]]) -> list[dict[str, Any]]:
    found = []
    for length, one in zip(LENGTHS, updates, strict=True):
        at = f"{length:,} points: "
        found += [
            row(f"{at}main thread for each visible chart and update, ms", f"{one['main thread']:.1f}", BUDGET["main thread"]),
            row(f"{at}an update, bytes", f"{one['bytes']:.0f}", BUDGET["bytes"]),
            row(f"{at}seconds between updates", f"{one['apart']:.2f}", "at least 1"),
            row(f"{at}most points of a line drawn", f"{one['drawn']:.0f}", BUDGET["drawn"]),
            row(f"{at}from opening to the drawn curve, s", f"{one['opened']:.2f}", ""),
        ]  # fmt: skip
    return found


def row(what: str, measured: str, budget: Any) -> dict[str, Any]:
    """As tests/bench/page.py has them, so that both stand in one table."""
    return {"what": what, "median": measured, "lowest to highest": "", "budget": budget}
