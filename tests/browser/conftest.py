"""Fixtures of the browser's tests: the real server in a process of its own, and a real Chromium that tells on requests.

A server, its worker and its spare take half a minute of a core: whoever needs no home or Hub of their own shares `site`, and
the one run that is trained for all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Request, WebError, expect, sync_playwright

from app.core.paths import ROOT
from app.core.workspace import local_workspace
from app.runs import store
from app.runs.store import Run
from tests.hub import LocalHub, opened
from tests.support import in_home, train_preset

CHROMIUM = "/usr/bin/chromium"
PATIENCE = 120_000  # milliseconds; two busy cores load the libraries slowly
# The first for containers; the rest keep the browser itself from calling home while we watch the network.
FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]  # fmt: skip


@dataclass
class Site:
    """A running `python app.py`. address holds the key; children: its processes before anybody came; cache: where it keeps what comes
    from the Hub."""

    address: str
    home: Path
    process: psutil.Process
    children: list[str] = field(default_factory=list)
    cache: Path | None = None

    @property
    def plain(self) -> str:
        return self.address.partition("?")[0]


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of the first preset, trained once for all tests, also those of another process. Look at it, or take a copy."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with (shared / "ready.lock").open("w") as lock, in_home(shared / "ready"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "ready" / "whole").exists():
            train_preset("first_tune", epochs=1.5)
            (shared / "ready" / "whole").touch()
        return store.list_runs(local_workspace())[0]


def brought(run: Run, home: Path) -> Run:
    """A copy of the run in that home."""
    return Run(Path(shutil.copytree(run.path, home / "runs" / run.id)))


@pytest.fixture(scope="session")
def site(ready: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The page that most tests look at, with a finished run in its home. Other tests may have left more there."""
    home = tmp_path_factory.mktemp("home")
    brought(ready, home)
    with serving(home) as site:
        yield site


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with opened(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture(scope="session")
def signed_in(ready: Run, hub: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Another page with a finished run, with alice signed in to the Hub of this machine: her token lies where `hf auth login` puts it."""
    home, cache = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("cache")
    brought(ready, home)
    (cache / "token").write_text("hf_alice")
    with serving(home, **hub.environment(cache, token="")) as site:
        yield replace(site, cache=cache)


@contextlib.contextmanager
def serving(home: Path, port: int = 0, **environment: str) -> Iterator[Site]:
    """The page's own server on that home, without a Hub unless the environment names one."""
    command = [sys.executable, "app.py", "--no-browser", "--port", str(port)]
    environment = os.environ | {"TUNESMITH_HOME": str(home), "HF_HUB_OFFLINE": "1"} | environment
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            told = re.search(r"http://127\.0\.0\.1:\d+/\?key=\S+", server.stdout.readline())
            assert told, "the server did not print its address"
            process = psutil.Process(server.pid)
            yield Site(told.group(), home, process, [child.name() for child in process.children()])
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """While it is open, this thread runs an event loop: no longer than a module, or other tests could start none."""
    assert Path(CHROMIUM).exists(), "Chromium is not installed: `sh tests/run` does it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


# A visitor's first page finds nothing that an earlier visitor's drafts and settings left in the browser.
AFRESH = (
    "try { if (!sessionStorage.begun) localStorage.clear(); sessionStorage.begun = 1; } catch { /* not of a site */ }"
)


class Visit:
    """A visitor's tab. Every request and every error of its pages is kept."""

    def __init__(self, context: BrowserContext):
        self.context = context
        self.requests: list[Request] = []
        self.errors: list[str] = []
        context.on("request", self.asks)
        context.on("weberror", self.breaks)
        self.page: Page = context.new_page()
        self.page.add_init_script(AFRESH)

    def asks(self, request: Request) -> None:
        self.requests.append(request)

    def breaks(self, error: WebError) -> None:
        self.errors.append(str(error.error))

    def leave(self) -> None:
        """The next visitor's browser is as it was, but for what it has loaded."""
        self.context.remove_listener("request", self.asks)
        self.context.remove_listener("weberror", self.breaks)
        for page in self.context.pages:
            page.close()
        self.context.unroute_all()
        self.context.clear_permissions()
        self.context.clear_cookies()

    @property
    def hosts(self) -> set[str]:
        return {urlsplit(request.url).hostname for request in self.requests if request.url.startswith("http")}

    def open(self, address: str) -> Page:
        self.page.goto(address)
        self.page.wait_for_selector("#view-start", state="attached")
        return self.page


@pytest.fixture(scope="module")
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """One for all visitors of a module, one after the other: what it has loaded, the next page need not load again."""
    with chromium.new_context(viewport={"width": 1280, "height": 900}) as context:
        context.set_default_timeout(PATIENCE)
        yield context


@pytest.fixture
def visit(context: BrowserContext, site: Site) -> Iterator[Visit]:
    """A visitor without the key. Their pages must not break, and must call nobody but this machine."""
    expect.set_options(timeout=PATIENCE)
    visitor = Visit(context)
    yield visitor
    visitor.leave()
    assert visitor.errors == []
    assert visitor.hosts <= {"127.0.0.1", "localhost"}


@pytest.fixture
def page(visit: Visit, site: Site) -> Page:
    """The page, opened with the key."""
    return visit.open(site.address)
