"""The JavaScript modules of the page: addresses, caching, compression, preloading, and imports that exist."""

from __future__ import annotations

import gzip
import re

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from components import scripts

FIRST_LINE = re.compile(r"^// [A-Z]")
LOCAL_IMPORT = re.compile(r"""from '\./([\w.]+)'""")


@pytest.fixture
def client() -> TestClient:
    """An app that responds to every address, as Gradio does, with the modules served before it."""
    app = FastAPI()

    @app.get("/{path:path}")
    def page(path: str) -> dict[str, str]:
        return {"page": path}

    return TestClient(scripts.ModuleServer(app))


def test_a_module_is_served_as_immutable_javascript(client: TestClient) -> None:
    response = client.get(scripts.address("shell"), headers={"accept-encoding": "identity"})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/javascript")
    assert "immutable" in response.headers["cache-control"]
    assert response.content == scripts.modules()["shell.js"]


def test_a_module_is_compressed_for_a_browser_that_accepts_gzip(client: TestClient) -> None:
    with client.stream("GET", scripts.address("tokens"), headers={"accept-encoding": "gzip"}) as response:
        compressed = b"".join(response.iter_raw())
    assert response.headers["content-encoding"] == "gzip"
    assert gzip.decompress(compressed) == scripts.modules()["tokens.js"]


@pytest.mark.parametrize(
    "path", ["scripts/0000/shell.js", "scripts/{version}/nothing.js", "scripts/{version}/theme.css"]
)
def test_a_path_that_is_no_module_is_not_found(client: TestClient, path: str) -> None:
    assert client.get(path.format(version=scripts.version())).status_code == 404


def test_the_page_preloads_every_module_in_its_link_header(client: TestClient) -> None:
    links = client.get("/").headers["link"]
    assert links.count('rel="modulepreload"') == len(scripts.modules())
    assert f"<{scripts.address('settings')}>" in links
    assert "link" not in client.get("/elsewhere").headers


def test_modules_can_be_added_to_a_running_app() -> None:
    app = FastAPI()
    client = TestClient(app)
    assert client.get(scripts.address("shell")).status_code == 404
    scripts.serve_modules(app)
    assert client.get(scripts.address("shell")).status_code == 200


def test_a_changed_module_changes_the_version_and_a_cached_address_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    original_address = scripts.address("shell")
    changed_modules = scripts.modules() | {"format.js": b"export const changed = 1;"}
    monkeypatch.setattr(scripts, "modules", lambda: changed_modules)
    assert scripts.version.__wrapped__() != scripts.version()
    assert original_address == scripts.address("shell")


def test_the_head_runs_the_page_modules_and_preloads_all() -> None:
    head = scripts.head()
    assert re.findall(r'<script type="module" src="scripts/\w+/(\w+)\.js">', head) == [
        "shell",
        "event_stream",
    ]
    assert head.count('rel="modulepreload"') == len(scripts.modules())


@pytest.mark.parametrize("name", sorted(scripts.modules()))
def test_a_module_begins_with_a_description_and_imports_only_existing_modules(name: str) -> None:
    source = scripts.modules()[name].decode()
    assert FIRST_LINE.match(source), f"{name} begins with a comment that describes the module"
    assert {*LOCAL_IMPORT.findall(source)} <= {*scripts.modules(), "types.d.ts"}
    assert len(source.splitlines()) <= 300


def test_a_load_snippet_of_an_unknown_module_is_refused() -> None:
    assert scripts.address("plan") in scripts.on_load("plan")
    with pytest.raises(AssertionError, match="no module nothing"):
        scripts.on_load("nothing")
