"""Space: over real HTTP and with a real OpenID provider, the owner gets in and nobody else does."""

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
from tests.hub import LocalHub, opened

INSIDE = "what only the owner sees"


@dataclass
class Browser:
    """Cookies per host and redirects, as a person's browser has them; `path` is every address it was sent to."""

    host: str
    cookies: dict[str, dict[str, str]] = field(default_factory=dict)
    path: list[str] = field(default_factory=list)

    def ask(self, address: str, method: str = "GET", body: str | None = None, **headers: str) -> tuple[int, dict[str, str], str]:  # fmt: skip
        parts = urlsplit(address if address.startswith("http") else f"http://{self.host}{address}")
        kept = self.cookies.setdefault(parts.netloc, {})
        sent = {"Cookie": "; ".join(f"{name}={value}" for name, value in kept.items())} if kept else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(HTTPConnection(parts.netloc, timeout=30)) as connection:
            connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body, sent)
            answer = connection.getresponse()
            told, text = {name.lower(): value for name, value in answer.getheaders()}, answer.read().decode()
        if "set-cookie" in told:
            name, _, value = told["set-cookie"].partition(";")[0].partition("=")
            kept[name] = value
        self.path.append(address)
        return answer.status, told, text

    def follow(self, address: str) -> tuple[int, str]:
        """Where the redirects end."""
        for _ in range(10):
            status, headers, text = self.ask(address)
            if status not in (302, 303):
                return status, text
            address = headers["location"]
        raise AssertionError("redirects without end")

    def sign_in(self, person: str, hub: LocalHub, start: str = "/login") -> tuple[int, str]:
        self.cookies.setdefault(urlsplit(hub.address).netloc, {})["hub_user"] = person
        return self.follow(start)


def space_environment(hub: LocalHub, port: int, owner: str = "alice") -> dict[str, str]:
    return {"SYSTEM": "spaces", "SPACE_ID": f"{owner}/tunesmith", "SPACE_HOST": f"127.0.0.1:{port}", "OAUTH_CLIENT_ID": "client",
            "OAUTH_CLIENT_SECRET": "hush", "OAUTH_SCOPES": "openid profile contribute-repos", "OPENID_PROVIDER_URL": hub.address,
            "SPACE_CREATOR_USER_ID": "616c69636500000000000000"}  # fmt: skip


def page() -> gr.Blocks:
    """A small page of Gradio's that says who it takes the visitor for."""

    def who(request: gr.Request) -> str:
        found = identity.identity_of_request(request)
        return f"{found.name} {found.token}"

    with gr.Blocks(title=INSIDE, analytics_enabled=False) as demo:
        gr.Button().click(who, None, gr.Textbox(), api_name="who")
    return demo


@contextlib.contextmanager
def space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str = "alice", **changes: str
) -> Iterator[tuple[LocalHub, SpaceAccess, int]]:
    with opened(tmp_path / "hub") as hub, socket.create_server(("127.0.0.1", 0)) as door:
        port = door.getsockname()[1]
        for name, value in (space_environment(hub, port, owner) | changes).items():
            monkeypatch.setenv(name, value)
        access = SpaceAccess(gr.mount_gradio_app(FastAPI(), page(), "/", ssr_mode=False))
        server = uvicorn.Server(uvicorn.Config(access, log_level="error", timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield hub, access, port
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[LocalHub, SpaceAccess, int]]:
    with space(tmp_path, monkeypatch) as opened_space:
        yield opened_space


def say_who(browser: Browser) -> str:
    """What Gradio's own endpoint answers to this browser, through its queue."""
    status, _, text = browser.ask("/gradio_api/call/who", "POST", json.dumps({"data": []}), Content_Type="application/json")  # fmt: skip
    if status != 200:
        return f"{status} {text}"
    return browser.ask(f"/gradio_api/call/who/{json.loads(text)['event_id']}")[2]


def test_the_owner_signs_in_and_gets_in_with_a_token_of_their_own(here: tuple[LocalHub, SpaceAccess, int]) -> None:
    hub, _, port = here
    browser = Browser(f"127.0.0.1:{port}")
    status, text = browser.follow("/")
    assert status == 200
    assert "Sign in with Hugging Face" in text
    assert INSIDE not in text
    status, text = browser.sign_in("alice", hub)
    assert (status, INSIDE in text) == (200, True)
    issued = [name for name in hub.server.hub.accounts.tokens if name.startswith("hf_oauth_")]
    assert f"alice {issued[0]}" in say_who(browser)


def test_another_person_is_told_so_in_a_sentence(here: tuple[LocalHub, SpaceAccess, int]) -> None:
    hub, access, port = here
    browser = Browser(f"127.0.0.1:{port}")
    status, text = browser.sign_in("bob", hub)
    assert status == 200
    assert "You are signed in as bob. This Space serves its owner, alice, only." in text
    assert "https://huggingface.co/spaces/alice/tunesmith?duplicate=true" in text
    assert INSIDE not in text
    assert say_who(browser).startswith("401")
    assert [visit.person.token for visit in access.sessions.values() if visit.person] == [None], (
        "their token is not kept"
    )


def test_an_organisations_space_is_its_makers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with space(tmp_path, monkeypatch, owner="workshop") as (hub, _, port):
        assert INSIDE in Browser(f"127.0.0.1:{port}").sign_in("alice", hub)[1]
        assert INSIDE not in Browser(f"127.0.0.1:{port}").sign_in("bob", hub)[1]


@pytest.mark.parametrize("path", ["/config", "/live", "/gradio_api/info", "/gradio_api/queue/data?session_hash=x", "/gradio_api/file=README.md",
                                  "/theme.css", "/assets/x.js"])  # fmt: skip
@pytest.mark.parametrize("cookie", ["", "guess", "alice"])
def test_without_a_cookie_that_was_given_there_is_nothing(here: tuple[LocalHub, SpaceAccess, int], path: str, cookie: str) -> None:  # fmt: skip
    browser = Browser(f"127.0.0.1:{here[2]}", {f"127.0.0.1:{here[2]}": {COOKIE_NAME: cookie} if cookie else {}})
    assert browser.ask(path)[::2] == (401, "Sign in first.")
    assert browser.ask(path, "POST", "{}")[::2] == (401, "Sign in first.")


def test_a_sign_in_somebody_else_began_is_refused(here: tuple[LocalHub, SpaceAccess, int]) -> None:
    """A stranger's link with the stranger's own code must not sign this browser in as them."""
    _, access, port = here
    stranger, browser = Browser(f"127.0.0.1:{port}"), Browser(f"127.0.0.1:{port}")
    _, headers, _ = stranger.ask("/login")
    _, headers, _ = stranger.ask(headers["location"])
    for state in (None, "forged"):
        address = headers["location"]
        if state:
            browser.ask("/login")  # a sign-in of this browser's own is under way
        status, _, text = browser.ask(address)
        assert (status, "Signing in did not work" in text) == (400, True)
    assert not any(visit.person for visit in access.sessions.values())


@pytest.mark.parametrize("query", ["error=access_denied&state={state}", "code=never-given&state={state}", "", "code=x"])
def test_a_sign_in_that_fails_says_so(here: tuple[LocalHub, SpaceAccess, int], query: str) -> None:
    browser = Browser(f"127.0.0.1:{here[2]}")
    _, headers, _ = browser.ask("/login")
    state = parse_qs(urlsplit(headers["location"]).query)["state"][0]
    status, _, text = browser.ask(f"/login/callback?{query.format(state=state)}")
    assert (status, "Signing in did not work. Try it again." in text) == (400, True)


def test_a_provider_out_of_reach_is_said_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with space(tmp_path, monkeypatch, OPENID_PROVIDER_URL="http://127.0.0.1:9") as (_, _, port):
        status, _, text = Browser(f"127.0.0.1:{port}").ask("/login")
        assert (status, "Hugging Face could not be reached" in text) == (502, True)


def test_a_shared_setup_survives_signing_in_and_leads_nowhere_else(here: tuple[LocalHub, SpaceAccess, int]) -> None:
    hub, _, port = here
    browser = Browser(f"127.0.0.1:{port}")
    _, _, text = browser.ask("/?setup=abc%22%3E%3Cscript%3E")
    assert 'href="/login?setup=abc%22%3E%3Cscript%3E"' in text
    assert INSIDE in browser.sign_in("alice", hub, "/login?setup=abc&_target_url=http://evil.example/&next=//evil.example")[1]  # fmt: skip
    assert browser.path[-1] == "/?setup=abc"


def test_the_token_is_in_no_address_cookie_page_or_file(here: tuple[LocalHub, SpaceAccess, int], tmp_path: Path, home: Path) -> None:  # fmt: skip
    hub, _, port = here
    browser = Browser(f"127.0.0.1:{port}")
    _, text = browser.sign_in("alice", hub)
    (token,) = [name for name in hub.server.hub.accounts.tokens if name.startswith("hf_oauth_")]
    assert token not in "".join(browser.path) + text + json.dumps(browser.cookies)
    assert not any(token.encode() in file.read_bytes() for file in home.rglob("*") if file.is_file())
    assert "token='hf" not in repr(identity.Identity("alice", token))


def test_signing_in_gives_a_new_cookie_and_signing_out_ends_it(here: tuple[LocalHub, SpaceAccess, int]) -> None:
    hub, _, port = here
    host = f"127.0.0.1:{port}"
    browser = Browser(host)
    browser.ask("/login")
    before = browser.cookies[host][COOKIE_NAME]
    browser.sign_in("alice", hub)
    inside = browser.cookies[host][COOKIE_NAME]
    assert before != inside
    assert Browser(host, {host: {COOKIE_NAME: before}}).ask("/config")[0] == 401
    browser.ask("/logout")
    assert Browser(host, {host: {COOKIE_NAME: inside}}).ask("/config")[0] == 401


def test_a_sign_in_ends_when_its_token_does(here: tuple[LocalHub, SpaceAccess, int]) -> None:
    hub, access, port = here
    browser = Browser(f"127.0.0.1:{port}")
    browser.sign_in("alice", hub)
    assert browser.ask("/config")[0] == 200
    for visit in access.sessions.values():
        visit.expires_at = time.time() - 1
    assert browser.ask("/config")[0] == 401


def test_the_cookie_is_for_this_page_alone_and_only_the_hub_may_frame_it(here: tuple[LocalHub, SpaceAccess, int]) -> None:  # fmt: skip
    browser = Browser(f"127.0.0.1:{here[2]}")
    _, headers, _ = browser.ask("/login")
    flags = headers["set-cookie"].lower()
    assert all(flag in flags for flag in ("httponly", "secure", "samesite=none", "path=/"))
    assert "domain" not in flags
    for path in ("/", "/config"):
        policy = browser.ask(path)[1]["content-security-policy"]
        assert policy.endswith("frame-ancestors https://huggingface.co")


def test_other_hosts_and_other_sites_get_nothing_even_with_the_cookie(here: tuple[LocalHub, SpaceAccess, int]) -> None:
    hub, _, port = here
    browser = Browser(f"127.0.0.1:{port}")
    browser.sign_in("alice", hub)
    assert browser.ask("/config", Host="evil.example")[0] == 421
    assert browser.ask("/config", "POST", "{}", Origin="http://evil.example")[0] == 403
    assert browser.ask("/config", Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="empty")[0] == 403
    assert browser.ask("/", Sec_Fetch_Site="cross-site", Sec_Fetch_Dest="iframe")[0] == 200, (
        "the frame on huggingface.co"
    )
    assert browser.ask("/config", Origin=f"http://127.0.0.1:{port}", Sec_Fetch_Site="same-origin")[0] == 200


def test_in_a_space_nobody_is_the_server(
    here: tuple[LocalHub, SpaceAccess, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    with pytest.raises(Problem, match="not signed in"):
        identity.identity_of_request(gr.Request())
    assert identity.resolve_token(None) is None
    assert identity.page_url() == f"https://127.0.0.1:{here[2]}"


def test_on_ones_own_machine_the_token_is_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert identity.identity_of_request(gr.Request()) == identity.Identity(None, "hf_mine")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as door:
        return door.getsockname()[1]


@pytest.mark.slow
def test_the_real_page_runs_as_a_space_runs_it(tmp_path: Path) -> None:
    """`python app.py`, with what the platform sets; a token in the Space's own secrets is never used."""
    port = free_port()
    with opened(tmp_path / "hub") as hub:
        environment = os.environ | space_environment(hub, port) | {"HF_TOKEN": "hf_alice", "TUNESMITH_HOME": str(tmp_path / "home"),
                                                                   "HF_ENDPOINT": hub.address}  # fmt: skip
        command = [sys.executable, "app.py", "--port", str(port)]
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert "owner of this Space" in server.stdout.readline()
                browser = Browser(f"127.0.0.1:{port}")
                assert "Sign in with Hugging Face" in browser.follow("/")[1]
                assert browser.ask("/config")[0] == 401
                status, text = browser.sign_in("alice", hub)
                assert (status, "gradio_config" in text) == (200, True)
                assert '"space_id":null' in text.replace(" ", ""), "Gradio's own bar asks other hosts"
                assert browser.ask("/config")[0] == 200
                used = {path for _, path, _ in hub.server.hub.seen}
                assert "/api/whoami-v2" not in used
            finally:
                server.terminate()


def test_a_space_made_without_signing_in_says_what_is_missing(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OAUTH_", "OPENID_"))}
    environment |= {"SYSTEM": "spaces", "SPACE_ID": "a/b", "SPACE_HOST": "a-b.hf.space"}
    done = subprocess.run([sys.executable, "app.py"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)  # fmt: skip
    assert done.returncode == 2
    assert "hf_oauth: true" in done.stderr
    assert "Traceback" not in done.stderr


# -- what is uploaded --------------------------------------------------------------------------------------------------


def front_matter() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def test_the_space_runs_what_is_pinned_here() -> None:
    told, pins = front_matter(), (ROOT / "requirements.txt").read_text()
    assert f"gradio=={told['sdk_version']} " in pins
    assert told["python_version"] == "{}.{}".format(*sys.version_info[:2])
    assert f"FROM python:{told['python_version']}-" in (ROOT / "spaces" / "Dockerfile").read_text()
    assert (ROOT / told["app_file"]).is_file()
    assert told["hf_oauth"] is True
    assert len(told["short_description"]) <= 60, "the Hub takes no more"


def test_our_folder_is_not_taken_for_the_library_of_its_name() -> None:
    """A package there would hide it; and without the library the folder itself would be imported in its place."""
    assert not (ROOT / "spaces" / "__init__.py").exists()
    found = "import spaces; print(spaces.__file__, spaces.gradio_auto_wrap)"
    done = subprocess.run([sys.executable, "-c", found], cwd=ROOT, capture_output=True, text=True, check=True)
    assert str(ROOT / "spaces") not in done.stdout
