"""Access: over real HTTP, who is let in and who is not."""

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

KEY = "the-key"
INSIDE = "what only the owner sees"


async def page(request: object) -> PlainTextResponse:
    return PlainTextResponse(INSIDE)


@pytest.fixture(scope="module")
def door() -> Iterator[int]:
    """The port of a real server with a small page behind the check."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        routes = [Route("/", page, methods=["GET", "POST"]), Route("/deep", page)]
        server = uvicorn.Server(uvicorn.Config(LocalAccess(Starlette(routes=routes), port, KEY), log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield port
        server.should_exit = True
        thread.join()


def ask(port: int, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
    """Status, headers and text; no header is sent that is not named here, Host excepted."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(connection):
        connection.request(method, path, headers={"Host": f"127.0.0.1:{port}"} | sent)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()


@pytest.fixture
def cookie(door: int) -> str:
    return ask(door, f"/?key={KEY}")[1]["set-cookie"].partition(";")[0]


def test_the_key_opens_the_page_and_leaves_the_address(door: int) -> None:
    status, headers, _ = ask(door, f"/deep?setup=abc&key={KEY}")
    assert status == 303
    assert headers["location"] == f"http://127.0.0.1:{door}/deep?setup=abc"
    flags = headers["set-cookie"].lower()
    assert "httponly" in flags
    assert "samesite=strict" in flags
    assert KEY not in flags
    assert ask(door, "/deep?setup=abc", Cookie=headers["set-cookie"].partition(";")[0])[::2] == (200, INSIDE)


def test_without_the_key_a_plain_page_asks_for_it(door: int) -> None:
    status, _, text = ask(door, '/?setup="><script>')
    assert status == 401
    assert 'name="key"' in text
    assert "<script" not in text
    assert 'value="&quot;&gt;&lt;script&gt;' in text  # the setup survives the asking


@pytest.mark.parametrize("path", ["/?key=wrong", "/?key=", "/?key=%C3%A9"])
def test_a_wrong_key_opens_nothing(door: int, path: str) -> None:
    status, headers, text = ask(door, path)
    assert status == 401
    assert "set-cookie" not in headers
    assert INSIDE not in text


def test_a_cookie_of_another_start_opens_nothing(door: int) -> None:
    assert ask(door, Cookie=f"tunesmith-{door}=guess")[0] == 401
    assert ask(door, Cookie=f"tunesmith-{door}={KEY}")[0] == 401


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", ""])
def test_another_name_for_this_machine_is_refused(door: int, cookie: str, host: str) -> None:
    assert ask(door, Host=host.format(port=door), Cookie=cookie)[0] == 421
    assert ask(door, f"/?key={KEY}", Host=host.format(port=door))[0] == 421


def test_localhost_is_this_machine(door: int) -> None:
    assert ask(door, f"/?key={KEY}", Host=f"localhost:{door}")[1]["location"] == f"http://localhost:{door}/"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}"])
def test_another_sites_page_may_send_nothing(door: int, cookie: str, origin: str) -> None:
    assert ask(door, method="POST", Origin=origin.format(port=door), Cookie=cookie)[0] == 403
    assert ask(door, method="POST", Origin=f"http://127.0.0.1:{door}", Cookie=cookie)[0] == 200


def test_another_sites_page_may_embed_nothing_but_a_person_may_follow_its_link(door: int, cookie: str) -> None:
    frame = {"Sec_Fetch_Site": "same-site", "Sec_Fetch_Dest": "iframe"}
    link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "document"}
    assert ask(door, Cookie=cookie, **frame)[0] == 403
    status, _, text = ask(door, "/?setup=abc", **link)  # browsers withhold the strict cookie here
    assert (status, "refresh" in text, INSIDE in text) == (200, True, False)
    assert ask(door, method="POST", Cookie=cookie, **link)[0] == 403


def test_every_answer_forbids_other_hosts_and_frames(door: int, cookie: str) -> None:
    for headers in (ask(door)[1], ask(door, Cookie=cookie)[1]):
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_a_web_socket_needs_the_cookie_too() -> None:
    sent: list[dict] = []

    async def send(message: dict) -> None:
        sent.append(message)

    def knock(**headers: str) -> None:
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "websocket", "path": "/", "query_string": b"", "headers": raw}
        asyncio.run(access(scope, None, send))

    async def accept(scope: dict, receive: object, send: object) -> None:
        await send({"type": "websocket.accept"})

    access = LocalAccess(accept, 7860, KEY)
    knock(host="127.0.0.1:7860")
    knock(host="127.0.0.1:7860", cookie=f"{access.cookie_name}={access.session_token}", origin="http://evil.example")
    knock(host="127.0.0.1:7860", cookie=f"{access.cookie_name}={access.session_token}")
    assert [message["type"] for message in sent] == ["websocket.close", "websocket.close", "websocket.accept"]
