"""Fixtures of the browser tests: the real server in a separate process, and a real Chromium whose requests are recorded.

Starting a server, its worker and its standby engine takes half a minute of one core. Tests that need no separate home or Hub
therefore share `site` and one trained run."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import urllib.request
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
from tests.hub import LocalHub, run_local_hub
from tests.support import sign_in, train_preset, use_home

CHROMIUM = "/usr/bin/chromium"
TIMEOUT_MS = 120_000  # two busy cores load the libraries slowly
# The first is needed in containers; the others stop requests of the browser itself while the tests record the network.
CHROMIUM_FLAGS = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]  # fmt: skip


@dataclass
class Site:
    """A running `python app.py`. entry_url: where its links lead; client: signed in with the printed address; base_url: the
    address of its page; child_names: its child processes before the first request; cache: the folder of its Hub
    downloads."""

    entry_url: str
    client: urllib.request.OpenerDirector
    base_url: str
    home: Path
    process: psutil.Process
    child_names: list[str] = field(default_factory=list)
    cache: Path | None = None

    @property
    def address(self) -> str:
        """A fresh address, which signs in one browser."""
        with self.client.open(urllib.request.Request(f"{self.base_url}sign-in-address", method="POST")) as response:
            return response.read().decode()


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of the first preset, trained once for all tests in all pytest-xdist processes. Do not change it: use a copy."""
    base_folder = tmp_path_factory.getbasetemp()
    shared_folder = base_folder.parent if "PYTEST_XDIST_WORKER" in os.environ else base_folder
    with (
        (shared_folder / "ready.lock").open("w") as lock,
        use_home(shared_folder / "ready"),
        pytest.MonkeyPatch.context() as monkeypatch,
    ):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared_folder / "ready" / "whole").exists():
            train_preset("first_tune", epochs=1.5)
            (shared_folder / "ready" / "whole").touch()
        return store.list_runs(local_workspace())[0]


def copy_run(run: Run, home: Path, run_id: str | None = None) -> Run:
    """Copies the run into that home, with another id where one is given."""
    return Run(Path(shutil.copytree(run.path, home / "runs" / (run_id or run.id))))


@pytest.fixture(scope="session")
def site(finished_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site that most tests share, with a finished run in its home. Other tests may have added runs."""
    home = tmp_path_factory.mktemp("home")
    copy_run(finished_run, home)
    with serve_site(home) as site:
        yield site


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with run_local_hub(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture(scope="session")
def signed_in_site(finished_run: Run, hub: LocalHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site with a finished run where alice is signed in to the local Hub: her token is stored where `hf auth login` stores it."""
    home, cache = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("cache")
    copy_run(finished_run, home)
    (cache / "token").write_text("hf_alice")
    with serve_site(home, **hub.environment(cache, token="")) as site:
        yield replace(site, cache=cache)


@contextlib.contextmanager
def serve_site(home: Path, port: int = 0, **environment: str) -> Iterator[Site]:
    """Runs the server on that home, without a Hub unless the environment names one."""
    command = [sys.executable, "app.py", "--no-browser", "--port", str(port)]
    environment = os.environ | {"TUNESMITH_HOME": str(home), "HF_HUB_OFFLINE": "1"} | environment
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            url_match = re.search(r"(http://127\.0\.0\.1:\d+/)\?key=\S+", server.stdout.readline())
            assert url_match, "the server did not print its address"
            process = psutil.Process(server.pid)
            child_names = [child.name() for child in process.children()]
            yield Site(url_match[1], *sign_in(url_match[0]), home, process, child_names)
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The browser. Its scope is a module, because this thread runs an event loop while it is open, and other tests need their own."""
    assert Path(CHROMIUM).exists(), "Chromium is not installed: `sh tests/run` does it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


# Clears the drafts and settings of earlier tests when a tab opens its first page.
CLEAR_STORAGE_SCRIPT = (
    "try { if (!sessionStorage.begun) localStorage.clear(); sessionStorage.begun = 1; } catch { /* not of a site */ }"
)


class BrowserTab:
    """A browser tab that records every request and every error of its pages."""

    def __init__(self, context: BrowserContext):
        self.context = context
        self.requests: list[Request] = []
        self.errors: list[str] = []
        context.on("request", self.record_request)
        context.on("weberror", self.record_error)
        self.page: Page = context.new_page()
        self.page.add_init_script(CLEAR_STORAGE_SCRIPT)

    def record_request(self, request: Request) -> None:
        self.requests.append(request)

    def record_error(self, error: WebError) -> None:
        self.errors.append(str(error.error))

    def close(self) -> None:
        """Closes all pages and resets the browser context, except for its cache, for the next test."""
        self.context.remove_listener("request", self.record_request)
        self.context.remove_listener("weberror", self.record_error)
        for page in self.context.pages:
            page.close()
        self.context.unroute_all()
        self.context.clear_permissions()
        self.context.clear_cookies()

    @property
    def requested_hosts(self) -> set[str]:
        return {urlsplit(request.url).hostname for request in self.requests if request.url.startswith("http")}

    def open(self, address: str) -> Page:
        self.page.goto(address)
        self.page.wait_for_selector("#view-start", state="attached")
        return self.page


@pytest.fixture(scope="module")
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """One browser context for all tests of a module, so that files in its cache are not loaded again."""
    with chromium.new_context(viewport={"width": 1280, "height": 900}) as context:
        context.set_default_timeout(TIMEOUT_MS)
        yield context


@pytest.fixture
def tab(context: BrowserContext, site: Site) -> Iterator[BrowserTab]:
    """A tab without the access key. Fails the test if a page raised an error or sent a request to another machine."""
    expect.set_options(timeout=TIMEOUT_MS)
    browser_tab = BrowserTab(context)
    yield browser_tab
    browser_tab.close()
    assert browser_tab.errors == []
    assert all(host == "127.0.0.1" or host.endswith("localhost") for host in browser_tab.requested_hosts)


@pytest.fixture
def page(tab: BrowserTab, site: Site) -> Page:
    """The page, opened with the access key."""
    return tab.open(site.address)
