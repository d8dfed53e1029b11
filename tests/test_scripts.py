"""The JavaScript modules of the page: their bundle, its address, caching, compression and preloading, and imports that exist."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from components import scripts

FIRST_LINE = re.compile(r"^// [A-Z]")
LOCAL_IMPORT = re.compile(r"""from '\./([\w.]+)'""")
STATEMENT = re.compile(r"^\s*(import|export)\b", re.MULTILINE)


@pytest.fixture
def client() -> TestClient:
    """An app that responds to every address, as Gradio does, with the bundle served before it."""
    app = FastAPI()

    @app.get("/{path:path}")
    def page(path: str) -> dict[str, str]:
        return {"page": path}

    return TestClient(scripts.ModuleServer(app))


def test_the_bundle_is_served_as_immutable_javascript(client: TestClient) -> None:
    response = client.get(scripts.address(), headers={"accept-encoding": "identity"})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/javascript")
    assert "immutable" in response.headers["cache-control"]
    assert response.content == scripts.bundle()


def test_the_bundle_is_compressed_for_a_browser_that_accepts_gzip(client: TestClient) -> None:
    with client.stream("GET", scripts.address(), headers={"accept-encoding": "gzip"}) as response:
        compressed = b"".join(response.iter_raw())
    assert response.headers["content-encoding"] == "gzip"
    assert gzip.decompress(compressed) == scripts.bundle()


@pytest.mark.parametrize("path", ["scripts/0000.js", "scripts/shell.js", "scripts/"])
def test_a_path_that_is_not_the_bundle_is_not_found(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_page_preloads_the_bundle_in_its_link_header(client: TestClient) -> None:
    assert f'<{scripts.address()}>; rel="modulepreload"' in client.get("/").headers["link"]
    assert "link" not in client.get("/elsewhere").headers


def test_modules_can_be_added_to_a_running_app() -> None:
    app = FastAPI()
    client = TestClient(app)
    assert client.get(scripts.address()).status_code == 404
    scripts.serve_modules(app)
    assert client.get(scripts.address()).status_code == 200


def test_a_changed_module_changes_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    changed_bundle = scripts.bundle().replace(b"export", b" export")
    monkeypatch.setattr(scripts, "bundle", lambda: changed_bundle)
    assert scripts.address.__wrapped__() != scripts.address()


def test_the_head_runs_the_page_modules() -> None:
    assert f"from './{scripts.address()}'; modules.shell(); modules.event_stream();</script>" in scripts.head()
    assert "event_stream" not in scripts.head("shell")


def test_a_bundled_module_is_evaluated_once_and_has_the_exports_of_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = {
        "counter": "let count = 0;\ncount += 1;\nexport const first = count;\nexport async function next() {\n  return (count += 1);\n}\n",
        "reader": "import { first, next } from './counter.js';\nimport {\n  first as again,\n} from './counter.js';\nexport class Reader {\n  values = [first, again, next];\n}\n",
    }
    monkeypatch.setattr(scripts, "modules", lambda: sources)
    (tmp_path / "bundle.mjs").write_bytes(scripts.bundle.__wrapped__())
    script = """
    const { modules } = await import('./bundle.mjs');
    const [first, again, next] = new (modules.reader().Reader)().values;
    console.log(JSON.stringify([first, again, await next(), await modules.counter().next(), Object.keys(modules.counter())]));
    """
    output = subprocess.check_output(["node", "--input-type=module", "-e", script], cwd=tmp_path, text=True)
    assert json.loads(output) == [1, 1, 2, 3, ["first", "next"]]


@pytest.mark.parametrize("name", sorted(scripts.modules()))
def test_a_module_begins_with_a_description_and_imports_only_existing_modules(name: str) -> None:
    source = scripts.modules()[name]
    assert FIRST_LINE.match(source), f"{name} begins with a comment that describes the module"
    assert {*LOCAL_IMPORT.findall(source)} <= {*(f"{other}.js" for other in scripts.modules()), "types.d.ts"}
    assert len(source.splitlines()) <= 300


@pytest.mark.parametrize("name", sorted(scripts.modules()))
def test_every_import_and_export_of_a_module_has_a_form_that_the_bundle_knows(name: str) -> None:
    source = scripts.modules()[name]
    known_count = len(scripts._IMPORT.findall(source)) + len(scripts._EXPORT.findall(source))
    assert known_count == len(STATEMENT.findall(source))
    assert not re.search(r"\bimport\.meta\b", source), "in the bundle it is another address"


def test_a_load_snippet_of_an_unknown_module_is_refused() -> None:
    assert "modules.plan()" in scripts.on_load("plan")
    with pytest.raises(AssertionError, match="no module nothing"):
        scripts.on_load("nothing")
