"""Local Hub: unmodified clients, in processes of their own, find what they find on the real one."""

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
from tests.hub import LocalHub, opened


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[LocalHub]:
    with opened(tmp_path / "hub") as local:
        yield local


def client(hub: LocalHub, cache: Path, code: str, token: str = "hf_alice", xet: bool = False) -> Any:
    """What the code left in `said`, from a process of its own with the Hub's clients and this Hub."""
    whole = f"import json, pathlib\nfrom huggingface_hub import *\napi, said = HfApi(), None\n{code}\nprint(json.dumps(said))"  # fmt: skip
    environment = os.environ | hub.environment(cache, token, xet) | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    done = subprocess.run([sys.executable, "-c", whole], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=240)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def folder(tmp_path: Path) -> Path:
    """Small and large files, a folder within, and a name with a space."""
    made = tmp_path / "content"
    (made / "deep").mkdir(parents=True)
    (made / "README.md").write_text("---\nlicense: mit\n---\n# Hello\n")
    (made / "deep" / "a b.json").write_text("{}")
    (made / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      " + os.urandom(300_000))
    return made


UPLOAD = """
api.create_repo("alice/thing", private=True)
api.create_repo("alice/thing", private=True, exist_ok=True)
first = api.upload_folder(repo_id="alice/thing", folder_path={folder!r})
"""


@pytest.mark.parametrize("xet", [False, True])
def test_files_come_back_as_they_went(tmp_path: Path, xet: bool) -> None:
    content = folder(tmp_path)
    with opened(tmp_path / "hub", xet=xet) as hub:
        code = UPLOAD.format(folder=str(content)) + f"""
again = api.upload_folder(repo_id="alice/thing", folder_path={str(content)!r})
place = pathlib.Path(snapshot_download("alice/thing"))
said = [again.oid == first.oid, str(place), first.commit_url]
"""  # fmt: skip
        same, place, address = client(hub, tmp_path / "cache", code, xet=xet)
        assert same, "an unchanged folder makes no commit"
        assert address.startswith(f"{hub.address}/alice/thing/commit/")
        back = {str(file.relative_to(place)): file.read_bytes() for file in Path(place).rglob("*") if file.is_file()}
        sent = {str(file.relative_to(content)): file.read_bytes() for file in content.rglob("*") if file.is_file()}
        assert back.pop(".gitattributes")
        assert back == sent
        assert any("xet-write-token" in path for _, path, _ in hub.server.hub.seen) == xet
        assert any("_lfs" in path for _, path, _ in hub.server.hub.seen) != xet


def test_requests_tags_and_branches_name_commits(hub: LocalHub, tmp_path: Path) -> None:
    code = UPLOAD.format(folder=str(folder(tmp_path))) + """
asked = api.upload_file(repo_id="alice/thing", path_or_fileobj=b"new", path_in_repo="new.txt", create_pr=True)
api.create_tag("alice/thing", tag="v1")
api.create_branch("alice/thing", branch="try/out")
refs = api.list_repo_refs("alice/thing")
said = [asked.pr_url, "new.txt" in api.list_repo_files("alice/thing", revision=asked.pr_revision), "new.txt" in api.list_repo_files("alice/thing"),
        [b.name for b in refs.branches], [t.name for t in refs.tags], api.model_info("alice/thing", revision="v1").sha == first.oid]
"""  # fmt: skip
    address, in_request, in_main, branches, tags, tagged = client(hub, tmp_path / "cache", code)
    assert address == f"{hub.address}/alice/thing/discussions/1"
    assert (in_request, in_main, tagged) == (True, False, True)
    assert (branches, tags) == (["main", "try/out"], ["v1"])


TRY = """
def outcome(deed):
    try:
        deed()
    except Exception as error:
        return f"{type(error).__name__} {getattr(getattr(error, 'response', None), 'status_code', '')}"
    return "done"
said = [outcome(lambda: api.model_info("alice/thing")), outcome(lambda: api.model_info("alice/nothing")),
        outcome(lambda: api.upload_file(repo_id="alice/open", path_or_fileobj=b"x", path_in_repo="x")),
        outcome(lambda: api.auth_check("alice/open")), outcome(lambda: api.auth_check("alice/open", write=True)),
        outcome(lambda: api.create_repo("workshop/new")), outcome(lambda: hf_hub_download("alice/open", "nothing.txt"))]
"""


def test_everybody_may_do_what_they_may_and_no_more(hub: LocalHub, tmp_path: Path) -> None:
    open_one = 'api.create_repo("alice/open"); api.create_repo("alice/thing", private=True)'
    client(hub, tmp_path / "cache", open_one)
    missing = "RepositoryNotFoundError 404"
    told = {token: client(hub, tmp_path / f"cache-{token}", TRY, token) for token in ("hf_alice", "hf_alice_reads", "hf_bob", "")}  # fmt: skip
    forbidden, nowhere = "HfHubHTTPError 403", "RemoteEntryNotFoundError 404"
    assert told["hf_alice"] == ["done", missing, "done", "done", "done", "done", nowhere]
    assert told["hf_alice_reads"] == ["done", missing, forbidden, "done", forbidden, forbidden, nowhere]
    assert told["hf_bob"] == [missing, missing, forbidden, "done", forbidden, forbidden, nowhere]
    anonymous = "HfHubHTTPError 401"
    assert told[""][:3] == ["RepositoryNotFoundError 401", "RepositoryNotFoundError 401", told[""][2]]
    assert "401" in told[""][2]
    assert told[""][3:5] == ["done", anonymous]


def test_a_commit_on_an_old_parent_is_refused(hub: LocalHub, tmp_path: Path) -> None:
    code = UPLOAD.format(folder=str(folder(tmp_path))) + """
api.upload_file(repo_id="alice/thing", path_or_fileobj=b"1", path_in_repo="x.txt")
try:
    api.upload_file(repo_id="alice/thing", path_or_fileobj=b"2", path_in_repo="x.txt", parent_commit=first.oid)
except Exception as error:
    said = error.response.status_code
"""  # fmt: skip
    assert client(hub, tmp_path / "cache", code) == 412


def test_libraries_push_and_load(hub: LocalHub, tmp_path: Path) -> None:
    """transformers and datasets, through their own push_to_hub; rows also stream, in parts."""
    code = """
import datasets
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("presets/pocket")
model.push_to_hub("alice/small"); AutoTokenizer.from_pretrained("presets/pocket").push_to_hub("alice/small")
again = AutoModelForCausalLM.from_pretrained("alice/small")
equal = all((a == b).all().item() for a, b in zip(model.parameters(), again.parameters(), strict=True))
rows = [{"prompt": f"q{i}", "completion": "a" * i} for i in range(100)]
datasets.Dataset.from_list(rows).push_to_hub("alice/rows")
back = datasets.load_dataset("alice/rows", split="train")
api.create_repo("alice/lines", repo_type="dataset")
api.upload_file(repo_id="alice/lines", repo_type="dataset", path_in_repo="train.jsonl",
                path_or_fileobj="".join(json.dumps(row) + chr(10) for row in rows).encode())
streamed = list(datasets.load_dataset("alice/lines", split="train", streaming=True))
found = [(m.id, m.pipeline_tag, m.safetensors.total) for m in api.list_models(search="small", pipeline_tag="text-generation", expand=["safetensors", "pipeline_tag"])]
said = [equal, list(back) == rows, streamed == rows, AutoTokenizer.from_pretrained("alice/small")("Hello").input_ids != [], found]
"""
    equal, table, streamed, speaks, found = client(hub, tmp_path / "cache", code)
    assert (equal, table, streamed, speaks) == (True, True, True, True)
    assert found[0][:2] == ["alice/small", "text-generation"]
    assert found[0][2] > 3_000_000
