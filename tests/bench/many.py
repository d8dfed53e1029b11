"""Many: how soon a run of 100,000 and one of a million events open, and ten thousand runs are listed, right after a start too.

Every number is of a server, or a process, that was just started. Opening counts from the request of the stream to the
message that draws the run. "Nothing kept": without $TUNESMITH_HOME/cache, as the first time. "Not in memory": the system
was asked to forget the story's file. The list is the server's part alone, and as a browser has it drawn.
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
from http.cookiejar import CookieJar
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
from tests.bench.charts import line
from tests.browser.conftest import CHROMIUM, FLAGS, Site, serving
from tests.support import in_home

ROUNDS = 5
LENGTHS = (100_000, 1_000_000)
MANY, STEPS = 10_000, 40
BUDGET = {"open": 1.0, "list": 0.2}  # CONTRACTS: Budgets
LIST = """
import json, time
from app.core.workspace import local_workspace
from app.history.run_list import list_summaries
def timed():
    began, busy = time.perf_counter(), time.process_time()
    list_summaries(local_workspace())
    return time.perf_counter() - began, time.process_time() - busy
print(json.dumps([*timed(), *timed()]))
"""
OPEN = """async () => { tunesmith.go('start'); await new Promise(done => setTimeout(done, 500));
  const began = performance.now();
  return new Promise(done => {
    document.addEventListener('tunesmith:listed', function listed({ detail }) {
      if (!detail.isAll) return;
      document.removeEventListener('tunesmith:listed', listed);
      requestAnimationFrame(() => setTimeout(() => done((performance.now() - began) / 1000)));
    });
    tunesmith.go('runs'); }); }"""
FILTER = """() => { const field = document.querySelector('#runs-filter'), began = performance.now();
  field.value = 'tune-9999'; field.dispatchEvent(new Event('input', {bubbles: true}));
  return new Promise(done => requestAnimationFrame(() => setTimeout(() => done((performance.now() - began) / 1000)))); }"""


def run(folder: Path) -> list[dict[str, Any]]:
    table = []
    for length in LENGTHS:
        with in_home(folder / f"of-{length}") as home:
            table += opening(home, long(length), length)
        shutil.rmtree(home)
    with in_home(folder / "many") as home:
        many()
        return table + listing(home)


# -- one long run ---------------------------------------------------------------------------------------------------


def long(length: int) -> Run:
    """A finished run of that many events."""
    one = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
    with one.events.open("w") as file:
        file.writelines(line(step, length // 2) for step in range(1, length))
        file.write(json.dumps({"seq": length, "attempt": 1, "time": 1.0, "kind": "done", "why": "finished"}) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return one


def opening(home: Path, one: Run, length: int) -> list[dict[str, Any]]:
    size = f"{length:,} events ({one.events.stat().st_size / 1e6:.0f} MB)"
    ways = {"nothing kept": {"kept": False}, "nothing kept, not in memory": {"kept": False, "cold": True}, "kept": {"kept": True}}  # fmt: skip
    found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in ways}
    for _ in range(ROUNDS):
        for way, how in ways.items():
            found[way].append(opened(home, one, **how))
    table = []
    for way, times in found.items():
        drawn, whole, memory = zip(*times, strict=True)
        table.append(row(f"{size}, {way}: to the first curve, s", drawn, BUDGET["open"]))
        if drawn != whole:
            table.append(row(f"{size}, {way}: to the whole curve, s", whole))
        table.append(row(f"{size}, {way}: the server's memory then, MiB", memory, "", 0))
    return table


def opened(home: Path, one: Run, kept: bool, cold: bool = False) -> tuple[float, float, float]:
    """Seconds to the first message that draws the run, and to the first that tells all of it; the server's megabytes then."""
    if not kept:
        shutil.rmtree(home / "cache", ignore_errors=True)
    with serving(home) as site:
        time.sleep(1)  # its door is open: let the rest of its start be over
        if cold:
            forget(one.events)
        ask, times = opener(site), []
        began = time.monotonic()
        with ask.open(f"{site.plain}live?run={one.id}", timeout=120) as stream:
            for text in stream:
                if b'"series":' in text:
                    times.append(time.monotonic() - began)
                    if PARTIAL_HISTORY_TEXT.encode() not in text:
                        return times[0], times[-1], site.process.memory_info().rss / 2**20
    raise AssertionError("the stream ended early")


def forget(path: Path) -> None:
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def opener(site: Site) -> urllib.request.OpenerDirector:
    """With the cookie that the page's address gives."""
    found = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    found.open(site.address, timeout=60).read()
    return found


# -- many runs ------------------------------------------------------------------------------------------------------


def many() -> None:
    """Ten thousand finished runs, each with a setup, a start, a story of its own, a checkpoint and a result."""
    pattern = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
    for number in range(MANY):
        when = time.strftime("%Y%m%d-%H%M%S", time.gmtime(1_767_000_000 + 700 * number))
        path = pattern.path.with_name(f"{when}-first-tune-{number:04d}")
        shutil.copytree(pattern.path, path)
        write_json(path / "handle.json", {"backend": "local", "pid": 1, "started": 0.0, "boot": "another"})
        last = json.dumps({"seq": STEPS + 1, "attempt": 1, "time": 1.0, "kind": "done", "why": "finished"})
        (path / "events.jsonl").write_text("".join(line(step, STEPS) for step in range(1, STEPS + 1)) + last + "\n")
        for part in ("adapter", "checkpoints/checkpoint-40"):
            (path / part).mkdir(parents=True)
            (path / part / "weights").write_bytes(b"x" * 1_000)
    shutil.rmtree(pattern.path)
    time.sleep(1)  # the newest is no longer so new that a change could leave no trace


def listing(home: Path) -> list[dict[str, Any]]:
    without, kept = [], []
    for _ in range(ROUNDS):
        shutil.rmtree(home / "cache", ignore_errors=True)
        without.append(listed())
        kept.append(listed())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        drawn, second, filtered = zip(*(shown(browser, home) for _ in range(ROUNDS)), strict=True)
        browser.close()
    return [
        *served("no index yet", without),
        *served("with an index", kept),
        row(f"{MANY:,} runs, with an index: from opening Runs to the drawn list, s", drawn),
        row(f"{MANY:,} runs: the same once more, s", second),
        row(f"{MANY:,} runs: from a word typed to the list filtered by it, s", filtered, BUDGET["list"]),
    ]


def served(way: str, times: list[list[float]]) -> list[dict[str, Any]]:
    """The first and the second list, by the clock, and by the processor, which does not count what others did meanwhile."""
    first, busy, second, busy_again = zip(*times, strict=True)
    return [
        row(f"{MANY:,} runs, {way}: the first list, s", first, BUDGET["list"]),
        row(f"{MANY:,} runs, {way}: the same, seconds of a processor", busy, BUDGET["list"]),
        row(f"{MANY:,} runs, {way}: the second list, s", second, BUDGET["list"]),
        row(f"{MANY:,} runs, {way}: the same, seconds of a processor", busy_again, BUDGET["list"]),
    ]


def listed() -> list[float]:
    """Seconds by the clock and by the processor: of the first list that a new process gives, and of the second."""
    told = subprocess.run([sys.executable, "-c", LIST], cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(told.stdout)


def shown(browser: Browser, home: Path) -> tuple[float, float, float]:
    """Seconds from opening Runs to its first rows, twice, and to those that fit a word; of a server that was just started."""
    with serving(home) as site, browser.new_context() as context:
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.goto(site.address)
        page.wait_for_function("window.tunesmith?.mounted")
        page.wait_for_timeout(3_000)  # the rest of the page has settled
        found = [page.evaluate(OPEN) for _ in range(2)]
        return (*found, page.evaluate(FILTER))


def row(what: str, measured: Any, budget: Any = "", digits: int = 2) -> dict[str, Any]:
    return {"what": what, "median": f"{statistics.median(measured):.{digits}f}",
            "lowest to highest": f"{min(measured):.{digits}f} to {max(measured):.{digits}f}", "budget": budget}  # fmt: skip
