"""Space access: over real HTTP and with a real OpenID provider, only the owner can sign in."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import gradio as gr
import pytest
import uvicorn
import yaml
from fastapi import FastAPI

from app.core.paths import ROOT
from app.core.problems import Problem
from app.hub import identity
from app.server.space_access import COOKIE_NAME, SpaceAccess
from tests.hub import LocalHub, run_local_hub

OWNER_PAGE_TITLE = "what only the owner sees"


@dataclass
class Browser:
    """An HTTP client with cookies per host and redirects; `visited_addresses` lists every requested address."""

    host: str
    cookies: dict[str, dict[str, str]] = field(default_factory=dict)
    visited_addresses: list[str] = field(default_factory=list)

    def request(self, address: str, method: str = "GET", body: str | None = None, **headers: str) -> tuple[int, dict[str, str], str]:  # fmt: skip
        parts = urlsplit(address if address.startswith("http") else f"http://{self.host}{address}")
        host_cookies = self.cookies.setdefault(parts.netloc, {})
        request_headers = (
            {"Cookie": "; ".join(f"{name}={value}" for name, value in host_cookies.items())} if host_cookies else {}
        )
        request_headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(HTTPConnection(parts.netloc, timeout=30)) as connection:
            connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body, request_headers)
            response = connection.getresponse()
            response_headers, text = (
                {name.lower(): value for name, value in response.getheaders()},
                response.read().decode(),
            )
        if "set-cookie" in response_headers:
            name, _, value = response_headers["set-cookie"].partition(";")[0].partition("=")
            host_cookies[name] = value
        self.visited_addresses.append(address)
        return response.status, response_headers, text

    def follow_redirects(self, address: str) -> tuple[int, str]:
        """The response after all redirects."""
        for _ in range(10):
            status, headers, text = self.request(address)
            if status not in (302, 303):
                return status, text
            address = headers["location"]
        raise AssertionError("more than ten redirects")

    def sign_in(self, user_name: str, hub: LocalHub, start: str = "/login") -> tuple[int, str]:
        self.cookies.setdefault(urlsplit(hub.address).netloc, {})["hub_user"] = user_name
        return self.follow_redirects(start)


def space_environment(hub: LocalHub, port: int, owner: str = "alice") -> dict[str, str]:
    return {"SYSTEM": "spaces", "SPACE_ID": f"{owner}/tunesmith", "SPACE_HOST": f"127.0.0.1:{port}", "OAUTH_CLIENT_ID": "client",
            "OAUTH_CLIENT_SECRET": "hush", "OAUTH_SCOPES": "openid profile contribute-repos", "OPENID_PROVIDER_URL": hub.address,
            "SPACE_CREATOR_USER_ID": "616c69636500000000000000"}  # fmt: skip


def identity_page() -> gr.Blocks:
    """A small Gradio page whose endpoint answers with the identity of the request."""

    def answer_identity(request: gr.Request) -> str:
        visitor_identity = identity.identity_of_request(request)
        return f"{visitor_identity.name} {visitor_identity.token}"

    with gr.Blocks(title=OWNER_PAGE_TITLE, analytics_enabled=False) as demo:
        gr.Button().click(answer_identity, None, gr.Textbox(), api_name="who")
    return demo


@contextlib.contextmanager
def open_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str = "alice", **environment_changes: str
) -> Iterator[tuple[LocalHub, SpaceAccess, int]]:
    with run_local_hub(tmp_path / "hub") as hub, socket.create_server(("127.0.0.1", 0)) as server_socket:
        port = server_socket.getsockname()[1]
        for name, value in (space_environment(hub, port, owner) | environment_changes).items():
            monkeypatch.setenv(name, value)
        access = SpaceAccess(gr.mount_gradio_app(FastAPI(), identity_page(), "/", ssr_mode=False))
        server = uvicorn.Server(uvicorn.Config(access, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [server_socket]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield hub, access, port
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def running_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LocalHub, SpaceAccess, int]]:
    with open_space(tmp_path, monkeypatch) as opened:
        yield opened


def request_identity(browser: Browser) -> str:
    """The answer of the page's Gradio endpoint to this browser, through the queue."""
    status, _, text = browser.request("/gradio_api/call/who", "POST", json.dumps({"data": []}), Content_Type="application/json")  # fmt: skip
    if status != 200:
        return f"{status} {text}"
    return browser.request(f"/gradio_api/call/who/{json.loads(text)['event_id']}")[2]


def test_the_owner_signs_in_and_gets_an_own_token(running_space: tuple[LocalHub, SpaceAccess, int]) -> None:
    hub, _, port = running_space
    browser = Browser(f"127.0.0.1:{port}")
    status, text = browser.follow_redirects("/")
    assert status == 200
    assert "Sign in with Hugging Face" in text
    assert OWNER_PAGE_TITLE not in text
    status, text = browser.sign_in("alice", hub)
    assert (status, OWNER_PAGE_TITLE in text) == (200, True)
    issued_tokens = [name for name in hub.server.hub.accounts.tokens if name.startswith("hf_oauth_")]
    assert f"alice {issued_tokens[0]}" in request_identity(browser)


def test_another_user_is_refused_with_a_message_and_their_token_is_dropped(
    running_space: tuple[LocalHub, SpaceAccess, int],
) -> None:
    hub, access, port = running_space
    browser = Browser(f"127.0.0.1:{port}")
    status, text = browser.sign_in("bob", hub)
    assert status == 200
    assert "You are signed in as bob. This Space serves its owner, alice, only." in text
    assert "https://huggingface.co/spaces/alice/tunesmith?duplicate=true" in text
    assert OWNER_PAGE_TITLE not in text
    assert request_identity(browser).startswith("401")
    assert [session.person.token for session in access.sessions.values() if session.person] == [None], (
        "the token of another user is not stored"
    )


def test_the_space_of_an_organization_serves_its_creator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_space(tmp_path, monkeypatch, owner="workshop") as (hub, _, port):
        assert OWNER_PAGE_TITLE in Browser(f"127.0.0.1:{port}").sign_in("alice", hub)[1]
        assert OWNER_PAGE_TITLE not in Browser(f"127.0.0.1:{port}").sign_in("bob", hub)[1]


@pytest.mark.parametrize("path", ["/config", "/live", "/gradio_api/info", "/gradio_api/queue/data?session_hash=x", "/gradio_api/file=README.md",
                                  "/theme.css", "/assets/x.js"])  # fmt: skip
@pytest.mark.parametrize("cookie", ["", "guess", "alice"])
def test_without_a_valid_session_cookie_every_path_gives_401(running_space: tuple[LocalHub, SpaceAccess, int], path: str, cookie: str) -> None:  # fmt: skip
    browser = Browser(
        f"127.0.0.1:{running_space[2]}", {f"127.0.0.1:{running_space[2]}": {COOKIE_NAME: cookie} if cookie else {}}
    )
    assert browser.request(path)[::2] == (401, "Sign in first.")
    assert browser.request(path, "POST", "{}")[::2] == (401, "Sign in first.")


def test_a_callback_of_another_browsers_sign_in_is_refused(running_space: tuple[LocalHub, SpaceAccess, int]) -> None:
    """A callback link with an attacker's code must not sign this browser in as the attacker."""
    _, access, port = running_space
    attacker, browser = Browser(f"127.0.0.1:{port}"), Browser(f"127.0.0.1:{port}")
    _, headers, _ = attacker.request("/login")
    _, headers, _ = attacker.request(headers["location"])
    for state in (None, "forged"):
        address = headers["location"]
        if state:
            browser.request("/login")  # this browser has its own sign-in in progress
        status, _, text = browser.request(address)
        assert (status, "Signing in did not work" in text) == (400, True)
    assert not any(session.person for session in access.sessions.values())


@pytest.mark.parametrize("query", ["error=access_denied&state={state}", "code=never-given&state={state}", "", "code=x"])
def test_a_failed_sign_in_shows_a_message(running_space: tuple[LocalHub, SpaceAccess, int], query: str) -> None:
    browser = Browser(f"127.0.0.1:{running_space[2]}")
    _, headers, _ = browser.request("/login")
    state = parse_qs(urlsplit(headers["location"]).query)["state"][0]
    status, _, text = browser.request(f"/login/callback?{query.format(state=state)}")
    assert (status, "Signing in did not work. Try it again." in text) == (400, True)


def test_an_unreachable_openid_provider_gives_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_space(tmp_path, monkeypatch, OPENID_PROVIDER_URL="http://127.0.0.1:9") as (_, _, port):
        status, _, text = Browser(f"127.0.0.1:{port}").request("/login")
        assert (status, "Hugging Face could not be reached" in text) == (502, True)


def test_a_setup_link_survives_sign_in_and_redirects_to_no_other_site(
    running_space: tuple[LocalHub, SpaceAccess, int],
) -> None:
    hub, _, port = running_space
    browser = Browser(f"127.0.0.1:{port}")
    _, _, text = browser.request("/?setup=abc%22%3E%3Cscript%3E")
    assert 'href="/login?setup=abc%22%3E%3Cscript%3E"' in text
    assert OWNER_PAGE_TITLE in browser.sign_in("alice", hub, "/login?setup=abc&_target_url=http://evil.example/&next=//evil.example")[1]  # fmt: skip
    assert browser.visited_addresses[-1] == "/?setup=abc"


def test_the_token_is_in_no_address_cookie_page_or_file(running_space: tuple[LocalHub, SpaceAccess, int], tmp_path: Path, home: Path) -> None:  # fmt: skip
    hub, _, port = running_space
    browser = Browser(f"127.0.0.1:{port}")
    _, text = browser.sign_in("alice", hub)
    (token,) = [name for name in hub.server.hub.accounts.tokens if name.startswith("hf_oauth_")]
    assert token not in "".join(browser.visited_addresses) + text + json.dumps(browser.cookies)
    assert not any(token.encode() in file.read_bytes() for file in home.rglob("*") if file.is_file())
    assert "token='hf" not in repr(identity.Identity("alice", token))


def test_sign_in_replaces_the_session_cookie_and_sign_out_ends_it(
    running_space: tuple[LocalHub, SpaceAccess, int],
) -> None:
    hub, _, port = running_space
    host = f"127.0.0.1:{port}"
    browser = Browser(host)
    browser.request("/login")
    cookie_before = browser.cookies[host][COOKIE_NAME]
    browser.sign_in("alice", hub)
    cookie_after = browser.cookies[host][COOKIE_NAME]
    assert cookie_before != cookie_after
    assert Browser(host, {host: {COOKIE_NAME: cookie_before}}).request("/config")[0] == 401
    browser.request("/logout")
    assert Browser(host, {host: {COOKIE_NAME: cookie_after}}).request("/config")[0] == 401


def test_a_link_on_another_site_signs_nobody_in_or_out(running_space: tuple[LocalHub, SpaceAccess, int]) -> None:
    hub, access, port = running_space
    browser = Browser(f"127.0.0.1:{port}")
    browser.sign_in("alice", hub)
    sessions_before = dict(access.sessions)
    for path in ("/login", "/logout"):
        for site in ("cross-site", "same-site"):
            status, headers, _ = browser.request(path, Sec_Fetch_Site=site, Sec_Fetch_Dest="document")
            assert (status, headers["location"]) == (303, "/")
    assert access.sessions == sessions_before
    assert browser.request("/config")[0] == 200
    assert browser.request("/logout", Sec_Fetch_Site="same-origin", Sec_Fetch_Dest="document")[0] == 303
    assert browser.request("/config")[0] == 401


def test_a_session_ends_when_its_token_expires(running_space: tuple[LocalHub, SpaceAccess, int]) -> None:
    hub, access, port = running_space
    browser = Browser(f"127.0.0.1:{port}")
    browser.sign_in("alice", hub)
    assert browser.request("/config")[0] == 200
    for session in access.sessions.values():
        session.expires_at = time.time() - 1
    assert browser.request("/config")[0] == 401


def test_the_cookie_has_safe_flags_and_only_huggingface_may_frame_the_page(running_space: tuple[LocalHub, SpaceAccess, int]) -> None:  # fmt: skip
    browser = Browser(f"127.0.0.1:{running_space[2]}")
    _, headers, _ = browser.request("/login")
    flags = headers["set-cookie"].lower()
    assert all(flag in flags for flag in ("httponly", "secure", "samesite=none", "path=/"))
    assert "domain" not in flags
    for path in ("/", "/config"):
        policy = browser.request(path)[1]["content-security-policy"]
        assert policy.endswith("frame-ancestors https://huggingface.co")


def test_requests_from_other_hosts_and_sites_are_refused_even_with_the_cookie(
    running_space: tuple[LocalHub, SpaceAccess, int],
) -> None:
    hub, _, port = running_space
    browser = Browser(f"127.0.0.1:{port}")
    browser.sign_in("alice", hub)
    assert browser.request("/config", Host="evil.example")[0] == 421
    assert browser.request("/config", "POST", "{}", Origin="http://evil.example")[0] == 403
    assert browser.request("/config", Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="empty")[0] == 403
    assert browser.request("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="iframe")[0] == 200, (
        "the iframe on huggingface.co"
    )
    assert browser.request("/config", Origin=f"http://127.0.0.1:{port}", Sec_Fetch_Site="same-origin")[0] == 200


def test_in_a_space_the_servers_own_token_is_not_used(
    running_space: tuple[LocalHub, SpaceAccess, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    with pytest.raises(Problem, match="not signed in"):
        identity.identity_of_request(gr.Request())
    assert identity.resolve_token(None) is None
    assert identity.page_url() == f"https://127.0.0.1:{running_space[2]}"


def test_outside_a_space_the_token_of_the_machine_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert identity.identity_of_request(gr.Request()) == identity.Identity(None, "hf_mine")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server_socket:
        return server_socket.getsockname()[1]


@pytest.mark.slow
def test_app_py_serves_the_page_in_a_space_environment(tmp_path: Path) -> None:
    """Runs `python app.py` with the environment of a Space; the HF_TOKEN of the Space's secrets is never used."""
    port = free_port()
    with run_local_hub(tmp_path / "hub") as hub:
        environment = os.environ | space_environment(hub, port) | {"HF_TOKEN": "hf_alice", "TUNESMITH_HOME": str(tmp_path / "home"),
                                                                   "HF_ENDPOINT": hub.address}  # fmt: skip
        command = [sys.executable, "app.py", "--port", str(port)]
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert "owner of this Space" in server.stdout.readline()
                browser = Browser(f"127.0.0.1:{port}")
                assert "Sign in with Hugging Face" in browser.follow_redirects("/")[1]
                assert browser.request("/config")[0] == 401
                status, text = browser.sign_in("alice", hub)
                assert (status, "gradio_config" in text) == (200, True)
                assert '"space_id":null' in text.replace(" ", ""), (
                    "with a space_id Gradio's header would call other hosts"
                )
                assert browser.request("/config")[0] == 200
                requested_paths = {path for _, path, _ in hub.server.hub.requests}
                assert "/api/whoami-v2" not in requested_paths
            finally:
                server.terminate()


@pytest.mark.slow
def test_a_space_without_oauth_is_refused_with_the_missing_setting(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OAUTH_", "OPENID_"))}
    environment |= {"SYSTEM": "spaces", "SPACE_ID": "a/b", "SPACE_HOST": "a-b.hf.space"}
    process = subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)  # fmt: skip
    assert process.returncode == 2
    assert "hf_oauth: true" in process.stderr
    assert "Traceback" not in process.stderr


# -- files of the Space ------------------------------------------------------------------------------------------------


def readme_front_matter() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def test_the_space_metadata_matches_the_pinned_versions() -> None:
    space_config, requirements = readme_front_matter(), (ROOT / "requirements.txt").read_text()
    assert f"gradio=={space_config['sdk_version']} " in requirements
    assert space_config["python_version"] == "{}.{}".format(*sys.version_info[:2])
    assert f"FROM python:{space_config['python_version']}-" in (ROOT / "spaces" / "Dockerfile").read_text()
    assert (ROOT / space_config["app_file"]).is_file()
    assert space_config["hf_oauth"] is True
    assert len(space_config["short_description"]) <= 60, "the limit of the Hub"


def test_the_spaces_folder_does_not_hide_the_spaces_library() -> None:
    """An __init__.py would hide the library; without the library, `import spaces` would import the folder."""
    assert not (ROOT / "spaces" / "__init__.py").exists()
    script = "import spaces; print(spaces.__file__, spaces.gradio_auto_wrap)"
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert str(ROOT / "spaces") not in process.stdout
