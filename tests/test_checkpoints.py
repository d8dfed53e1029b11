"""Checkpoints: only whole ones count, two are kept, and a kill in the middle of saving loses none of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.runs.checkpoints import (
    KEEP_COUNT,
    checkpoint_metadata,
    checkpoint_step,
    complete_checkpoints,
    delete_surplus,
    latest_for_resume,
    mark_complete,
)


def saved(folder: Path, step: int) -> Path:
    """What the training loop writes before we mark it."""
    path = folder / f"checkpoint-{step}"
    (path / "deep").mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"weights")
    (path / "deep" / "optimizer.pt").write_bytes(b"moments")
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_run_that_saved_nothing_has_nothing_to_resume_from(tmp_path: Path) -> None:
    assert latest_for_resume(tmp_path / "checkpoints") is None
    assert complete_checkpoints(tmp_path / "checkpoints") == []


def test_a_whole_checkpoint_says_its_step_and_facts(tmp_path: Path) -> None:
    path = mark_complete(tmp_path, 12, {"tokens": 345}) if saved(tmp_path, 12) else None
    assert latest_for_resume(tmp_path) == path
    assert checkpoint_step(path) == 12
    assert checkpoint_metadata(path) == {"step": 12, "tokens": 345}


def test_one_that_is_half_written_is_removed_and_the_one_before_counts(tmp_path: Path) -> None:
    saved(tmp_path, 4)
    mark_complete(tmp_path, 4, {})
    saved(tmp_path, 8)
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["checkpoint-4"]
    assert latest_for_resume(tmp_path).name == "checkpoint-4"
    assert names(tmp_path) == ["checkpoint-4"]


def test_the_two_newest_are_kept_by_number_and_not_by_name(tmp_path: Path) -> None:
    for step in (2, 9, 10, 100):
        saved(tmp_path, step)
        mark_complete(tmp_path, step, {})
    assert KEEP_COUNT == 2
    assert names(tmp_path) == ["checkpoint-10", "checkpoint-100"]
    assert latest_for_resume(tmp_path).name == "checkpoint-100"


def test_the_best_tested_one_stays_beside_the_newest(tmp_path: Path) -> None:
    for step, score in ((1, 0.5), (2, 0.9), (3, 0.4), (4, None), (5, 0.6)):
        saved(tmp_path, step)
        mark_complete(tmp_path, step, {"score": score})
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-4", "checkpoint-5"]
    delete_surplus(tmp_path)
    assert names(tmp_path) == ["checkpoint-2", "checkpoint-5"]


def test_saving_the_same_step_again_leaves_it_whole(tmp_path: Path) -> None:
    saved(tmp_path, 5)
    mark_complete(tmp_path, 5, {"tokens": 1})
    mark_complete(tmp_path, 5, {"tokens": 2})
    assert checkpoint_metadata(latest_for_resume(tmp_path))["tokens"] == 2


def test_the_old_ones_go_only_once_the_new_one_is_whole(tmp_path: Path) -> None:
    for step in (1, 2):
        saved(tmp_path, step)
        mark_complete(tmp_path, step, {})
    with pytest.raises(FileNotFoundError):
        mark_complete(tmp_path, 3, {})  # the loop never wrote it
    assert names(tmp_path) == ["checkpoint-1", "checkpoint-2"]


def test_other_files_in_the_folder_do_no_harm(tmp_path: Path) -> None:
    saved(tmp_path, 3)
    mark_complete(tmp_path, 3, {})
    (tmp_path / "checkpoint-notes.txt").write_text("mine")
    (tmp_path / "checkpoint-best").mkdir()
    assert latest_for_resume(tmp_path).name == "checkpoint-3"
