"""Cleanup: renaming runs, deleting runs and surplus checkpoints, and refusing both for running runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.core import platform
from app.core.json_files import write_json
from app.core.json_types import JsonObject
from app.core.problems import Problem
from app.core.processes import boot_id, process_identity
from app.core.workspace import local_workspace
from app.history import run_list
from app.planning import presets
from app.runs import checkpoints, cleanup, store
from app.runs.store import Run
from app.setup.spec import Launch


def create_run(title: str = "First tune") -> Run:
    return store.create_run(
        local_workspace(), presets.preset_spec("first_tune").model_copy(update={"title": title}), Launch()
    )


def write_checkpoint(run: Run, step: int, size: int = 1000) -> None:
    """Writes a checkpoint without its completion marker, which therefore counts as incomplete."""
    path = run.checkpoints / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "weights").write_bytes(b"x" * size)


def write_complete_checkpoints(run: Run, scores: dict[int, float | None]) -> None:
    """Writes checkpoints with hand-written markers ({step: eval score}); `complete` would delete the surplus at once."""
    for step, score in scores.items():
        write_checkpoint(run, step)
        marker = run.checkpoints / f"checkpoint-{step}" / checkpoints.COMPLETE_MARK
        marker.write_text(json.dumps({"step": step, "score": score}))


def checkpoint_steps(run: Run) -> list[int]:
    return sorted(map(checkpoints.checkpoint_step, checkpoints.all_checkpoints(run.checkpoints)))


@pytest.fixture
def running_run() -> Iterator[Run]:
    run = create_run()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        write_json(run.path / "handle.json", {"backend": "local"} | process_identity(process.pid))
        yield run
        process.communicate()


# -- titles -------------------------------------------------------------------------------------------------------


def test_renaming_a_run_changes_the_title_and_keeps_the_id_and_setup() -> None:
    run, spec_before = create_run(), presets.preset_spec("first_tune")
    cleanup.rename_run(run, "  My <b>best</b>\n one ")
    assert store.find_run(local_workspace(), run.id).spec == spec_before.model_copy(
        update={"title": "My <b>best</b> one"}
    )
    assert run_list.list_summaries(local_workspace())[0]["title"] == "My <b>best</b> one"


@pytest.mark.parametrize(("title", "message"), [("  \n", "needs a title"), ("x" * 201, "title")])
def test_an_empty_or_too_long_title_is_refused(title: str, message: str) -> None:
    run = create_run()
    with pytest.raises(Problem, match=message):
        cleanup.rename_run(run, title)
    assert run.spec.title == "First tune"


# -- checkpoints --------------------------------------------------------------------------------------------------


def test_the_best_and_the_last_checkpoint_are_kept_and_the_others_are_deleted() -> None:
    run = create_run()
    write_complete_checkpoints(run, {10: 0.9, 20: 0.4, 30: 0.7})
    write_checkpoint(run, 40)
    size_before = cleanup.run_size(run)
    freed_bytes = cleanup.delete_surplus_checkpoints(run)
    assert checkpoint_steps(run) == [10, 30]
    assert freed_bytes == size_before - cleanup.run_size(run) > 2000


def test_the_checkpoint_for_resuming_is_never_deleted() -> None:
    run = create_run()
    write_complete_checkpoints(run, {10: 0.9, 20: 0.9})
    cleanup.delete_surplus_checkpoints(run)
    assert checkpoint_steps(run) == [20], "with equal scores the last checkpoint is also the best"
    assert checkpoints.latest_for_resume(run.checkpoints).checkpoint.name == "checkpoint-20"


def test_a_run_without_checkpoints_has_nothing_to_free() -> None:
    assert cleanup.delete_surplus_checkpoints(create_run()) == 0


def test_the_listed_size_shrinks_by_the_freed_bytes() -> None:
    run = create_run()
    write_complete_checkpoints(run, {10: None})
    write_checkpoint(run, 5, 50_000)
    listed_bytes_before = run_list.list_summaries(local_workspace())[0]["bytes"]
    freed_bytes = cleanup.delete_surplus_checkpoints(run)
    assert run_list.list_summaries(local_workspace())[0]["bytes"] == listed_bytes_before - freed_bytes


# -- running runs and sizes ---------------------------------------------------------------------------------------


def test_a_running_run_can_neither_be_deleted_nor_cleaned_up(running_run: Run) -> None:
    for operation in (cleanup.delete_run, cleanup.delete_surplus_checkpoints):
        with pytest.raises(Problem, match=r"“First tune” is running, so it cannot be .* Stop it first"):
            operation(running_run)
    assert running_run.path.is_dir()


@pytest.mark.parametrize("handle", [{}, {"pid": 2**22 + 1}, {"pid": os.getpid(), "started": 0.0, "boot": boot_id()}])
def test_a_run_whose_engine_holds_its_lock_is_not_deleted_whatever_its_handle_says(handle: JsonObject) -> None:
    run = create_run()
    write_complete_checkpoints(run, {10: None, 20: None})
    write_json(run.path / "handle.json", handle)
    with run.engine_lock.open("w") as lock:
        platform.lock_file(lock)
        for operation in (cleanup.delete_run, cleanup.delete_surplus_checkpoints):
            with pytest.raises(Problem, match=r"“First tune” is running, so it cannot be .* Stop it first"):
                operation(run)
    assert checkpoint_steps(run) == [10, 20]
    cleanup.delete_run(run)
    assert store.list_runs(local_workspace()) == []


@pytest.mark.parametrize("operation", [cleanup.delete_run, cleanup.delete_surplus_checkpoints])
def test_no_engine_starts_on_a_run_while_its_files_are_deleted(
    operation: Callable[[Run], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run()
    write_complete_checkpoints(run, {10: None, 20: None})
    remove, calls = shutil.rmtree, []

    def remove_and_look(path: Path) -> None:
        folder = next(path for path in run.path.parent.iterdir())
        with (folder / run.engine_lock.name).open() as lock:
            calls.append(platform.try_lock_file(lock))
        calls.append(store.is_alive(Run(folder)))
        remove(path)

    monkeypatch.setattr(shutil, "rmtree", remove_and_look)
    operation(run)
    assert calls == [False, False], "an engine is kept out, and the run does not look alive"


def test_deleting_a_run_returns_the_freed_bytes() -> None:
    run = create_run()
    (run.path / "log.txt").write_bytes(b"x" * 12_345)
    size_before = cleanup.run_size(run)
    assert cleanup.delete_run(run) == size_before > 12_345


def test_disk_usage_is_given_in_bytes_used_and_free() -> None:
    first_run, second_run = create_run(), create_run("Second")
    (first_run.path / "log.txt").write_bytes(b"x" * 100_000)
    usage = run_list.disk_usage(local_workspace())
    assert usage["used"] == cleanup.run_size(first_run) + cleanup.run_size(second_run)
    assert usage["free"] == pytest.approx(
        os.statvfs(first_run.path).f_bavail * os.statvfs(first_run.path).f_frsize, rel=0.05
    )
