"""Local Hub: unmodified client libraries, in separate processes, get the same responses as from the real Hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core.paths import ROOT
from tests.hub import LocalHub, run_local_hub


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with run_local_hub(tmp_path / "hub") as local:
        yield local


def run_hub_client(hub: LocalHub, cache: Path, code: str, token: str = "hf_alice", xet: bool = False) -> Any:
    """Runs the code in a separate process with the Hub's clients and this Hub; returns what it assigned to `output`."""
    program = f"import json, pathlib\nfrom huggingface_hub import *\napi, output = HfApi(), None\n{code}\nprint(json.dumps(output))"  # fmt: skip
    env = os.environ | hub.environment(cache, token, xet) | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    process = subprocess.run([sys.executable, "-c", program], env=env, cwd=ROOT, capture_output=True, text=True, timeout=240)  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.splitlines()[-1])


def write_upload_folder(tmp_path: Path) -> Path:
    """A folder with small and large files, a subfolder, and a file name with a space."""
    folder = tmp_path / "content"
    (folder / "deep").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Hello\n")
    (folder / "deep" / "a b.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      " + os.urandom(300_000))
    return folder


UPLOAD_CODE = """
api.create_repo("alice/thing", private=True)
api.create_repo("alice/thing", private=True, exist_ok=True)
first = api.upload_folder(repo_id="alice/thing", folder_path={folder!r})
"""


@pytest.mark.slow
@pytest.mark.parametrize("xet", [False, True])
def test_downloaded_files_equal_the_uploaded_ones(tmp_path: Path, xet: bool) -> None:
    content = write_upload_folder(tmp_path)
    with run_local_hub(tmp_path / "hub", xet=xet) as hub:
        code = UPLOAD_CODE.format(folder=str(content)) + f"""
second = api.upload_folder(repo_id="alice/thing", folder_path={str(content)!r})
snapshot_path = pathlib.Path(snapshot_download("alice/thing"))
output = [second.oid == first.oid, str(snapshot_path), first.commit_url]
"""  # fmt: skip
        unchanged_commit, snapshot_path, commit_url = run_hub_client(hub, tmp_path / "cache", code, xet=xet)
        assert unchanged_commit, "uploading an unchanged folder must not create a commit"
        assert commit_url.startswith(f"{hub.address}/alice/thing/commit/")
        downloaded = {
            str(file.relative_to(snapshot_path)): file.read_bytes()
            for file in Path(snapshot_path).rglob("*")
            if file.is_file()
        }
        uploaded = {str(file.relative_to(content)): file.read_bytes() for file in content.rglob("*") if file.is_file()}
        assert downloaded.pop(".gitattributes")
        assert downloaded == uploaded
        assert any("xet-write-token" in path for _, path, _ in hub.server.hub.requests) == xet
        assert any("_lfs" in path for _, path, _ in hub.server.hub.requests) != xet


def test_pull_requests_tags_and_branches_point_to_commits(hub: LocalHub, tmp_path: Path) -> None:
    code = UPLOAD_CODE.format(folder=str(write_upload_folder(tmp_path))) + """
pull_request = api.upload_file(repo_id="alice/thing", path_or_fileobj=b"new", path_in_repo="new.txt", create_pr=True)
api.create_tag("alice/thing", tag="v1")
api.create_branch("alice/thing", branch="try/out")
refs = api.list_repo_refs("alice/thing")
output = [pull_request.pr_url, "new.txt" in api.list_repo_files("alice/thing", revision=pull_request.pr_revision), "new.txt" in api.list_repo_files("alice/thing"),
        [b.name for b in refs.branches], [t.name for t in refs.tags], api.model_info("alice/thing", revision="v1").sha == first.oid]
"""  # fmt: skip
    pr_url, in_pull_request, in_main, branches, tags, tag_is_first_commit = run_hub_client(
        hub, tmp_path / "cache", code
    )
    assert pr_url == f"{hub.address}/alice/thing/discussions/1"
    assert (in_pull_request, in_main, tag_is_first_commit) == (True, False, True)
    assert (branches, tags) == (["main", "try/out"], ["v1"])


ACCESS_ATTEMPTS = """
def outcome(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__} {getattr(getattr(error, 'response', None), 'status_code', '')}"
    return "done"
output = [outcome(lambda: api.model_info("alice/thing")), outcome(lambda: api.model_info("alice/nothing")),
        outcome(lambda: api.upload_file(repo_id="alice/open", path_or_fileobj=b"x", path_in_repo="x")),
        outcome(lambda: api.auth_check("alice/open")), outcome(lambda: api.auth_check("alice/open", write=True)),
        outcome(lambda: api.create_repo("workshop/new")), outcome(lambda: hf_hub_download("alice/open", "nothing.txt"))]
"""


@pytest.mark.slow
def test_each_token_has_exactly_its_permissions(hub: LocalHub, tmp_path: Path) -> None:
    create_repos = 'api.create_repo("alice/open"); api.create_repo("alice/thing", private=True)'
    run_hub_client(hub, tmp_path / "cache", create_repos)
    not_found = "RepositoryNotFoundError 404"
    outcomes = {token: run_hub_client(hub, tmp_path / f"cache-{token}", ACCESS_ATTEMPTS, token) for token in ("hf_alice", "hf_alice_reads", "hf_bob", "")}  # fmt: skip
    forbidden, file_not_found = "HfHubHTTPError 403", "RemoteEntryNotFoundError 404"
    assert outcomes["hf_alice"] == ["done", not_found, "done", "done", "done", "done", file_not_found]
    assert outcomes["hf_alice_reads"] == ["done", not_found, forbidden, "done", forbidden, forbidden, file_not_found]
    assert outcomes["hf_bob"] == [not_found, not_found, forbidden, "done", forbidden, forbidden, file_not_found]
    unauthorized = "HfHubHTTPError 401"
    assert outcomes[""][:3] == ["RepositoryNotFoundError 401", "RepositoryNotFoundError 401", outcomes[""][2]]
    assert "401" in outcomes[""][2]
    assert outcomes[""][3:5] == ["done", unauthorized]


@pytest.mark.slow
def test_a_commit_with_an_outdated_parent_commit_is_refused(hub: LocalHub, tmp_path: Path) -> None:
    code = UPLOAD_CODE.format(folder=str(write_upload_folder(tmp_path))) + """
api.upload_file(repo_id="alice/thing", path_or_fileobj=b"1", path_in_repo="x.txt")
try:
    api.upload_file(repo_id="alice/thing", path_or_fileobj=b"2", path_in_repo="x.txt", parent_commit=first.oid)
except Exception as error:
    output = error.response.status_code
"""  # fmt: skip
    assert run_hub_client(hub, tmp_path / "cache", code) == 412


@pytest.mark.slow
def test_transformers_and_datasets_push_and_load(hub: LocalHub, tmp_path: Path) -> None:
    """transformers and datasets use their own push_to_hub; rows are also streamed."""
    code = """
import datasets
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("presets/pocket")
model.push_to_hub("alice/small"); AutoTokenizer.from_pretrained("presets/pocket").push_to_hub("alice/small")
reloaded = AutoModelForCausalLM.from_pretrained("alice/small")
weights_equal = all((a == b).all().item() for a, b in zip(model.parameters(), reloaded.parameters(), strict=True))
rows = [{"prompt": f"q{i}", "completion": "a" * i} for i in range(100)]
datasets.Dataset.from_list(rows).push_to_hub("alice/rows")
loaded = datasets.load_dataset("alice/rows", split="train")
api.create_repo("alice/lines", repo_type="dataset")
api.upload_file(repo_id="alice/lines", repo_type="dataset", path_in_repo="train.jsonl",
                path_or_fileobj="".join(json.dumps(row) + chr(10) for row in rows).encode())
streamed = list(datasets.load_dataset("alice/lines", split="train", streaming=True))
search_results = [(m.id, m.pipeline_tag, m.safetensors.total) for m in api.list_models(search="small", pipeline_tag="text-generation", expand=["safetensors", "pipeline_tag"])]
output = [weights_equal, list(loaded) == rows, streamed == rows, AutoTokenizer.from_pretrained("alice/small")("Hello").input_ids != [], search_results]
"""
    weights_equal, rows_equal, streamed_rows_equal, tokenizer_works, search_results = run_hub_client(
        hub, tmp_path / "cache", code
    )
    assert (weights_equal, rows_equal, streamed_rows_equal, tokenizer_works) == (True, True, True, True)
    assert search_results[0][:2] == ["alice/small", "text-generation"]
    assert search_results[0][2] > 3_000_000
