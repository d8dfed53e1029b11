"""The page's JavaScript modules: where they are served, for how long they may be kept, and that every import leads somewhere."""

from __future__ import annotations

import gzip
import re

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from components import scripts

FIRST_LINE = re.compile(r"^// [A-Z]")
IMPORTED = re.compile(r"""from '\./([\w.]+)'""")


@pytest.fixture
def client() -> TestClient:
    """A page that answers every address itself, as Gradio does, with the modules mounted before it."""
    app = FastAPI()

    @app.get("/{path:path}")
    def page(path: str) -> dict[str, str]:
        return {"page": path}

    return TestClient(scripts.ModuleServer(app))


def test_a_module_is_javascript_that_never_changes_under_its_address(client: TestClient) -> None:
    answer = client.get(scripts.address("shell"), headers={"accept-encoding": "identity"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/javascript")
    assert "immutable" in answer.headers["cache-control"]
    assert answer.content == scripts.modules()["shell.js"]


def test_a_module_is_compressed_for_a_browser_that_reads_it(client: TestClient) -> None:
    with client.stream("GET", scripts.address("tokens"), headers={"accept-encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(raw) == scripts.modules()["tokens.js"]


@pytest.mark.parametrize(
    "path", ["scripts/0000/shell.js", "scripts/{version}/nothing.js", "scripts/{version}/theme.css"]
)
def test_what_is_no_module_is_not_served(client: TestClient, path: str) -> None:
    assert client.get(path.format(version=scripts.version())).status_code == 404


def test_the_page_names_all_modules_so_that_they_are_fetched_early(client: TestClient) -> None:
    links = client.get("/").headers["link"]
    assert links.count('rel="modulepreload"') == len(scripts.modules())
    assert f"<{scripts.address('settings')}>" in links
    assert "link" not in client.get("/elsewhere").headers


def test_an_app_that_runs_already_serves_them_too() -> None:
    app = FastAPI()
    client = TestClient(app)
    assert client.get(scripts.address("shell")).status_code == 404
    scripts.serve_modules(app)
    assert client.get(scripts.address("shell")).status_code == 200


def test_another_content_has_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    before = scripts.address("shell")
    changed = scripts.modules() | {"format.js": b"export const changed = 1;"}
    monkeypatch.setattr(scripts, "modules", lambda: changed)
    assert scripts.version.__wrapped__() != scripts.version()
    assert before == scripts.address("shell")


def test_the_head_runs_the_modules_of_the_page_and_preloads_all() -> None:
    head = scripts.head()
    assert re.findall(r'<script type="module" src="scripts/\w+/(\w+)\.js">', head) == [
        "shell",
        "event_stream",
    ]
    assert head.count('rel="modulepreload"') == len(scripts.modules())


@pytest.mark.parametrize("name", sorted(scripts.modules()))
def test_a_module_says_what_it_is_and_imports_what_exists(name: str) -> None:
    source = scripts.modules()[name].decode()
    assert FIRST_LINE.match(source), f"{name} begins with a comment that says what it is"
    assert {*IMPORTED.findall(source)} <= {*scripts.modules(), "types.d.ts"}
    assert len(source.splitlines()) <= 300


def test_a_snippet_names_a_module_that_exists() -> None:
    assert scripts.address("plan") in scripts.on_load("plan")
    with pytest.raises(AssertionError, match="no module nothing"):
        scripts.on_load("nothing")
