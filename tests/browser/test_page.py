"""Page: its server, who may open it, and how it is started and closed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.request import HTTPCookieProcessor, build_opener

import psutil
import pytest
from playwright.sync_api import Page, expect

from app.core.paths import ROOT
from app.planning import links, presets
from tests.browser.conftest import Site, Visit, serving
from tests.support import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A page that nobody has visited yet."""
    with serving(tmp_path_factory.mktemp("home")) as site:
        yield site


def test_the_server_stays_small_and_its_helper_comes_after_the_page(page: Page, site: Site) -> None:
    assert site.children == []
    until(site.process.children)
    page.get_by_role("button", name="Try it in a minute").click()
    expect(page.locator("#view-check")).to_contain_text("Example 1 of")
    living = [child for child in site.process.children() if child.status() != psutil.STATUS_ZOMBIE]
    [helper] = [child for child in living if "app.engine.worker" in child.cmdline()]
    maps = {process.pid: Path(f"/proc/{process.pid}/maps").read_text() for process in (site.process, helper)}
    assert "libtorch" in maps[helper.pid]  # so the look at the maps can see it
    assert "libtorch" not in maps[site.process.pid]


def test_without_the_key_the_page_asks_for_it_and_keeps_the_link(visit: Visit, site: Site) -> None:
    code = links.encode_setup(presets.preset_spec("first_tune"))
    visit.page.goto(f"{site.plain}?setup={code}")
    visit.page.get_by_label("Key").fill(site.address.partition("key=")[2])
    visit.page.get_by_role("button", name="Open the page").click()
    expect(visit.page.locator("#choose-notice")).to_contain_text("This setup came by a link")
    assert "key=" not in visit.page.url


def test_a_link_on_another_site_opens_the_page_of_who_has_the_key(page: Page, site: Site, elsewhere: str) -> None:
    page.goto(elsewhere)
    page.get_by_role("link").click()
    page.wait_for_selector("#view-start")


@pytest.fixture
def elsewhere(site: Site) -> Iterator[str]:
    """Another site (`localhost` is not `127.0.0.1` to a browser) with a link to ours."""

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f'<a href="{site.plain}">a setup for you</a>'.encode())

        def log_message(self, *said: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def test_ctrl_c_closes_the_page_without_a_fuss() -> None:
    command = [sys.executable, "app.py", "--no-browser", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        address = re.search(r"http\S+", server.stdout.readline()).group()
        visitor = build_opener(HTTPCookieProcessor())
        visitor.open(address, timeout=30).close()  # it is up
        stream = visitor.open(f"{address.partition('?')[0]}live", timeout=30)
        assert stream.readline()  # somebody watches, and a watcher's stream never ends by itself
        server.send_signal(signal.SIGINT)
        _, complaints = server.communicate(timeout=30)
    stream.close()
    assert (server.returncode, complaints) == (0, "")


def test_a_port_that_is_taken_is_named_in_a_sentence(site: Site) -> None:
    port = site.plain.split(":")[2].strip("/")
    said = subprocess.run(
        [sys.executable, "app.py", "--no-browser", "--port", port], cwd=ROOT, capture_output=True, text=True
    )
    assert (said.returncode, said.stderr) == (
        2,
        f"Port {port} cannot be used (Address already in use). Choose another with --port.\n",
    )


def test_a_second_page_on_the_same_home_is_sent_to_the_first(site: Site) -> None:
    said = subprocess.run([sys.executable, "app.py", "--no-browser", "--port", "0"], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | {"TUNESMITH_HOME": str(site.home)})  # fmt: skip
    assert said.returncode == 2
    assert said.stderr == (f"This home is open already at {site.plain}. Open that page with the key its terminal prints, "
                           "or set TUNESMITH_HOME to another folder.\n")  # fmt: skip
