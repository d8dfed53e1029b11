"""Access control of the local server, over real HTTP: which requests are accepted and which are rejected."""

from __future__ import annotations

import asyncio
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from app.core.paths import ROOT
from app.core.workspace import Workspace
from app.server.access_keys import AccessKeys, page_name
from app.server.local_access import LocalAccess

NAME = "tunesmith-abc.localhost"
PROTECTED_TEXT = "what only the owner sees"


async def protected_page(request: object) -> PlainTextResponse:
    return PlainTextResponse(PROTECTED_TEXT)


class AccessServer(NamedTuple):
    """A real server with a small page behind the access check. announced: the addresses that it has announced."""

    port: int
    access: LocalAccess
    announced: list[str]

    @property
    def host(self) -> str:
        return f"{NAME}:{self.port}"

    @property
    def entry_host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def request(self, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
        """Status, headers and text of the response. Apart from Host, only the given headers are sent."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        request_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(connection):
            connection.request(method, path, headers={"Host": self.host} | request_headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read().decode()

    def new_key(self) -> str:
        return self.access.sign_in_address().partition("key=")[2]


@pytest.fixture(scope="module")
def server() -> Iterator[AccessServer]:
    with socket.create_server(("127.0.0.1", 0)) as listening_socket:
        port = listening_socket.getsockname()[1]
        routes = [Route("/", protected_page, methods=["GET", "POST"]), Route("/deep", protected_page)]
        announced: list[str] = []
        access = LocalAccess(Starlette(routes=routes), port, NAME, announced.append)
        uvicorn_server = uvicorn.Server(uvicorn.Config(access, log_level="error"))
        thread = threading.Thread(target=uvicorn_server.run, kwargs={"sockets": [listening_socket]})
        thread.start()
        while not uvicorn_server.started:
            time.sleep(0.01)
        yield AccessServer(port, access, announced)
        uvicorn_server.should_exit = True
        thread.join()


@pytest.fixture
def cookie(server: AccessServer) -> str:
    return server.request(f"/?key={server.new_key()}")[1]["set-cookie"].partition(";")[0]


def test_a_valid_key_sets_a_session_cookie_and_is_removed_from_the_url(server: AccessServer) -> None:
    key = server.new_key()
    status, headers, _ = server.request(f"/deep?setup=abc&key={key}")
    assert status == 303
    assert headers["location"] == f"http://{server.host}/deep?setup=abc"
    flags = headers["set-cookie"].lower()
    assert "httponly" in flags
    assert "samesite=strict" in flags
    assert key not in flags
    assert server.request("/deep?setup=abc", Cookie=headers["set-cookie"].partition(";")[0])[::2] == (
        200,
        PROTECTED_TEXT,
    )


def test_a_request_without_the_key_gets_a_plain_form_for_it(server: AccessServer) -> None:
    status, _, text = server.request('/?setup="><script>')
    assert status == 401
    assert 'name="key"' in text
    assert "<script" not in text
    assert "<script>" not in server.request('/?setup="><script>', Host=server.entry_host)[2].partition("</form>")[0]
    assert 'value="&quot;&gt;&lt;script&gt;' in text  # the setup is preserved in the form


@pytest.mark.parametrize("path", ["/?key=wrong", "/?key=", "/?key=%C3%A9"])
def test_a_wrong_key_is_rejected(server: AccessServer, path: str) -> None:
    status, headers, text = server.request(path)
    assert status == 401
    assert "set-cookie" not in headers
    assert PROTECTED_TEXT not in text


def test_a_cookie_from_another_server_start_is_rejected(server: AccessServer) -> None:
    for guess in ("guess", "", server.new_key()):
        assert server.request(Cookie=f"tunesmith-{server.port}={guess}")[0] == 401


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", ""])
def test_an_unknown_host_header_is_rejected(server: AccessServer, cookie: str, host: str) -> None:
    assert server.request(Host=host.format(port=server.port), Cookie=cookie)[0] == 421
    assert server.request(f"/?key={server.new_key()}", Host=host.format(port=server.port))[0] == 421


def test_the_key_of_a_printed_address_signs_in_one_browser(server: AccessServer) -> None:
    """The address leads to 127.0.0.1, whose page leads on to the host of its own; there, the key is used up."""
    address = server.access.sign_in_address()
    assert address.startswith(f"http://{server.entry_host}/?key=")
    path = address.removeprefix(f"http://{server.entry_host}")
    for _ in range(2):  # a preview of the address, for example, does not use it up
        status, headers, text = server.request(path, Host=server.entry_host)
        assert (status, f'"http://{server.host}"' in text, "set-cookie" in headers) == (200, True, False)
    assert server.request(path, method="HEAD")[0] == 401
    assert "set-cookie" in server.request(path)[1]
    status, headers, text = server.request(path)
    assert (status, "used already" in text, "set-cookie" in headers) == (401, True, False)
    assert server.request(path, Host=server.entry_host)[0] == 401


def test_the_host_of_the_page_is_told_only_to_who_has_a_key(server: AccessServer, cookie: str) -> None:
    for path in ("/", "/?key=wrong", "/deep", "/?forget=1"):
        for host in (server.entry_host, f"localhost:{server.port}"):
            status, headers, text = server.request(path, Host=host, Cookie=cookie)
            assert status in (303, 401)
            assert NAME not in f"{headers}{text}"


def test_a_signed_in_browser_gets_addresses_for_others(server: AccessServer, cookie: str) -> None:
    assert server.request("/sign-in-address", method="POST")[0] == 401
    assert server.request("/sign-in-address", method="POST", Cookie=cookie, Host=server.entry_host)[0] == 401
    assert server.request("/sign-in-address", method="POST", Cookie=cookie, Origin="http://evil.example")[0] == 403
    addresses = {server.request("/sign-in-address", method="POST", Cookie=cookie)[2] for _ in range(2)}
    assert len(addresses) == 2
    for address in addresses:
        assert "set-cookie" in server.request(address.removeprefix(f"http://{server.entry_host}"))[1]


def test_a_key_that_was_handed_out_is_void_after_its_time() -> None:
    keys = AccessKeys()
    short, long = keys.issue(0.05), keys.issue()
    assert keys.is_valid(short)
    time.sleep(0.1)
    assert (keys.is_valid(short), keys.is_valid(long)) == (False, True)


def test_a_further_key_is_announced_when_a_browser_asks_and_the_last_was_used(server: AccessServer) -> None:
    address = server.access.announced_address()
    server.announced.clear()
    server.request(Host=server.entry_host)
    assert server.announced == []  # that one may still be used
    server.request(address.removeprefix(f"http://{server.entry_host}"))
    server.request("/deep", Sec_Fetch_Dest="script")
    assert server.announced == []  # no visit
    for _ in range(3):
        server.request(Host=server.entry_host)
    assert len(server.announced) == 1


def test_another_name_leads_to_the_entry_which_forgets_it(server: AccessServer) -> None:
    status, headers, _ = server.request("/deep?setup=abc", Host=f"tunesmith-other.localhost:{server.port}")
    assert (status, headers["location"]) == (303, f"http://{server.entry_host}/deep?setup=abc&forget=1")
    status, headers, _ = server.request("/deep?setup=abc", Host=f"localhost:{server.port}")
    assert (status, headers["location"]) == (303, f"http://{server.entry_host}/deep?setup=abc")
    assert server.request("/", method="POST", Host=f"localhost:{server.port}")[0] == 421


def test_the_name_of_the_page_stays_and_is_private(tmp_path: Path) -> None:
    name = page_name(Workspace(tmp_path))
    assert re.fullmatch(r"tunesmith-[0-9a-f]{12}\.localhost", name)
    assert page_name(Workspace(tmp_path)) == name != page_name(Workspace(tmp_path / "other"))
    assert (tmp_path / "page-name").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}", "http://127.0.0.1:{port}"],
)
def test_a_post_from_another_origin_is_rejected(server: AccessServer, cookie: str, origin: str) -> None:
    assert server.request(method="POST", Origin=origin.format(port=server.port), Cookie=cookie)[0] == 403
    assert server.request(method="POST", Origin=f"http://{server.host}", Cookie=cookie)[0] == 200


def test_framing_from_another_site_is_rejected_and_following_a_link_is_allowed(
    server: AccessServer, cookie: str
) -> None:
    frame_headers = {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Dest": "iframe"}
    link_headers = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "document"}
    assert server.request(Cookie=cookie, **frame_headers)[0] == 403
    status, _, text = server.request(
        "/?setup=abc", **link_headers
    )  # browsers do not send a SameSite=Strict cookie here
    assert (status, "refresh" in text, PROTECTED_TEXT in text) == (200, True, False)
    assert server.request(method="POST", Cookie=cookie, **link_headers)[0] == 403


def test_every_response_forbids_other_hosts_and_framing(server: AccessServer, cookie: str) -> None:
    for headers in (server.request()[1], server.request(Cookie=cookie)[1]):
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_a_websocket_needs_the_session_cookie_and_its_own_origin() -> None:
    sent_messages: list[dict] = []

    async def send(message: dict) -> None:
        sent_messages.append(message)

    def open_websocket(**headers: str) -> None:
        header_pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "websocket", "path": "/", "query_string": b"", "headers": header_pairs}
        asyncio.run(local_access(scope, None, send))

    async def accept_websocket(scope: dict, receive: object, send: object) -> None:
        await send({"type": "websocket.accept"})

    local_access = LocalAccess(accept_websocket, 7860)
    local_access.session_tokens.add("token")
    open_websocket(host="127.0.0.1:7860")
    open_websocket(
        host="127.0.0.1:7860",
        cookie=f"{local_access.cookie_name}=token",
        origin="http://evil.example",
    )
    open_websocket(host="127.0.0.1:7860", cookie=f"{local_access.cookie_name}=token")
    assert [message["type"] for message in sent_messages] == ["websocket.close", "websocket.close", "websocket.accept"]


@pytest.mark.slow
def test_a_folder_that_somebody_else_made_for_all_of_gradio_is_not_used(home: Path, tmp_path: Path) -> None:
    """/tmp/gradio is the same for all people of a machine: its owner could read pictures there, or let no page start."""
    (tmp_path / "temporary").mkdir()
    (tmp_path / "temporary" / "gradio").write_text("taken")
    command = [sys.executable, "app.py", "--no-browser", "--port", "0"]
    environment = os.environ | {"TMPDIR": str(tmp_path / "temporary")}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as page:
        assert page.stdout
        assert page.stdout.readline().startswith("Tunesmith is open at")
        page.send_signal(signal.SIGINT)
    assert (home / "cache" / "gradio").is_dir()
    assert home.stat().st_mode & 0o077 == 0
