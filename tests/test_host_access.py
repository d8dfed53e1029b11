"""A page that its owner has opened to other machines: key, allowed names, proxies, and what stays off."""

from __future__ import annotations

import argparse
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import app as app_package
from app.core import platform
from app.core.problems import Problem
from app.planning import preflight, presets
from app.server import host_access
from app.server.host_access import HostAccess, HostOptions
from app.server.views import data_sources
from app.setup.spec import Model, Reward, parse_spec
from app.worker.client import WorkerClient

NAME = "tunes.example.org"
HTTPS = {"X_Forwarded_Proto": "https"}


async def protected_page(request: object) -> PlainTextResponse:
    return PlainTextResponse("what only the owner sees")


class OpenServer:
    """A real server, as app.py runs it behind a proxy on this machine."""

    def __init__(self, port: int, access: HostAccess):
        self.port, self.access = port, access

    def request(self, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, dict[str, str], str]:
        """Status, headers and text of the response to a request that a proxy passes on."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            request_headers = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers={"Host": NAME} | request_headers)
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read().decode()

    def sign_in(self, **headers: str) -> tuple[int, dict[str, str], str]:
        return self.request(f"/?key={self.access.keys.issue()}", **headers)


@pytest.fixture(scope="module")
def server() -> Iterator[OpenServer]:
    with socket.create_server(("127.0.0.1", 0)) as listening_socket:
        port = listening_socket.getsockname()[1]
        page = Starlette(routes=[Route("/", protected_page, methods=["GET", "POST"])])
        access = HostAccess(page, port, HostOptions("0.0.0.0", (NAME,)))
        uvicorn_server = uvicorn.Server(uvicorn.Config(access, log_level="error"))
        thread = threading.Thread(target=uvicorn_server.run, kwargs={"sockets": [listening_socket]})
        thread.start()
        while not uvicorn_server.started:
            time.sleep(0.01)
        yield OpenServer(port, access)
        uvicorn_server.should_exit = True
        thread.join()


@pytest.mark.parametrize(
    "host", [NAME, f"{NAME}:8443", NAME.upper(), "192.168.1.7:7860", "[fe80::1]:7860", "localhost:1"]
)
def test_the_page_is_at_addresses_and_allowed_names_and_needs_the_key_there(server: OpenServer, host: str) -> None:
    assert server.request(Host=host)[0] == 401
    status, headers, _ = server.sign_in(Host=host)
    assert (status, headers["location"]) == (303, f"http://{host}/")
    cookie = headers["set-cookie"].partition(";")[0]
    assert server.request(Host=host, Cookie=cookie)[::2] == (200, "what only the owner sees")


@pytest.mark.parametrize("host", ["evil.example", f"{NAME}.evil.example", f"evil{NAME}", "127.0.0.1.evil.example", ""])
def test_a_name_that_was_not_allowed_is_refused_also_with_the_key(server: OpenServer, host: str) -> None:
    status, headers, text = server.sign_in(Host=host)
    assert (status, "set-cookie" in headers) == (421, False)
    assert "--allowed-host" in text


def test_a_key_signs_in_one_browser_and_that_one_gets_the_next(server: OpenServer) -> None:
    key = server.access.keys.issue()
    cookie = server.request(f"/?key={key}")[1]["set-cookie"].partition(";")[0]
    assert server.request(f"/?key={key}")[0] == 401
    assert server.request("/sign-in-address", method="POST")[0] == 401
    address = server.request("/sign-in-address", method="POST", Cookie=cookie)[2]
    assert address.startswith(f"http://{NAME}/?key=")
    assert server.request(address.removeprefix(f"http://{NAME}"))[0] == 303


def test_behind_a_proxy_with_https_the_cookie_and_all_addresses_are_for_https(server: OpenServer) -> None:
    status, headers, _ = server.sign_in(**HTTPS)
    assert (status, headers["location"]) == (303, f"https://{NAME}/")
    assert "; secure" in headers["set-cookie"].lower()
    cookie = headers["set-cookie"].partition(";")[0]
    address = server.request("/sign-in-address", method="POST", Cookie=cookie, **HTTPS)[2]
    assert address.startswith(f"https://{NAME}/?key=")
    assert "; secure" not in server.sign_in()[1]["set-cookie"].lower()


def test_requests_of_other_sites_are_refused(server: OpenServer) -> None:
    cookie = server.sign_in()[1]["set-cookie"].partition(";")[0]
    for origin in (f"http://{NAME}", f"https://{NAME}"):  # a proxy may not say that it speaks https
        assert server.request(method="POST", Cookie=cookie, Origin=origin)[0] == 200
    for origin in ("https://evil.example", "null", f"http://{NAME}:1"):
        assert server.request(method="POST", Cookie=cookie, Origin=origin)[0] == 403
    assert server.request(method="POST", Cookie=cookie, Origin=f"http://{NAME}", **HTTPS)[0] == 403
    assert server.request(Cookie=cookie, Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="iframe")[0] == 403


def test_the_page_that_asks_for_the_key_says_that_plain_http_can_be_read(server: OpenServer) -> None:
    assert "can read the key" in server.request()[2]


def test_the_printed_address_names_where_the_page_listens() -> None:
    assert HostOptions("10.1.2.3").printed_host == "10.1.2.3"
    assert HostOptions("fd00::1").printed_host == "[fd00::1]"
    assert HostOptions("0.0.0.0").printed_host == host_access.first_network_address()


@pytest.mark.parametrize(
    ("text", "name"), [("Tunes.Example.org", NAME), (f"https://{NAME}:8443/x", NAME), ("lab7", "lab7")]
)
def test_an_allowed_name_may_be_given_as_an_address(text: str, name: str) -> None:
    assert host_access.parse_host_name(text) == name


@pytest.mark.parametrize("text", ["", "*.example.org", "a b", ".org", "user@host"])
def test_an_allowed_name_is_one_name(text: str) -> None:
    with pytest.raises(Problem, match="no name of a host"):
        host_access.parse_host_name(text)


# -- what stays off --------------------------------------------------------------------------------------------------


def code_setup() -> dict:
    spec = presets.unresolved_preset_spec("first_reward")
    program = "def score(answer, row):\n    return 0.0\n"
    reward = Reward(name="own_python", label="mine", params={"code": program})
    return spec.model_copy(update={"rewards": [reward]}).to_dict()


def test_rewards_that_run_code_and_files_of_the_machine_stay_off_until_the_owner_allows_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "One?", "answer": "1"}\n' * 20)
    file_setup = presets.unresolved_preset_spec("first_tune").to_dict() | {
        "data": [{"source": f"path:{path}"}],
        "holdout": {},
        "rewards": [],
    }
    preview = data_sources.data_source_functions(WorkerClient())[0]
    preflight.check_spec(parse_spec(code_setup()))
    preflight.check_spec(parse_spec(file_setup))
    monkeypatch.setenv(platform.SHARED_VARIABLE, "1")
    with pytest.raises(Problem, match=r"runs code, which is off.*--allow-code"):
        preflight.check_spec(parse_spec(code_setup()))
    with pytest.raises(Problem, match=r"file of the machine.*--allow-code"):
        preflight.check_spec(parse_spec(file_setup))
    with pytest.raises(Problem, match="takes no file of the machine"):
        preview({"source": {"source": f"path:{path}"}})
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(Problem, match="folder of the machine"):
        preflight.refuse_local_model(Model(id=str(tmp_path)))
    (tmp_path / "adapter_config.json").write_text("{}")
    setup = presets.unresolved_preset_spec("first_tune").to_dict()
    with pytest.raises(Problem, match=r"file of the machine.*--allow-code"):
        preflight.check_spec(parse_spec(setup | {"model": {"start_from": str(tmp_path)}}))
    preflight.check_spec(presets.preset_spec("first_tune"))
    preflight.refuse_local_model(Model())


def test_options_for_other_machines_need_the_option_that_opens_the_page() -> None:
    from importlib.util import module_from_spec, spec_from_file_location

    module_spec = spec_from_file_location("start", Path(app_package.__path__[0]).parent / "app.py")
    start = module_from_spec(module_spec)
    module_spec.loader.exec_module(start)

    def parse(**options: object) -> HostOptions | None:
        defaults = {"host": None, "allowed_host": [], "allow_code": False}
        return start.parse_host_options(argparse.Namespace(**{**defaults, **options}))

    assert parse() is None
    assert parse(host="lab7") == HostOptions("lab7", ("lab7",)), "the page is open under the name that it prints"
    assert parse(host="0.0.0.0", allowed_host=[f"https://{NAME}/"]) == HostOptions("0.0.0.0", (NAME,))
    for options in ({"allowed_host": [NAME]}, {"allow_code": True}):
        with pytest.raises(Problem, match="--host"):
            parse(**options)
    assert "--allow-code turns them on" in start.describe_host_access(HostOptions("0.0.0.0"), False)
    assert NAME in start.describe_host_access(HostOptions("0.0.0.0", (NAME,)), True)
