"""Care: titles change, checkpoints go, and what is running is left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from app.core.json_files import write_json
from app.core.problems import Problem
from app.core.processes import process_identity
from app.core.workspace import local_workspace
from app.history import run_list
from app.planning import presets
from app.runs import checkpoints, cleanup, store
from app.runs.store import Run
from app.setup.spec import Launch


def made(title: str = "First tune") -> Run:
    return store.create_run(
        local_workspace(), presets.preset_spec("first_tune").model_copy(update={"title": title}), Launch()
    )


def saved(run: Run, step: int, size: int = 1000) -> None:
    """A checkpoint without its mark: half-written, to anybody else."""
    path = run.checkpoints / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "weights").write_bytes(b"x" * size)


def whole(run: Run, scores: dict[int, float | None]) -> None:
    """Marked by hand, step by step with the score of its test: `complete` would tidy them at once."""
    for step, score in scores.items():
        saved(run, step)
        mark = run.checkpoints / f"checkpoint-{step}" / checkpoints.COMPLETE_MARK
        mark.write_text(json.dumps({"step": step, "score": score}))


def kept(run: Run) -> list[int]:
    return sorted(map(checkpoints.checkpoint_step, checkpoints.all_checkpoints(run.checkpoints)))


@pytest.fixture
def running() -> Iterator[Run]:
    run = made()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        write_json(run.path / "handle.json", {"backend": "local"} | process_identity(process.pid))
        yield run
        process.communicate()


# -- titles -------------------------------------------------------------------------------------------------------


def test_a_run_takes_another_title_and_keeps_its_id_and_setup() -> None:
    run, before = made(), presets.preset_spec("first_tune")
    cleanup.rename_run(run, "  My <b>best</b>\n one ")
    assert store.find_run(local_workspace(), run.id).spec == before.model_copy(update={"title": "My <b>best</b> one"})
    assert run_list.list_summaries(local_workspace())[0]["title"] == "My <b>best</b> one"


@pytest.mark.parametrize(("title", "words"), [("  \n", "needs a title"), ("x" * 201, "title")])
def test_a_title_that_is_none_is_refused(title: str, words: str) -> None:
    run = made()
    with pytest.raises(Problem, match=words):
        cleanup.rename_run(run, title)
    assert run.spec.title == "First tune"


# -- checkpoints --------------------------------------------------------------------------------------------------


def test_the_best_and_the_last_checkpoint_stay_and_the_rest_is_freed() -> None:
    run = made()
    whole(run, {10: 0.9, 20: 0.4, 30: 0.7})
    saved(run, 40)
    before = cleanup.run_size(run)
    freed = cleanup.delete_surplus_checkpoints(run)
    assert kept(run) == [10, 30]
    assert freed == before - cleanup.run_size(run) > 2000


def test_what_a_run_is_resumed_from_is_never_tidied_away() -> None:
    run = made()
    whole(run, {10: 0.9, 20: 0.9})
    cleanup.delete_surplus_checkpoints(run)
    assert kept(run) == [20], "equally good: the last is also the best"
    assert checkpoints.latest_for_resume(run.checkpoints).name == "checkpoint-20"


def test_a_run_without_checkpoints_has_nothing_to_free() -> None:
    assert cleanup.delete_surplus_checkpoints(made()) == 0


def test_lists_know_what_tidying_freed() -> None:
    run = made()
    whole(run, {10: None})
    saved(run, 5, 50_000)
    before = run_list.list_summaries(local_workspace())[0]["bytes"]
    freed = cleanup.delete_surplus_checkpoints(run)
    assert run_list.list_summaries(local_workspace())[0]["bytes"] == before - freed


# -- what is running ----------------------------------------------------------------------------------------------


def test_a_run_that_is_running_is_neither_deleted_nor_tidied(running: Run) -> None:
    for deed in (cleanup.delete_run, cleanup.delete_surplus_checkpoints):
        with pytest.raises(Problem, match=r"“First tune” is running, so it cannot be .* Stop it first"):
            deed(running)
    assert running.path.is_dir()


def test_deleting_says_what_it_frees() -> None:
    run = made()
    (run.path / "log.txt").write_bytes(b"x" * 12_345)
    before = cleanup.run_size(run)
    assert cleanup.delete_run(run) == before > 12_345


def test_the_disk_is_told_in_bytes_used_and_free() -> None:
    first, second = made(), made("Second")
    (first.path / "log.txt").write_bytes(b"x" * 100_000)
    said = run_list.disk_usage(local_workspace())
    assert said["used"] == cleanup.run_size(first) + cleanup.run_size(second)
    assert said["free"] == pytest.approx(os.statvfs(first.path).f_bavail * os.statvfs(first.path).f_frsize, rel=0.05)
