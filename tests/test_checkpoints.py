"""Checkpoints: only complete ones count, two are kept, and a kill while saving loses none of them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.runs.checkpoints import (
    COMPLETE_MARK,
    KEEP_COUNT,
    best_of,
    checkpoint_metadata,
    checkpoint_step,
    complete_checkpoints,
    delete_surplus,
    latest_for_resume,
    mark_complete,
)


def write_checkpoint_files(folder: Path, step: int) -> Path:
    """Writes what the training loop writes, before `mark_complete`."""
    path = folder / f"checkpoint-{step}"
    (path / "deep").mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights")
    (path / "deep" / "optimizer.pt").write_bytes(b"moments")
    return path


def folder_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_run_without_checkpoints_has_nothing_to_resume_from(tmp_path: Path) -> None:
    assert latest_for_resume(tmp_path / "checkpoints") == (None, {})
    assert complete_checkpoints(tmp_path / "checkpoints") == []


def test_a_complete_checkpoint_has_its_step_and_metadata(tmp_path: Path) -> None:
    path = mark_complete(tmp_path, 12, {"tokens": 345}) if write_checkpoint_files(tmp_path, 12) else None
    assert latest_for_resume(tmp_path) == (path, {})
    assert checkpoint_step(path) == 12
    assert checkpoint_metadata(path) == {"step": 12, "tokens": 345}


def test_an_incomplete_checkpoint_is_removed_and_the_previous_one_is_resumed(tmp_path: Path) -> None:
    write_checkpoint_files(tmp_path, 4)
    mark_complete(tmp_path, 4, {})
    write_checkpoint_files(tmp_path, 8)
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["checkpoint-4"]
    assert latest_for_resume(tmp_path).checkpoint.name == "checkpoint-4"
    assert folder_names(tmp_path) == ["checkpoint-4"]


def test_the_two_newest_checkpoints_by_step_number_are_kept(tmp_path: Path) -> None:
    for step in (2, 9, 10, 100):
        write_checkpoint_files(tmp_path, step)
        mark_complete(tmp_path, step, {})
    assert KEEP_COUNT == 2
    assert folder_names(tmp_path) == ["checkpoint-10", "checkpoint-100"]
    assert latest_for_resume(tmp_path).checkpoint.name == "checkpoint-100"


def test_the_checkpoint_with_the_best_score_is_kept_beside_the_newest(tmp_path: Path) -> None:
    for step, score in ((1, 0.5), (2, 0.9), (3, 0.4), (4, None), (5, 0.6)):
        write_checkpoint_files(tmp_path, step)
        mark_complete(tmp_path, step, {"score": score})
    assert folder_names(tmp_path) == ["checkpoint-2", "checkpoint-4", "checkpoint-5"]
    delete_surplus(tmp_path)
    assert folder_names(tmp_path) == ["checkpoint-2", "checkpoint-5"]


@pytest.mark.parametrize(("metadata", "metric", "best"), [
    # a run of an earlier version that was resumed: its scores are those of its own metric
    ([{"score": 0.9}, {"score": 0.4}, {"score": 0.6, "metric": "correct"}], "correct", 1),
    ([{"score": 0.9}, {"score": 0.4}, {"score": 0.6, "metric": "correct"}], None, 1),
    ([{"score": 0.5}, {"score": 0.8}], "correct", 2),
    ([{"score": 0.5}, {"score": None, "metric": None}], "correct", 1),
    # of two metrics the run's own counts, by default that of its newest score
    ([{"score": -0.2, "metric": "loss"}, {"score": -0.4, "metric": "loss"}, {"score": -0.6, "metric": "loss"}], "correct", None),
    ([{"score": 5.0, "metric": "length"}, {"score": 0.3, "metric": "correct"}, {"score": 0.2, "metric": "correct"}], None, 2),
])  # fmt: skip
def test_the_best_checkpoint_is_that_of_the_runs_own_metric(
    metadata: list[dict[str, Any]], metric: str | None, best: int | None, tmp_path: Path
) -> None:
    paths = [write_checkpoint_files(tmp_path, step) for step in range(1, len(metadata) + 1)]
    for step, (path, facts) in enumerate(zip(paths, metadata, strict=True), 1):
        (path / COMPLETE_MARK).write_text(json.dumps({"step": step, **facts}))
    found = best_of(paths, metric)
    assert (None if found is None else checkpoint_step(found)) == best


def test_saving_the_same_step_again_replaces_the_metadata(tmp_path: Path) -> None:
    write_checkpoint_files(tmp_path, 5)
    mark_complete(tmp_path, 5, {"tokens": 1})
    mark_complete(tmp_path, 5, {"tokens": 2})
    assert checkpoint_metadata(latest_for_resume(tmp_path).checkpoint)["tokens"] == 2


def test_old_checkpoints_are_deleted_only_after_the_new_one_is_complete(tmp_path: Path) -> None:
    for step in (1, 2):
        write_checkpoint_files(tmp_path, step)
        mark_complete(tmp_path, step, {})
    with pytest.raises(FileNotFoundError):
        mark_complete(tmp_path, 3, {})  # no files of this step exist
    assert folder_names(tmp_path) == ["checkpoint-1", "checkpoint-2"]


def test_other_files_in_the_checkpoint_folder_are_ignored(tmp_path: Path) -> None:
    write_checkpoint_files(tmp_path, 3)
    mark_complete(tmp_path, 3, {})
    (tmp_path / "checkpoint-notes.txt").write_text("mine")
    (tmp_path / "checkpoint-best").mkdir()
    assert latest_for_resume(tmp_path).checkpoint.name == "checkpoint-3"


# -- damaged checkpoints --------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def overwrite(path: Path) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


@pytest.mark.parametrize("name", ["model.safetensors", "deep/optimizer.pt", "whole.json"])
@pytest.mark.parametrize("damage", [cut, overwrite, Path.unlink])
def test_a_damaged_checkpoint_is_not_resumed_from_but_the_one_before(
    damage: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    for step in (4, 8):
        write_checkpoint_files(tmp_path, step)
        mark_complete(tmp_path, step, {})
    damage(tmp_path / "checkpoint-8" / name)
    point = latest_for_resume(tmp_path)
    assert point.checkpoint == tmp_path / "checkpoint-4"
    if (damage, name) == (Path.unlink, "whole.json"):
        assert point.faults == {}, "without a mark it was never complete"
    else:
        assert [*point.faults] == [8]
        assert Path(name).name in point.faults[8]
        assert latest_for_resume(tmp_path).faults == {}, "it counts as incomplete from now on"


def test_the_fault_is_in_plain_words(tmp_path: Path) -> None:
    for step in (1, 2):
        write_checkpoint_files(tmp_path, step)
        mark_complete(tmp_path, step, {})
    cut(tmp_path / "checkpoint-1" / "model.safetensors")
    overwrite(tmp_path / "checkpoint-2" / "model.safetensors")
    assert latest_for_resume(tmp_path) == (
        None,
        {2: "model.safetensors is not as it was saved", 1: "model.safetensors has 6 of 7 bytes"},
    )


def test_a_damaged_checkpoint_never_displaces_a_usable_one(tmp_path: Path) -> None:
    for step in (1, 2):
        write_checkpoint_files(tmp_path, step)
        mark_complete(tmp_path, step, {"score": float(step)})
    cut(tmp_path / "checkpoint-2" / "model.safetensors")
    delete_surplus(tmp_path)
    assert folder_names(tmp_path) == ["checkpoint-1"]


EARLIER_FILES = {
    "model.safetensors": struct.pack("<Q", 46) + b'{"a":{"shape":[1],"data_offsets":[0,4]},"b":1}'.replace(b',"b":1', b'      ') + b"\0" * 4,
    "trainer_state.json": b'{"global_step": 3}',
    "optimizer.pt": b"PK\x05\x06" + b"\0" * 18,
    "merges.txt": b"a b",
}  # fmt: skip


@pytest.mark.parametrize("damaged_name", [None, *EARLIER_FILES])
def test_a_checkpoint_of_an_earlier_version_is_checked_by_the_formats_of_its_files(
    damaged_name: str | None, tmp_path: Path
) -> None:
    """Its mark has no stamps."""
    path = tmp_path / "checkpoint-3"
    path.mkdir()
    (path / COMPLETE_MARK).write_text('{"step": 3}')
    for name, content in EARLIER_FILES.items():
        (path / name).write_bytes(content)
    if damaged_name:
        (path / damaged_name).write_bytes(EARLIER_FILES[damaged_name][:-1] if damaged_name != "merges.txt" else b"")
    expected = (None, {3: f"{damaged_name} is damaged"}) if damaged_name else (path, {})
    assert latest_for_resume(tmp_path) == expected
