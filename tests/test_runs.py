"""Runs: each is a folder, is found by parts of its name, and has a state that is derived from its files."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.core import paths, platform, processes, registry
from app.core.json_files import read_json, write_json
from app.core.problems import Problem
from app.core.processes import is_alive, process_identity
from app.core.workspace import local_workspace
from app.history import run_index, run_list
from app.planning import presets
from app.runs import cleanup, store
from app.runs.store import Run
from app.setup.spec import Launch
from tests.support import run_command_line


def create_run(title: str = "First tune") -> Run:
    return store.create_run(
        local_workspace(), presets.preset_spec("first_tune").model_copy(update={"title": title}), Launch()
    )


def write_events(run: Run, *events: dict[str, Any]) -> Run:
    lines = [json.dumps({"seq": seq, "attempt": 1, "time": 1.0} | event) + "\n" for seq, event in enumerate(events, 1)]
    run.events.write_text("".join(lines))
    return run


def create_named_run(name: str) -> Run:
    """A run with the given folder name."""
    run = create_run()
    return Run(run.path.rename(run.path.with_name(name)))


# -- folders ------------------------------------------------------------------------------------------------------


def test_a_run_is_a_folder_with_its_spec_and_launch(home: Path) -> None:
    spec = presets.preset_spec("first_tune")
    run = store.create_run(local_workspace(), spec, Launch(machine="local:cpu"))
    assert run.path.parent == home / "runs"
    assert sorted(path.name for path in run.path.iterdir()) == ["launch.json", "spec.json"]
    assert (run.spec, run.launch.machine, run.handle) == (spec, "local:cpu", {})


def test_a_run_id_has_the_time_the_slug_and_a_random_suffix() -> None:
    assert re.fullmatch(r"\d{8}-\d{6}-first-tune-[a-z0-9]{4}", create_run().id)


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("Ünï / ../..", "n"),
        ("", "sft"),
        ("日本語", "run"),
        ("A  B--C", "a-b-c"),
        ("x" * 200, "x" * 40),
        ("\0\n", "run"),
    ],
)
def test_any_title_becomes_a_valid_folder_name(title: str, slug: str) -> None:
    assert create_run(title).id[16:-5] == slug


def test_a_run_that_is_being_created_is_not_listed(home: Path) -> None:
    (home / "runs" / ".20261122-000000-half-aaaa").mkdir(parents=True)
    assert store.list_runs(local_workspace()) == []


def test_runs_are_listed_newest_first() -> None:
    names = [create_named_run(f"2026112{day}-000000-x-aaaa").id for day in (1, 3, 2)]
    assert [run.id for run in store.list_runs(local_workspace())] == sorted(names, reverse=True)


def test_a_deleted_run_is_gone(home: Path) -> None:
    run, other_run = create_run(), create_run("Other")
    cleanup.delete_run(run)
    assert [listed_run.id for listed_run in store.list_runs(local_workspace())] == [other_run.id]
    assert os.listdir(home / "runs") == [other_run.id]


def test_files_and_folders_that_are_not_runs_are_not_listed(home: Path) -> None:
    run = create_run()
    (home / "runs" / "notes.txt").write_text("mine")
    (home / "runs" / "lost+found").mkdir()
    assert [listed_run.id for listed_run in store.list_runs(local_workspace())] == [run.id]


def test_runs_with_damaged_specs_do_not_hide_the_others() -> None:
    valid_run, damaged_run, newer_version_run = create_run(), create_run("Torn"), create_run("Newer")
    (damaged_run.path / "spec.json").write_text("{")
    (newer_version_run.path / "spec.json").write_text(newer_version_run.spec.to_json().replace('"v": 1', '"v": 2'))
    assert valid_run.id in run_command_line("runs").stdout


@pytest.mark.parametrize("handle", ["[1]", '{"backend": "local", "pid": "x", "boot": 1}', '{"backend": 3}'])
def test_a_damaged_handle_does_not_hide_the_others(handle: str) -> None:
    valid_run, damaged_run = create_run(), create_run("Torn")
    (damaged_run.path / "handle.json").write_text(handle)
    assert {summary["id"] for summary in run_list.list_summaries(local_workspace())} == {valid_run.id, damaged_run.id}


def test_the_home_folder_is_private_to_its_user(home: Path) -> None:
    create_run()
    assert home.stat().st_mode & 0o077 == 0


def test_json_files_are_replaced_without_leftovers_and_a_missing_file_is_empty(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": "ü"})
    write_json(tmp_path / "a.json", {"a": 2})
    assert os.listdir(tmp_path) == ["a.json"]
    assert read_json(tmp_path / "a.json") == {"a": 2}
    assert read_json(tmp_path / "none.json") == {}


# -- finding ------------------------------------------------------------------------------------------------------


def test_a_run_is_found_by_its_id_a_prefix_or_a_suffix() -> None:
    first_run, second_run = (
        create_named_run("20261121-000000-first-tune-aaaa"),
        create_named_run("20261122-000000-first-tune-bbbb"),
    )
    for name in (second_run.id, "20261122", "bbbb", "tune-bbbb", "last"):
        assert store.find_run(local_workspace(), name).id == second_run.id
    assert store.find_run(local_workspace(), "aaaa").id == first_run.id


@pytest.mark.parametrize("name", ["nope", "", "a", "aaa", "..", "../runs", "first", "/", "last"])
def test_a_missing_run_is_refused_with_advice(name: str) -> None:
    if name != "last":
        create_named_run("20261121-000000-first-tune-aaaa")
    with pytest.raises(Problem) as refusal:
        store.find_run(local_workspace(), name)
    assert f"“{name}”" in refusal.value.text
    assert "`python -m app runs`" in refusal.value.advice


def test_an_ambiguous_name_is_refused_with_the_matching_runs() -> None:
    names = [create_named_run(f"20261121-00000{number}-x-aaaa").id for number in range(3)]
    with pytest.raises(Problem, match="fits 3 runs") as refusal:
        store.find_run(local_workspace(), "20261121")
    assert all(name in refusal.value.advice for name in names)


# -- states -------------------------------------------------------------------------------------------------------

LOADING, TRAINING = {"kind": "state", "state": "loading"}, {"kind": "state", "state": "training"}
STEP = {"kind": "step", "step": 1, "of": 2, "metrics": {}}
WAITING = {"kind": "progress", "what": "waiting", "done": 0, "of": 1}
SAVING = {"kind": "state", "state": "saving"}
FAILED = {"kind": "failed", "reason": "x", "text": "a", "advice": "b"}


def done_event(why: str) -> dict[str, str]:
    return {"kind": "done", "why": why}


@pytest.mark.parametrize(("events", "state_if_alive", "state_if_dead"), [
    ([], "preparing", "new"), ([LOADING], "loading", "lost"), ([LOADING, WAITING], "waiting", "lost"), ([WAITING, LOADING], "loading", "lost"),
    ([TRAINING, STEP], "training", "lost"), ([TRAINING, STEP, SAVING], "saving", "lost"), ([TRAINING, FAILED], "training", "failed"),
    ([STEP, done_event("finished")], "training", "finished"), ([STEP, done_event("early")], "training", "finished"), ([STEP, done_event("stopped")], "training", "stopped"),
    ([STEP, done_event("budget")], "training", "stopped"), ([STEP, FAILED, {"kind": "resumed", "from_step": 0}], "training", "lost"),
])  # fmt: skip
def test_the_state_of_a_run_is_derived_from_its_events(
    events: list[dict[str, Any]], state_if_alive: str, state_if_dead: str
) -> None:
    run = write_events(create_run(), *events)
    assert store.run_state(run, alive=True) == state_if_alive
    assert store.run_state(run, alive=False) == state_if_dead


def test_a_dead_run_without_events_is_lost() -> None:
    run = create_run()
    write_json(run.path / "handle.json", {"backend": "local", "pid": 1})
    assert store.run_state(run, alive=False) == "lost"


def test_the_state_of_a_long_run_is_read_from_its_last_events() -> None:
    run = write_events(create_run(), *[STEP] * 5000, SAVING)
    assert store.run_state(run, alive=True) == "saving"
    assert 0 < len(store.recent_events(run, 1000)) < 20


# -- lists --------------------------------------------------------------------------------------------------------


def test_a_run_summary_has_all_fields_of_a_list_row() -> None:
    first_evaluation = {"kind": "eval", "step": 0, "set": "holdout", "metrics": {"eval/correct": 0.0}}
    step_events = [{"kind": "step", "step": step, "of": 3, "metrics": {"train/loss": loss}, "seconds_left": 9.0}
             for step, loss in ((1, 3.0), (2, 2.0), (3, 1.0))]  # fmt: skip
    events = [
        first_evaluation,
        *step_events,
        {**first_evaluation, "step": 3, "metrics": {"eval/correct": 0.94}},
        done_event("finished"),
    ]
    run = write_events(create_run("<b>Mine</b>"), *events)
    folder_size = sum(path.stat().st_size for path in run.path.rglob("*"))
    expected = {"id": run.id, "title": "<b>Mine</b>", "state": "finished", "alive": False, "step": 3, "of": 3, "seconds_left": None,
                "spark": [1.0, 0.5, 0.0], "result": "0 % → 94 %, too few steps", "bytes": folder_size, "journey": None, "doubt": "careful"}  # fmt: skip
    [summary] = run_list.list_summaries(local_workspace())
    assert abs(summary.pop("started") - time.time()) < 60
    assert summary == expected
    assert run_list.summarize_run(run, alive=True) | {"started": 0} == expected | {
        "started": 0, "alive": True, "state": "training", "seconds_left": 9.0, "result": None}  # fmt: skip


def test_the_run_list_is_newest_first_and_obeys_its_limit() -> None:
    names = sorted((create_named_run(f"2026112{day}-000000-x-aaaa").id for day in (1, 3, 2)), reverse=True)
    assert [summary["id"] for summary in run_list.list_summaries(local_workspace())] == names
    assert [summary["id"] for summary in run_list.list_summaries(local_workspace(), limit=2)] == names[:2]


def test_the_run_list_follows_changes_in_the_run_folders() -> None:
    run = write_events(create_run(), STEP)
    assert run_list.list_summaries(local_workspace())[0]["state"] == "lost"
    write_events(run, STEP, done_event("stopped"))
    assert run_list.list_summaries(local_workspace())[0]["result"] == "stopped at 1 of 2"
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    write_json(run.path / "handle.json", {"backend": "local"} | process_identity(child.pid))
    assert run_list.list_summaries(local_workspace())[0]["alive"], "the run was started again and has no new event yet"
    child.communicate()
    assert not run_list.list_summaries(local_workspace())[0]["alive"], (
        "the process ended without an event, so no file has changed"
    )
    cleanup.delete_run(run)
    assert run_list.list_summaries(local_workspace()) == []


def test_a_damaged_run_is_listed_as_damaged_with_the_others() -> None:
    valid_run, damaged_run = (
        create_named_run("20261121-000000-good-aaaa"),
        create_named_run("20261122-000000-torn-run-aaaa"),
    )
    (damaged_run.path / "spec.json").write_text("{")
    (damaged_run.path / "handle.json").write_text("{")
    assert [(summary["id"], summary["title"], summary["state"]) for summary in run_list.list_summaries(local_workspace())] == [
        (damaged_run.id, "Torn run", "damaged"), (valid_run.id, "First tune", "new")]  # fmt: skip


# -- the list after a server restart -------------------------------------------------------------------------------


def list_after_restart() -> list[dict[str, Any]]:
    """The run list of a server that has just been restarted: its in-memory index is empty."""
    run_list.run_index.cache_clear()
    return run_list.list_summaries(local_workspace())


@pytest.fixture
def indexed_run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose summary is saved on disk. SAVE_EVERY is 1, so that a single listed run is enough for the index to be written."""
    monkeypatch.setattr(run_index, "SAVE_EVERY", 1)
    run = write_events(create_run(), STEP, done_event("finished"))
    (run.checkpoints / "checkpoint-1").mkdir(parents=True)
    (run.checkpoints / "checkpoint-1" / "weights").write_bytes(b"x" * 99)
    time.sleep(2 * run_index.CLOCK_TICK / 1e9)
    assert [summary["state"] for summary in run_list.list_summaries(local_workspace())] == ["finished"]
    return run


def replace_text_keeping_mtime(path: Path, old_text: str, new_text: str) -> None:
    """Replaces text of a file without changing its size or its modification time."""
    file_stat, content = path.stat(), path.read_text()
    assert content.count(old_text) == 1
    assert len(old_text) == len(new_text)
    with path.open("r+") as file:
        file.write(content.replace(old_text, new_text))
    os.utime(path, ns=(file_stat.st_atime_ns, file_stat.st_mtime_ns))


def test_an_unchanged_run_is_not_read_again_after_a_restart(indexed_run: Run) -> None:
    replace_text_keeping_mtime(indexed_run.events, '"finished"', ' "stopped"')
    assert list_after_restart()[0]["state"] == "finished"
    indexed_run.events.touch()
    assert list_after_restart()[0]["state"] == "stopped"


@pytest.mark.parametrize("change", ["story", "setup", "handle", "result", "checkpoints"])
def test_any_change_in_a_run_folder_is_seen_after_a_restart(indexed_run: Run, change: str) -> None:
    [summary_before] = list_after_restart()
    if change == "story":
        indexed_run.events.write_text(indexed_run.events.read_text() + json.dumps({"seq": 3, "attempt": 2, "time": 1.0, "kind": "failed", "reason": "x", "text": "a", "advice": "b"}) + "\n")  # fmt: skip
    if change == "setup":  # edited in place
        with (indexed_run.path / "spec.json").open("r+") as file:
            content = file.read()
            file.seek(0)
            file.write(content.replace("First tune", "Other tune"))
    if change == "handle":
        write_json(indexed_run.path / "handle.json", {"backend": "local"} | process_identity(os.getpid()))
    if change == "result":
        indexed_run.adapter.mkdir()
        (indexed_run.adapter / "weights").write_bytes(b"x" * 99)
    if change == "checkpoints":  # deleted by the user
        shutil.rmtree(indexed_run.checkpoints / "checkpoint-1")
    [summary_after] = list_after_restart()
    assert summary_after != summary_before
    run_list.run_index(local_workspace()).entries.clear()
    assert [summary_after] == run_list.list_summaries(local_workspace()), "a summary without the index must be the same"


def touch_in_future(run: Run) -> Run:
    """Sets the modification time half a second ahead, so that the file counts as just changed during the test."""
    now = time.time_ns() + 500_000_000
    os.utime(run.events, ns=(now, now))
    return run


def test_a_second_change_within_a_clock_tick_is_seen_later() -> None:
    """Two changes within one clock tick have the same modification time, so a file that is younger than a tick is read again later."""
    run = touch_in_future(write_events(create_run(), STEP, done_event("finished")))
    assert run_list.list_summaries(local_workspace())[0]["state"] == "finished"
    replace_text_keeping_mtime(run.events, '"finished"', ' "stopped"')
    time.sleep(0.5 + 2 * run_index.CLOCK_TICK / 1e9)
    assert run_list.list_summaries(local_workspace())[0]["state"] == "stopped"


def test_a_file_younger_than_a_clock_tick_is_read_again_after_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_index, "SAVE_EVERY", 1)
    run = touch_in_future(write_events(create_run(), STEP, done_event("finished")))
    assert run_list.list_summaries(local_workspace())[0]["state"] == "finished"
    replace_text_keeping_mtime(run.events, '"finished"', ' "stopped"')
    assert list_after_restart()[0]["state"] == "stopped"


def test_the_process_of_a_live_run_is_checked_again_after_a_restart(indexed_run: Run) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    write_json(indexed_run.path / "handle.json", {"backend": "local"} | process_identity(child.pid))
    time.sleep(2 * run_index.CLOCK_TICK / 1e9)
    assert run_list.list_summaries(local_workspace())[0]["alive"]
    child.communicate()
    assert not list_after_restart()[0]["alive"]


def test_a_deleted_run_is_removed_from_the_saved_index(indexed_run: Run, home: Path) -> None:
    [index_file] = (home / "cache" / "lists").iterdir()
    assert indexed_run.id in index_file.read_text()
    cleanup.delete_run(indexed_run)
    assert run_list.list_summaries(local_workspace()) == []
    assert indexed_run.id not in index_file.read_text()


def test_a_run_moved_away_by_the_user_is_removed_from_the_saved_index(indexed_run: Run, home: Path) -> None:
    indexed_run.path.rename(home / "elsewhere")
    create_run()
    time.sleep(2 * run_index.CLOCK_TICK / 1e9)
    assert [summary["title"] for summary in run_list.list_summaries(local_workspace())] == ["First tune"]
    [index_file] = (home / "cache" / "lists").iterdir()
    assert indexed_run.id not in index_file.read_text()


def test_a_folder_name_that_is_not_utf8_does_not_hide_other_runs(indexed_run: Run, home: Path) -> None:
    shutil.rmtree(home / "cache" / "lists")
    shutil.copytree(os.fsencode(indexed_run.path), os.fsencode(indexed_run.path.parent) + b"/20261122-000000-\xff-aaaa")
    time.sleep(2 * run_index.CLOCK_TICK / 1e9)
    assert len(list_after_restart()) == 2
    replace_text_keeping_mtime(indexed_run.events, '"finished"', ' "stopped"')
    assert {summary["id"]: summary["state"] for summary in list_after_restart()}[indexed_run.id] == "finished"


def test_a_damaged_index_is_ignored(indexed_run: Run, home: Path) -> None:
    [index_file] = (home / "cache" / "lists").iterdir()
    for damaged_bytes in (
        b"",
        b"{}",
        index_file.read_bytes()[:-1],
        index_file.read_bytes().replace(b"finished", b"failed!!"),
    ):
        index_file.write_bytes(damaged_bytes)
        assert list_after_restart()[0]["state"] == "finished"


@pytest.mark.slow
def test_ten_thousand_runs_are_listed_in_little_more_time_than_looking_at_their_files(home: Path) -> None:
    """Also after a restart, because unchanged runs are not read again. The bench `many` measures the seconds."""
    original_run = write_events(create_run(), STEP, done_event("finished"))
    for number in range(10_000):
        copy = home / "runs" / f"20260101-000000-x-{number:04d}"
        copy.mkdir()
        for name in ("spec.json", "events.jsonl"):
            os.link(original_run.path / name, copy / name)
    time.sleep(2 * run_index.CLOCK_TICK / 1e9)
    run_list.list_summaries(local_workspace())
    file_paths = [
        run.path / name
        for run in store.list_runs(local_workspace())
        for name in ("", "spec.json", "events.jsonl", "checkpoints")
    ]
    stat_seconds = fastest(lambda: [os.access(path, os.F_OK) for path in file_paths])
    assert len(list_after_restart()) == 10_001
    assert fastest(lambda: run_list.list_summaries(local_workspace())) < 4 * stat_seconds
    assert fastest(list_after_restart) < 8 * stat_seconds


def fastest(call: Callable[[], object]) -> float:
    """Processor seconds of the fastest of three calls, which other processes disturb least."""
    seconds = []
    for _ in range(3):
        started_at = time.process_time()
        call()
        seconds.append(time.process_time() - started_at)
    return min(seconds)


# -- processes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="the ticks are of Linux")
def test_a_process_is_identified_by_pid_start_ticks_and_boot(child: subprocess.Popen[bytes]) -> None:
    handle = process_identity(child.pid)
    assert is_alive(handle)
    assert not is_alive(handle | {"start_ticks": handle["start_ticks"] - 1}), "the PID was reused by another process"
    assert not is_alive(handle | {"start_ticks": None})
    assert not is_alive(handle | {"pid": 2**22 + 1, "start_ticks": None}), "no process has this PID"
    assert not is_alive(handle | {"boot": "another"})
    assert not is_alive({})
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(handle), "a zombie process is not alive"
    child.wait()
    assert not is_alive(handle)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system keeps the start times as they were")
@pytest.mark.parametrize("seconds", [-7200, 7200])
def test_a_step_of_the_clock_changes_no_identity(
    seconds: int, child: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = process_identity(child.pid)
    started, boot_time = psutil.Process(child.pid).create_time(), psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: boot_time + seconds)
    assert psutil.Process(child.pid).create_time() == pytest.approx(started + seconds, abs=2), (
        "the clock is not stepped"
    )
    assert is_alive(handle)
    assert process_identity(child.pid) == handle


def test_an_identity_by_unix_time_as_earlier_versions_wrote_it_is_read(child: subprocess.Popen[bytes]) -> None:
    handle = {"pid": child.pid, "started": psutil.Process(child.pid).create_time(), "boot": processes.boot_id()}
    assert is_alive(handle)
    assert not is_alive(handle | {"started": handle["started"] - 100}), "the PID was reused by another process"
    child.kill()
    child.wait()
    assert not is_alive(handle)


def test_a_process_may_have_any_name(tmp_path: Path) -> None:
    program = tmp_path / "a) Z (1 \xff"
    shutil.copy(str(shutil.which("sleep")), program)
    with subprocess.Popen([program, "60"]) as process:
        assert is_alive(process_identity(process.pid))
        process.kill()


# -- locks --------------------------------------------------------------------------------------------------------


def test_a_lock_that_is_only_tested_is_taken_a_moment_later(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as file, path.open() as test:
        assert platform.try_lock_file(test, shared=True)
        assert not platform.lock_file_within(file, 0.05)
        assert not platform.lock_file_within(file, 60, lambda: True)
        threading.Timer(0.1, fcntl.flock, (test, fcntl.LOCK_UN)).start()
        assert platform.lock_file_within(file, 60)
        assert platform.is_locked(path)
    assert not platform.is_locked(path)
    assert not platform.is_locked(tmp_path / "missing")


def test_a_run_lives_while_an_engine_holds_its_lock_whatever_its_handle_says(
    indexed_run: Run, child: subprocess.Popen[bytes]
) -> None:
    """As after a step of the clock with a handle of an earlier version, which has a Unix time, or without a handle."""
    started = psutil.Process(child.pid).create_time() + 7200
    other_clock = {"backend": "local", "pid": child.pid, "started": started, "boot": processes.boot_id()}
    for handle in (other_clock, {}, {"backend": "local", "pid": 2**22 + 1}):
        write_json(indexed_run.path / "handle.json", handle)
        with indexed_run.engine_lock.open("w") as lock:
            platform.lock_file(lock)
            assert store.is_alive(indexed_run)
            assert list_after_restart()[0]["alive"]
        assert not store.is_alive(indexed_run)
        assert not run_list.list_summaries(local_workspace())[0]["alive"]


# -- home ---------------------------------------------------------------------------------------------------------


def test_a_home_below_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(Problem, match="cannot be made") as refusal:
        local_workspace().runs
    assert "TUNESMITH_HOME" in refusal.value.advice


def test_a_relative_home_does_not_depend_on_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine has another working directory than the process that started it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNESMITH_HOME", os.path.relpath(tmp_path / "mine", paths.ROOT))
    runs_folder = local_workspace().runs
    monkeypatch.chdir("/")
    assert runs_folder.is_absolute()
    assert local_workspace().runs == runs_folder


def test_a_home_of_an_unknown_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_HOME", "~nobody-of-this-name/x")
    with pytest.raises(Problem, match="TUNESMITH_HOME"):
        local_workspace().runs


def test_a_registry_lists_its_modules_and_refuses_paths() -> None:
    assert registry.names("methods") == sorted(registry.names("methods"))
    assert "sft" in registry.names("methods")
    assert "__init__" not in registry.names("backends")
    for name in ("../sft", "sft.py", "__init__", "", "SFT"):
        with pytest.raises(Problem, match="There is no method called"):
            registry.load_module("methods", name)
