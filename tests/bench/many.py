"""Many: how fast a run of 100,000 events and one of a million open, and how fast ten thousand runs are listed, also right after a start.

Every number is measured on a server, or a process, that was just started. Opening a run is measured from the request of
the event stream to the message that draws the run. "Nothing kept": without $TUNESMITH_HOME/cache, as the first time. "Not
in memory": the event log was dropped from the page cache of the operating system. Listing is measured in the server alone,
and until a browser has drawn the list.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from app.core.json_files import write_json
from app.core.paths import ROOT
from app.core.workspace import local_workspace
from app.history.snapshot import PARTIAL_HISTORY_TEXT
from app.planning import presets
from app.runs import store
from app.runs.store import Run
from app.setup.spec import Launch
from tests.bench.charts import step_event_line
from tests.browser.conftest import CHROMIUM, CHROMIUM_FLAGS, Site, serve_site
from tests.support import use_home

ROUNDS = 5
EVENT_COUNTS = (100_000, 1_000_000)
RUN_COUNT, STEPS_PER_RUN = 10_000, 40
BUDGET = {"open": 1.0, "list": 0.2}  # CONTRACTS: Budgets
LIST_RUNS_SCRIPT = """
import json, time
from app.core.workspace import local_workspace
from app.history.run_list import list_summaries
def timed():
    began, busy = time.perf_counter(), time.process_time()
    list_summaries(local_workspace())
    return time.perf_counter() - began, time.process_time() - busy
print(json.dumps([*timed(), *timed()]))
"""
OPEN_RUNS_SCRIPT = """async () => { tunesmith.go('start'); await new Promise(done => setTimeout(done, 500));
  const began = performance.now();
  return new Promise(done => {
    document.addEventListener('tunesmith:listed', function listed({ detail }) {
      if (!detail.isAll) return;
      document.removeEventListener('tunesmith:listed', listed);
      requestAnimationFrame(() => setTimeout(() => done((performance.now() - began) / 1000)));
    });
    tunesmith.go('runs'); }); }"""
FILTER_RUNS_SCRIPT = """() => { const field = document.querySelector('#runs-filter'), began = performance.now();
  field.value = 'tune-9999'; field.dispatchEvent(new Event('input', {bubbles: true}));
  return new Promise(done => requestAnimationFrame(() => setTimeout(() => done((performance.now() - began) / 1000)))); }"""


def run(folder: Path) -> list[dict[str, Any]]:
    table = []
    for event_count in EVENT_COUNTS:
        with use_home(folder / f"of-{event_count}") as home:
            table += measure_opening(home, create_long_run(event_count), event_count)
        shutil.rmtree(home)
    with use_home(folder / "many") as home:
        create_many_runs()
        return table + measure_listing(home)


# -- one long run ---------------------------------------------------------------------------------------------------


def create_long_run(event_count: int) -> Run:
    """A finished run with that many events."""
    run = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
    with run.events.open("w") as events_file:
        events_file.writelines(step_event_line(step, event_count // 2) for step in range(1, event_count))
        events_file.write(
            json.dumps({"seq": event_count, "attempt": 1, "time": 1.0, "kind": "done", "why": "finished"}) + "\n"
        )
        events_file.flush()
        os.fsync(events_file.fileno())
    return run


def measure_opening(home: Path, run: Run, event_count: int) -> list[dict[str, Any]]:
    size = f"{event_count:,} events ({run.events.stat().st_size / 1e6:.0f} MB)"
    conditions = {"nothing kept": {"keep_cache": False}, "nothing kept, not in memory": {"keep_cache": False, "drop_page_cache": True}, "kept": {"keep_cache": True}}  # fmt: skip
    timings: dict[str, list[tuple[float, float, float]]] = {condition: [] for condition in conditions}
    for _ in range(ROUNDS):
        for condition, options in conditions.items():
            timings[condition].append(time_opening(home, run, **options))
    table = []
    for condition, condition_timings in timings.items():
        first_draw_seconds, full_draw_seconds, server_megabytes = zip(*condition_timings, strict=True)
        table.append(table_row(f"{size}, {condition}: to the first curve, s", first_draw_seconds, BUDGET["open"]))
        if first_draw_seconds != full_draw_seconds:
            table.append(table_row(f"{size}, {condition}: to the whole curve, s", full_draw_seconds))
        table.append(table_row(f"{size}, {condition}: the server's memory then, MiB", server_megabytes, "", 0))
    return table


def time_opening(home: Path, run: Run, keep_cache: bool, drop_page_cache: bool = False) -> tuple[float, float, float]:
    """(seconds to the first message that draws the run, seconds to the first that contains all of it, server memory then in MiB)."""
    if not keep_cache:
        shutil.rmtree(home / "cache", ignore_errors=True)
    with serve_site(home) as site:
        time.sleep(1)  # the port is open: wait until the rest of the start is done
        if drop_page_cache:
            drop_from_page_cache(run.events)
        http_opener, elapsed_seconds = authenticated_opener(site), []
        started = time.monotonic()
        with http_opener.open(f"{site.base_url}live?run={run.id}", timeout=120) as stream:
            for message in stream:
                if b'"series":' in message:
                    elapsed_seconds.append(time.monotonic() - started)
                    if PARTIAL_HISTORY_TEXT.encode() not in message:
                        return elapsed_seconds[0], elapsed_seconds[-1], site.process.memory_info().rss / 2**20
    raise AssertionError("the stream ended early")


def drop_from_page_cache(path: Path) -> None:
    with path.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def authenticated_opener(site: Site) -> urllib.request.OpenerDirector:
    """An opener with the session cookie, which has loaded the page once."""
    site.client.open(site.base_url, timeout=60).read()
    return site.client


# -- many runs ------------------------------------------------------------------------------------------------------


def create_many_runs() -> None:
    """Ten thousand finished runs, each with a spec, a launch, its own event log, a checkpoint and an adapter."""
    template_run = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
    for index in range(RUN_COUNT):
        timestamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(1_767_000_000 + 700 * index))
        run_path = template_run.path.with_name(f"{timestamp}-first-tune-{index:04d}")
        shutil.copytree(template_run.path, run_path)
        write_json(run_path / "handle.json", {"backend": "local", "pid": 1, "started": 0.0, "boot": "another"})
        done_line = json.dumps({"seq": STEPS_PER_RUN + 1, "attempt": 1, "time": 1.0, "kind": "done", "why": "finished"})
        (run_path / "events.jsonl").write_text(
            "".join(step_event_line(step, STEPS_PER_RUN) for step in range(1, STEPS_PER_RUN + 1)) + done_line + "\n"
        )
        for subfolder in ("adapter", "checkpoints/checkpoint-40"):
            (run_path / subfolder).mkdir(parents=True)
            (run_path / subfolder / "weights").write_bytes(b"x" * 1_000)
    shutil.rmtree(template_run.path)
    time.sleep(1)  # so that a later change of the newest run gets another modification time


def measure_listing(home: Path) -> list[dict[str, Any]]:
    without_index, with_index = [], []
    for _ in range(ROUNDS):
        shutil.rmtree(home / "cache", ignore_errors=True)
        without_index.append(time_listing_in_new_process())
        with_index.append(time_listing_in_new_process())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        first_seconds, second_seconds, filter_seconds = zip(
            *(time_listing_in_browser(browser, home) for _ in range(ROUNDS)), strict=True
        )
        browser.close()
    return [
        *listing_rows("no index yet", without_index),
        *listing_rows("with an index", with_index),
        table_row(f"{RUN_COUNT:,} runs, with an index: from opening Runs to the drawn list, s", first_seconds),
        table_row(f"{RUN_COUNT:,} runs: the same once more, s", second_seconds),
        table_row(
            f"{RUN_COUNT:,} runs: from a word typed to the list filtered by it, s", filter_seconds, BUDGET["list"]
        ),
    ]


def listing_rows(condition: str, measurements: list[list[float]]) -> list[dict[str, Any]]:
    """The first and the second listing, in wall-clock time and in processor time, which does not count what other processes did meanwhile."""
    first_wall_seconds, first_cpu_seconds, second_wall_seconds, second_cpu_seconds = zip(*measurements, strict=True)
    return [
        table_row(f"{RUN_COUNT:,} runs, {condition}: the first list, s", first_wall_seconds, BUDGET["list"]),
        table_row(
            f"{RUN_COUNT:,} runs, {condition}: the same, seconds of a processor", first_cpu_seconds, BUDGET["list"]
        ),
        table_row(f"{RUN_COUNT:,} runs, {condition}: the second list, s", second_wall_seconds, BUDGET["list"]),
        table_row(
            f"{RUN_COUNT:,} runs, {condition}: the same, seconds of a processor", second_cpu_seconds, BUDGET["list"]
        ),
    ]


def time_listing_in_new_process() -> list[float]:
    """Wall-clock and processor seconds of the first listing in a new process, then of the second."""
    completed = subprocess.run(
        [sys.executable, "-c", LIST_RUNS_SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(completed.stdout)


def time_listing_in_browser(browser: Browser, home: Path) -> tuple[float, float, float]:
    """Seconds from opening Runs to the drawn list, twice, and from a typed word to the filtered list; on a server that was just started."""
    with serve_site(home) as site, browser.new_context() as context:
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.goto(site.address)
        page.wait_for_function("window.tunesmith?.mounted")
        page.wait_for_timeout(3_000)  # wait until the rest of the page is loaded
        opening_seconds = [page.evaluate(OPEN_RUNS_SCRIPT) for _ in range(2)]
        return (*opening_seconds, page.evaluate(FILTER_RUNS_SCRIPT))


def table_row(label: str, measurements: Any, budget: Any = "", digits: int = 2) -> dict[str, Any]:
    return {"what": label, "median": f"{statistics.median(measurements):.{digits}f}",
            "lowest to highest": f"{min(measurements):.{digits}f} to {max(measurements):.{digits}f}", "budget": budget}  # fmt: skip
