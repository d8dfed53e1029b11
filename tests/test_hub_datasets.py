"""Hub datasets: the unmodified `datasets` library reads them from the local Hub completely, sliced and streamed; an unreadable dataset gives one sentence."""

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
from app.data.reading.hub_datasets import dataset_problem, read_hub_rows
from app.setup.spec import Source
from tests.hub import LocalHub, run_local_hub

DATASET_CARD = """---
configs:
- config_name: sums
  data_files: [{split: train, path: sums/train.jsonl}, {split: test, path: sums/test.jsonl}]
- config_name: words
  data_files: [{split: train, path: words/train.jsonl}]
---
"""

# Datasets: one with two configs, one with two revisions, one with a loading script, one without rows, one gated.
UPLOAD_SCRIPT = """
from huggingface_hub import HfApi
import json
api = HfApi()
def upload(name, **files):
    api.create_repo(name, repo_type="dataset", exist_ok=True)
    for path, text in files.items():
        api.upload_file(repo_id=name, repo_type="dataset", path_in_repo=path.replace("__", "/").replace("_dot_", "."), path_or_fileobj=text.encode())
def json_lines(word, count): return "".join(json.dumps({"prompt": f"{word} {i}", "completion": str(i)}) + chr(10) for i in range(count))
upload("alice/parts", README_dot_md=card, sums__train_dot_jsonl=json_lines("sum", 50), sums__test_dot_jsonl=json_lines("test", 7), words__train_dot_jsonl=json_lines("word", 5))
upload("alice/plain", train_dot_jsonl=json_lines("old", 9))
api.create_tag("alice/plain", repo_type="dataset", tag="v1")
upload("alice/plain", train_dot_jsonl=json_lines("new", 4))
upload("alice/program", program_dot_py="raise SystemExit('ran')", README_dot_md="# Hello")
upload("alice/nothing", README_dot_md="# Hello")
upload("alice/gated", train_dot_jsonl=json_lines("secret", 3), README_dot_md="# Hello")
api.update_repo_settings("alice/gated", repo_type="dataset", gated="auto")
output = None
"""
READ_HELPERS = """
import sys
from itertools import islice
from app.data.findings import source_preview
from app.data.reading import files, hub_datasets
from app.engine.datasets.load import load_data
from app.core.problems import Problem
from app.setup.spec import Source, parse_spec
assert "datasets" not in sys.modules, "the Hub libraries are imported only when needed"
def prompts(name, max_rows=100, streaming=False, **source_fields):
    return [row["prompt"] for row in islice(files.read_source_rows(Source(source=f"hub:{name}", **source_fields), streaming=streaming), max_rows)]
def error_of(read):
    try:
        return read()
    except Problem as problem:
        return f"{problem.reason}: {problem}"
"""
READ_DATASETS_SCRIPT = (
    READ_HELPERS
    + """
setup = {"method": "sft", "data": [{"source": "hub:alice/parts", "config": "sums", "start": 10, "limit": 20}], "holdout": {"split": "test"}}
data = load_data(parse_spec(setup), ("prompt_completion",), "Imitate", False)
weighted_setup = {"method": "pretrain", "data": [{"source": "hub:alice/plain", "mapping": {"text": "prompt"}}, {"source": "sample:diary", "weight": 2, "limit": 5}], "holdout": {"share": 0.2}}
stream = load_data(parse_spec(weighted_setup), ("text",), "Read", False, streaming=True)
streamed_texts = [row["text"] for row in stream.train.take(60)]
preview = source_preview.preview_source({"source": {"source": "hub:alice/parts", "config": "words"}, "method": "sft"})
output = {
    "whole": prompts("alice/plain"), "old": prompts("alice/plain", revision="v1"), "slice": prompts("alice/parts", config="sums", start=3, limit=2),
    "streamed": prompts("alice/parts", config="sums", start=48, streaming=True), "split": prompts("alice/parts", config="sums", split="test")[:1],
    "offered": [hub_datasets.list_configs_and_splits("alice/parts"), hub_datasets.list_configs_and_splits("alice/parts", config="sums"), hub_datasets.list_configs_and_splits("alice/plain", "v1")], "learned": [len(data.train), data.train[0]["prompt"], len(data.holdout)],
    "drawn": [sum(text.startswith("new") for text in streamed_texts), len(streamed_texts)], "aside": [row["text"] in streamed_texts for row in stream.holdout],
    "looked": [preview["name"], preview["rows"], [column["name"] for column in preview["columns"]], preview["now"]["kind"]],
}
"""
)
UNREADABLE_DATASETS_SCRIPT = (
    READ_HELPERS
    + """
output = {name: error_of(lambda name=name, fields=fields, streaming=streaming: prompts(name.split()[0], streaming=streaming, **fields)) for name, fields, streaming in [
    ("alice/parts no config", {}, False), ("alice/parts another config", {"config": "other"}, False), ("alice/parts another split", {"config": "sums", "split": "dev"}, False),
    ("alice/parts streamed split", {"config": "sums", "split": "dev"}, True), ("alice/program", {}, False), ("alice/program streamed", {}, True), ("alice/nothing", {}, False),
    ("alice/plain revision", {"revision": "v9"}, False), ("alice/gated", {}, False), ("alice/gated streamed", {}, True)]}
output["offered"] = error_of(lambda: hub_datasets.list_configs_and_splits("alice/gated"))
"""
)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHub]:
    with run_local_hub(tmp_path_factory.mktemp("hub")) as local_hub:
        run_hub_script(local_hub, tmp_path_factory.mktemp("cache"), f"card = {DATASET_CARD!r}\n{UPLOAD_SCRIPT}")
        yield local_hub


def run_hub_script(hub: LocalHub, cache: Path, code: str, token: str = "hf_alice") -> Any:
    """Runs the code in its own process and returns what it assigned to `output`."""
    environment = (
        os.environ | hub.environment(cache, token) | {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "OMP_NUM_THREADS": "1"}
    )
    process = subprocess.run([sys.executable, "-c", f"{code}\nimport json; print(json.dumps(output))"], env=environment, cwd=ROOT, capture_output=True,
                          text=True, timeout=240)  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.slow
def test_datasets_are_read_by_config_split_revision_and_slice(hub: LocalHub, tmp_path: Path) -> None:
    output = run_hub_script(hub, tmp_path / "cache", READ_DATASETS_SCRIPT)
    assert output["whole"] == [f"new {i}" for i in range(4)]
    assert output["old"] == [f"old {i}" for i in range(9)]
    assert output["slice"] == ["sum 3", "sum 4"]
    assert output["streamed"] == ["sum 48", "sum 49"]
    assert output["split"] == ["test 0"]
    assert output["offered"] == [
        {"parts": ["sums", "words"], "splits": []},
        {"parts": ["sums", "words"], "splits": ["train", "test"]},
        {"parts": ["default"], "splits": ["train"]},
    ]
    assert output["learned"] == [20, "sum 10", 7]
    hub_row_count, sampled_row_count = output["drawn"]
    assert 5 < hub_row_count < 35, "about a third of 60: the weights are 1 and 2"
    assert sampled_row_count == 60
    assert not any(output["aside"])
    assert output["looked"] == ["alice/parts", None, ["prompt", "completion"], "prompt_completion"]


@pytest.mark.slow
def test_an_unreadable_dataset_gives_the_reason_in_a_sentence(hub: LocalHub, tmp_path: Path) -> None:
    output = run_hub_script(hub, tmp_path / "cache", UNREADABLE_DATASETS_SCRIPT, "hf_bob")
    assert (
        output["alice/parts no config"]
        == "wrong_config: The dataset “alice/parts” has several parts: sums, words. Name one of them as its config."
    )
    assert "and none called “other”: sums, words" in output["alice/parts another config"]
    for name in ("another split", "streamed split"):
        assert output[f"alice/parts {name}"].startswith(
            "wrong_split: The dataset “alice/parts” has no split “dev”, but train, test."
        )
    for name in ("alice/program", "alice/program streamed"):
        assert output[name].startswith(
            "own_code: The dataset “alice/program” comes with program code of its own, which is never run here."
        )
    assert output["alice/nothing"].startswith("no_rows: ")
    assert "has no revision “v9”" in output["alice/plain revision"]
    for name in ("alice/gated", "alice/gated streamed", "offered"):
        assert output[name].startswith(
            "gated_data: The dataset “alice/gated” is behind terms you have not accepted yet. Open its page"
        )


def test_a_hub_name_that_is_also_a_local_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(Problem, match="“presets/samples” is also a folder here"):
        next(read_hub_rows(Source(source="hub:presets/samples")))


def test_an_unknown_error_gives_no_problem() -> None:
    assert dataset_problem(ValueError("another"), Source(source="hub:a/b"), "train") is None
