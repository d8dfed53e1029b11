"""Access control of the local server, over real HTTP: which requests are accepted and which are rejected."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from app.server.local_access import LocalAccess

ACCESS_KEY = "the-key"
PROTECTED_TEXT = "what only the owner sees"


async def protected_page(request: object) -> PlainTextResponse:
    return PlainTextResponse(PROTECTED_TEXT)


@pytest.fixture(scope="module")
def server_port() -> Iterator[int]:
    """The port of a real server with a small page behind the access check."""
    with socket.create_server(("127.0.0.1", 0)) as listening_socket:
        port = listening_socket.getsockname()[1]
        routes = [Route("/", protected_page, methods=["GET", "POST"]), Route("/deep", protected_page)]
        server = uvicorn.Server(
            uvicorn.Config(LocalAccess(Starlette(routes=routes), port, ACCESS_KEY), log_level="error")
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening_socket]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield port
        server.should_exit = True
        thread.join()


def send_request(port: int, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and text of the response. Apart from Host, only the given headers are sent."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    request_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(connection):
        connection.request(method, path, headers={"Host": f"127.0.0.1:{port}"} | request_headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read().decode()


@pytest.fixture
def cookie(server_port: int) -> str:
    return send_request(server_port, f"/?key={ACCESS_KEY}")[1]["set-cookie"].partition(";")[0]


def test_a_valid_key_sets_a_session_cookie_and_is_removed_from_the_url(server_port: int) -> None:
    status, headers, _ = send_request(server_port, f"/deep?setup=abc&key={ACCESS_KEY}")
    assert status == 303
    assert headers["location"] == f"http://127.0.0.1:{server_port}/deep?setup=abc"
    flags = headers["set-cookie"].lower()
    assert "httponly" in flags
    assert "samesite=strict" in flags
    assert ACCESS_KEY not in flags
    assert send_request(server_port, "/deep?setup=abc", Cookie=headers["set-cookie"].partition(";")[0])[::2] == (
        200,
        PROTECTED_TEXT,
    )


def test_a_request_without_the_key_gets_a_plain_form_for_it(server_port: int) -> None:
    status, _, text = send_request(server_port, '/?setup="><script>')
    assert status == 401
    assert 'name="key"' in text
    assert "<script" not in text
    assert 'value="&quot;&gt;&lt;script&gt;' in text  # the setup is preserved in the form


@pytest.mark.parametrize("path", ["/?key=wrong", "/?key=", "/?key=%C3%A9"])
def test_a_wrong_key_is_rejected(server_port: int, path: str) -> None:
    status, headers, text = send_request(server_port, path)
    assert status == 401
    assert "set-cookie" not in headers
    assert PROTECTED_TEXT not in text


def test_a_cookie_from_another_server_start_is_rejected(server_port: int) -> None:
    assert send_request(server_port, Cookie=f"tunesmith-{server_port}=guess")[0] == 401
    assert send_request(server_port, Cookie=f"tunesmith-{server_port}={ACCESS_KEY}")[0] == 401


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", ""])
def test_an_unknown_host_header_is_rejected(server_port: int, cookie: str, host: str) -> None:
    assert send_request(server_port, Host=host.format(port=server_port), Cookie=cookie)[0] == 421
    assert send_request(server_port, f"/?key={ACCESS_KEY}", Host=host.format(port=server_port))[0] == 421


def test_localhost_is_an_accepted_host(server_port: int) -> None:
    assert (
        send_request(server_port, f"/?key={ACCESS_KEY}", Host=f"localhost:{server_port}")[1]["location"]
        == f"http://localhost:{server_port}/"
    )


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}"])
def test_a_post_from_another_origin_is_rejected(server_port: int, cookie: str, origin: str) -> None:
    assert send_request(server_port, method="POST", Origin=origin.format(port=server_port), Cookie=cookie)[0] == 403
    assert send_request(server_port, method="POST", Origin=f"http://127.0.0.1:{server_port}", Cookie=cookie)[0] == 200


def test_framing_from_another_site_is_rejected_and_following_a_link_is_allowed(server_port: int, cookie: str) -> None:
    frame_headers = {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Dest": "iframe"}
    link_headers = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "document"}
    assert send_request(server_port, Cookie=cookie, **frame_headers)[0] == 403
    status, _, text = send_request(
        server_port, "/?setup=abc", **link_headers
    )  # browsers do not send a SameSite=Strict cookie here
    assert (status, "refresh" in text, PROTECTED_TEXT in text) == (200, True, False)
    assert send_request(server_port, method="POST", Cookie=cookie, **link_headers)[0] == 403


def test_every_response_forbids_other_hosts_and_framing(server_port: int, cookie: str) -> None:
    for headers in (send_request(server_port)[1], send_request(server_port, Cookie=cookie)[1]):
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

    local_access = LocalAccess(accept_websocket, 7860, ACCESS_KEY)
    open_websocket(host="127.0.0.1:7860")
    open_websocket(
        host="127.0.0.1:7860",
        cookie=f"{local_access.cookie_name}={local_access.session_token}",
        origin="http://evil.example",
    )
    open_websocket(host="127.0.0.1:7860", cookie=f"{local_access.cookie_name}={local_access.session_token}")
    assert [message["type"] for message in sent_messages] == ["websocket.close", "websocket.close", "websocket.accept"]
