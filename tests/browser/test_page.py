"""Page: starting and stopping its server, and the key that opens it."""

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

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from app.core.paths import ROOT
from app.planning import links, presets
from tests.browser.conftest import BrowserTab, Site, serve_site
from tests.support import sign_in, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that no browser has opened yet."""
    with serve_site(tmp_path_factory.mktemp("home")) as site:
        yield site


def test_the_server_loads_no_torch_and_starts_its_worker_after_the_page_opens(page: Page, site: Site) -> None:
    assert site.child_names == []
    wait_until(site.process.children)
    page.get_by_role("button", name="Try it in a minute").click()
    expect(page.locator("#view-check")).to_contain_text("Example 1 of")
    running_children = [child for child in site.process.children() if child.status() != psutil.STATUS_ZOMBIE]
    [worker] = [child for child in running_children if "app.engine.worker" in child.cmdline()]
    memory_maps = {process.pid: Path(f"/proc/{process.pid}/maps").read_text() for process in (site.process, worker)}
    assert "libtorch" in memory_maps[worker.pid]  # proves that the memory maps would show it
    assert "libtorch" not in memory_maps[site.process.pid]


def test_without_the_key_the_page_asks_for_it_and_keeps_the_setup_link(tab: BrowserTab, site: Site) -> None:
    code = links.encode_setup(presets.preset_spec("first_tune"))
    tab.page.goto(f"{site.entry_url}?setup={code}")
    tab.page.get_by_label("Key").fill(site.address.partition("key=")[2])
    tab.page.get_by_role("button", name="Open the page").click()
    expect(tab.page.locator("#choose-notice")).to_contain_text("This setup came by a link")
    assert "key=" not in tab.page.url


def test_a_signed_in_browser_gives_another_one_its_own_address(page: Page, site: Site, chromium: Browser) -> None:
    page.get_by_role("button", name="Open in another browser").click()
    field = page.get_by_label("Address that signs in another browser")
    expect(field).to_have_value(re.compile(r"http://127\.0\.0\.1:\d+/\?key=\S+"))
    address = field.input_value()
    for is_first in (True, False):
        with chromium.new_context() as other_browser:
            tab = other_browser.new_page()
            tab.goto(address)
            if is_first:
                tab.wait_for_selector("#view-start", state="attached")
            else:
                expect(tab.locator("form")).to_contain_text("used already")


def test_a_link_to_this_machine_opens_the_page_in_a_browser_that_is_signed_in(page: Page, site: Site) -> None:
    """Links name 127.0.0.1, and not the host of the page that they were copied from."""
    code = links.encode_setup(presets.preset_spec("first_tune"))
    page.goto(f"{site.entry_url}?setup={code}")
    expect(page.locator("#choose-notice")).to_contain_text("This setup came by a link")
    assert page.url == f"{site.base_url}#choose"
    assert page.context.cookies(site.entry_url) == []  # which all ports of 127.0.0.1 would receive


def test_a_link_on_another_site_opens_the_page_for_a_browser_that_has_the_key(
    page: Page, site: Site, other_site: str
) -> None:
    page.goto(other_site)
    page.get_by_role("link").click()
    page.wait_for_selector("#view-start")


@pytest.fixture
def other_site(site: Site) -> Iterator[str]:
    """Another site (`localhost` is not `127.0.0.1` to a browser) with a link to ours."""

    class OtherSiteHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f'<a href="{site.base_url}">a setup for you</a>'.encode())

        def log_message(self, *arguments: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), OtherSiteHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/"
        server.shutdown()


def test_ctrl_c_stops_the_server_with_exit_code_0_and_empty_stderr() -> None:
    command = [sys.executable, "app.py", "--no-browser", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        address = re.search(r"http\S+", server.stdout.readline()).group()
        client, base_url = sign_in(address)
        stream = client.open(f"{base_url}live", timeout=30)
        assert stream.readline()  # an open event stream, which never ends by itself
        server.send_signal(signal.SIGINT)
        _, stderr = server.communicate(timeout=30)
    stream.close()
    assert (server.returncode, stderr) == (0, "")


def test_a_port_in_use_is_refused_with_a_message_that_names_it(site: Site) -> None:
    port = site.base_url.split(":")[2].strip("/")
    process = subprocess.run(
        [sys.executable, "app.py", "--no-browser", "--port", port], cwd=ROOT, capture_output=True, text=True
    )
    assert (process.returncode, process.stderr) == (
        2,
        f"Port {port} of 127.0.0.1 cannot be used (Address already in use). Choose another with --port.\n",
    )


@pytest.mark.full
def test_a_second_server_on_the_same_home_is_refused_with_the_address_of_the_first(site: Site) -> None:
    process = subprocess.run([sys.executable, "app.py", "--no-browser", "--port", "0"], cwd=ROOT, capture_output=True, text=True,
                             env=os.environ | {"TUNESMITH_HOME": str(site.home)})  # fmt: skip
    assert process.returncode == 2
    assert process.stderr == (f"This home is open already at {site.entry_url}. Open that page with the key its terminal prints, "
                              "or set TUNESMITH_HOME to another folder.\n")  # fmt: skip
