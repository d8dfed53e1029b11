"""Hub rows: datasets of the local Hub are read whole, in slices and as they come, by the unmodified library; what stands in the way is said in a sentence."""

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
from app.core.problems import Problem
from app.data.hub_datasets import dataset_problem, read_hub_rows
from app.setup.spec import Source
from tests.hub import LocalHub, opened

CARD = """---
configs:
- config_name: sums
  data_files: [{split: train, path: sums/train.jsonl}, {split: test, path: sums/test.jsonl}]
- config_name: words
  data_files: [{split: train, path: words/train.jsonl}]
---
"""

# Two parts with two splits, one with a program, one without rows, one behind terms.
FILL = """
from huggingface_hub import HfApi
import json
api = HfApi()
def put(name, **files):
    api.create_repo(name, repo_type="dataset", exist_ok=True)
    for path, text in files.items():
        api.upload_file(repo_id=name, repo_type="dataset", path_in_repo=path.replace("__", "/").replace("_dot_", "."), path_or_fileobj=text.encode())
def lines(word, count): return "".join(json.dumps({"prompt": f"{word} {i}", "completion": str(i)}) + chr(10) for i in range(count))
put("alice/parts", README_dot_md=card, sums__train_dot_jsonl=lines("sum", 50), sums__test_dot_jsonl=lines("test", 7), words__train_dot_jsonl=lines("word", 5))
put("alice/plain", train_dot_jsonl=lines("old", 9))
api.create_tag("alice/plain", repo_type="dataset", tag="v1")
put("alice/plain", train_dot_jsonl=lines("new", 4))
put("alice/program", program_dot_py="raise SystemExit('ran')", README_dot_md="# Hello")
put("alice/nothing", README_dot_md="# Hello")
put("alice/gated", train_dot_jsonl=lines("secret", 3), README_dot_md="# Hello")
api.update_repo_settings("alice/gated", repo_type="dataset", gated="auto")
said = None
"""
READ = """
import sys
from itertools import islice
from app.data import files, hub_datasets, source_preview
from app.engine.datasets.load import load_data
from app.core.problems import Problem
from app.setup.spec import Source, parse_spec
assert "datasets" not in sys.modules, "nothing of the Hub is loaded before it is asked for"
def rows(name, most=100, streaming=False, **how):
    return [row["prompt"] for row in islice(files.read_source_rows(Source(source=f"hub:{name}", **how), streaming=streaming), most)]
def refused(deed):
    try:
        return deed()
    except Problem as problem:
        return f"{problem.reason}: {problem}"
"""
WHOLE = (
    READ
    + """
setup = {"method": "sft", "data": [{"source": "hub:alice/parts", "config": "sums", "start": 10, "limit": 20}], "holdout": {"split": "test"}}
data = load_data(parse_spec(setup), ("prompt_completion",), "Imitate", False)
weighed = {"method": "pretrain", "data": [{"source": "hub:alice/plain", "mapping": {"text": "prompt"}}, {"source": "sample:diary", "weight": 2, "limit": 5}], "holdout": {"share": 0.2}}
stream = load_data(parse_spec(weighed), ("text",), "Read", False, streaming=True)
drawn = [row["text"] for row in stream.train.take(60)]
look = source_preview.preview_source({"source": {"source": "hub:alice/parts", "config": "words"}, "method": "sft"})
said = {
    "whole": rows("alice/plain"), "old": rows("alice/plain", revision="v1"), "slice": rows("alice/parts", config="sums", start=3, limit=2),
    "streamed": rows("alice/parts", config="sums", start=48, streaming=True), "split": rows("alice/parts", config="sums", split="test")[:1],
    "offered": [hub_datasets.list_configs_and_splits("alice/parts"), hub_datasets.list_configs_and_splits("alice/parts", config="sums"), hub_datasets.list_configs_and_splits("alice/plain", "v1")], "learned": [len(data.train), data.train[0]["prompt"], len(data.holdout)],
    "drawn": [sum(one.startswith("new") for one in drawn), len(drawn)], "aside": [one["text"] in drawn for one in stream.holdout],
    "looked": [look["name"], look["rows"], [one["name"] for one in look["columns"]], look["now"]["kind"]],
}
"""
)
REFUSED = (
    READ
    + """
said = {name: refused(lambda name=name, how=how, streaming=streaming: rows(name.split()[0], streaming=streaming, **how)) for name, how, streaming in [
    ("alice/parts no config", {}, False), ("alice/parts another config", {"config": "other"}, False), ("alice/parts another split", {"config": "sums", "split": "dev"}, False),
    ("alice/parts streamed split", {"config": "sums", "split": "dev"}, True), ("alice/program", {}, False), ("alice/program streamed", {}, True), ("alice/nothing", {}, False),
    ("alice/plain revision", {"revision": "v9"}, False), ("alice/gated", {}, False), ("alice/gated streamed", {}, True)]}
said["offered"] = refused(lambda: hub_datasets.list_configs_and_splits("alice/gated"))
"""
)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with opened(tmp_path_factory.mktemp("hub")) as local:
        client(local, tmp_path_factory.mktemp("cache"), f"card = {CARD!r}\n{FILL}")
        yield local


def client(hub: LocalHub, cache: Path, code: str, token: str = "hf_alice") -> Any:
    """What the code left in `said`, from a process of its own."""
    environment = (
        os.environ | hub.environment(cache, token) | {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"}
    )
    done = subprocess.run([sys.executable, "-c", f"{code}\nimport json; print(json.dumps(said))"], env=environment, cwd=ROOT, capture_output=True,
                          text=True, timeout=240)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_datasets_are_read_by_part_split_revision_and_slice(hub: LocalHub, tmp_path: Path) -> None:
    said = client(hub, tmp_path / "cache", WHOLE)
    assert said["whole"] == [f"new {i}" for i in range(4)]
    assert said["old"] == [f"old {i}" for i in range(9)]
    assert said["slice"] == ["sum 3", "sum 4"]
    assert said["streamed"] == ["sum 48", "sum 49"]
    assert said["split"] == ["test 0"]
    assert said["offered"] == [
        {"parts": ["sums", "words"], "splits": []},
        {"parts": ["sums", "words"], "splits": ["train", "test"]},
        {"parts": ["default"], "splits": ["train"]},
    ]
    assert said["learned"] == [20, "sum 10", 7]
    of_hub, drawn = said["drawn"]
    assert 5 < of_hub < 35, "a third of them: one weighs once, the other twice"
    assert drawn == 60
    assert not any(said["aside"])
    assert said["looked"] == ["alice/parts", None, ["prompt", "completion"], "prompt_completion"]


@pytest.mark.slow
def test_what_stands_in_the_way_is_said_in_a_sentence(hub: LocalHub, tmp_path: Path) -> None:
    said = client(hub, tmp_path / "cache", REFUSED, "hf_bob")
    assert (
        said["alice/parts no config"]
        == "wrong_config: The dataset “alice/parts” has several parts: sums, words. Name one of them as its config."
    )
    assert "and none called “other”: sums, words" in said["alice/parts another config"]
    for name in ("another split", "streamed split"):
        assert said[f"alice/parts {name}"].startswith(
            "wrong_split: The dataset “alice/parts” has no split “dev”, but train, test."
        )
    for name in ("alice/program", "alice/program streamed"):
        assert said[name].startswith(
            "own_code: The dataset “alice/program” comes with program code of its own, which is never run here."
        )
    assert said["alice/nothing"].startswith("no_rows: ")
    assert "has no revision “v9”" in said["alice/plain revision"]
    for name in ("alice/gated", "alice/gated streamed", "offered"):
        assert said[name].startswith(
            "gated_data: The dataset “alice/gated” is behind terms you have not accepted yet. Open its page"
        )


def test_a_folder_of_this_machine_is_not_taken_for_a_dataset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(Problem, match="“presets/samples” is also a folder here"):
        next(read_hub_rows(Source(source="hub:presets/samples")))


def test_an_error_nobody_knows_travels_as_it_is() -> None:
    assert dataset_problem(ValueError("another"), Source(source="hub:a/b"), "train") is None
