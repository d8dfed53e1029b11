"""Runs: a folder each, found by any part of its name, its state told from its files alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from app.core import paths, registry
from app.core.json_files import read_json, write_json
from app.core.problems import Problem
from app.core.processes import is_alive, process_identity
from app.core.workspace import local_workspace
from app.history import run_index, run_list
from app.planning import presets
from app.runs import cleanup, store
from app.runs.store import Run
from app.setup.spec import Launch
from tests.support import cli


def made(title: str = "First tune") -> Run:
    return store.create_run(
        local_workspace(), presets.preset_spec("first_tune").model_copy(update={"title": title}), Launch()
    )


def told(run: Run, *events: dict[str, Any]) -> Run:
    lines = [json.dumps({"seq": seq, "attempt": 1, "time": 1.0} | event) + "\n" for seq, event in enumerate(events, 1)]
    run.events.write_text("".join(lines))
    return run


def named(name: str) -> Run:
    """A run of a name of one's choice."""
    run = made()
    return Run(run.path.rename(run.path.with_name(name)))


# -- folders ------------------------------------------------------------------------------------------------------


def test_a_run_is_a_folder_with_its_setup_and_launch(home: Path) -> None:
    spec = presets.preset_spec("first_tune")
    run = store.create_run(local_workspace(), spec, Launch(machine="local:cpu"))
    assert run.path.parent == home / "runs"
    assert sorted(path.name for path in run.path.iterdir()) == ["launch.json", "spec.json"]
    assert (run.spec, run.launch.machine, run.handle) == (spec, "local:cpu", {})


def test_a_runs_name_sorts_by_time_and_reads_well() -> None:
    assert re.fullmatch(r"\d{8}-\d{6}-first-tune-[a-z0-9]{4}", made().id)


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
def test_any_title_makes_a_name_a_folder_can_have(title: str, slug: str) -> None:
    assert made(title).id[16:-5] == slug


def test_a_run_that_is_being_made_is_not_seen(home: Path) -> None:
    (home / "runs" / ".20261122-000000-half-aaaa").mkdir(parents=True)
    assert store.list_runs(local_workspace()) == []


def test_runs_are_listed_newest_first() -> None:
    names = [named(f"2026112{day}-000000-x-aaaa").id for day in (1, 3, 2)]
    assert [run.id for run in store.list_runs(local_workspace())] == sorted(names, reverse=True)


def test_a_deleted_run_is_gone(home: Path) -> None:
    run, other = made(), made("Other")
    cleanup.delete_run(run)
    assert [one.id for one in store.list_runs(local_workspace())] == [other.id]
    assert os.listdir(home / "runs") == [other.id]


def test_what_is_no_run_is_not_listed(home: Path) -> None:
    run = made()
    (home / "runs" / "notes.txt").write_text("mine")
    (home / "runs" / "lost+found").mkdir()
    assert [one.id for one in store.list_runs(local_workspace())] == [run.id]


def test_one_damaged_run_does_not_hide_the_others() -> None:
    good, torn, newer = made(), made("Torn"), made("Newer")
    (torn.path / "spec.json").write_text("{")
    (newer.path / "spec.json").write_text(newer.spec.to_json().replace('"v": 1', '"v": 2'))
    assert good.id in cli("runs").stdout


@pytest.mark.parametrize("handle", ["[1]", '{"backend": "local", "pid": "x", "boot": 1}', '{"backend": 3}'])
def test_a_damaged_handle_does_not_hide_the_others(handle: str) -> None:
    good, torn = made(), made("Torn")
    (torn.path / "handle.json").write_text(handle)
    assert {one["id"] for one in run_list.list_summaries(local_workspace())} == {good.id, torn.id}


def test_what_lies_in_a_home_is_nobody_elses(home: Path) -> None:
    made()
    assert home.stat().st_mode & 0o077 == 0


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"a": "ü"})
    write_json(tmp_path / "a.json", {"a": 2})
    assert os.listdir(tmp_path) == ["a.json"]
    assert read_json(tmp_path / "a.json") == {"a": 2}
    assert read_json(tmp_path / "none.json") == {}


# -- finding ------------------------------------------------------------------------------------------------------


def test_a_run_is_found_by_its_name_its_beginning_or_its_end() -> None:
    first, second = named("20261121-000000-first-tune-aaaa"), named("20261122-000000-first-tune-bbbb")
    for name in (second.id, "20261122", "bbbb", "tune-bbbb", "last"):
        assert store.find_run(local_workspace(), name).id == second.id
    assert store.find_run(local_workspace(), "aaaa").id == first.id


@pytest.mark.parametrize("name", ["nope", "", "a", "aaa", "..", "../runs", "first", "/", "last"])
def test_a_run_that_is_not_there_says_where_to_look(name: str) -> None:
    if name != "last":
        named("20261121-000000-first-tune-aaaa")
    with pytest.raises(Problem) as found:
        store.find_run(local_workspace(), name)
    assert f"“{name}”" in found.value.text
    assert "`python -m app runs`" in found.value.advice


def test_a_name_that_fits_several_names_them() -> None:
    names = [named(f"20261121-00000{number}-x-aaaa").id for number in range(3)]
    with pytest.raises(Problem, match="fits 3 runs") as found:
        store.find_run(local_workspace(), "20261121")
    assert all(name in found.value.advice for name in names)


# -- states -------------------------------------------------------------------------------------------------------

LOADING, TRAINING = {"kind": "state", "state": "loading"}, {"kind": "state", "state": "training"}
STEP = {"kind": "step", "step": 1, "of": 2, "metrics": {}}
WAITING = {"kind": "progress", "what": "waiting", "done": 0, "of": 1}
SAVING = {"kind": "state", "state": "saving"}
FAILED = {"kind": "failed", "reason": "x", "text": "a", "advice": "b"}


def done(why: str) -> dict[str, str]:
    return {"kind": "done", "why": why}


@pytest.mark.parametrize(("story", "alive", "dead"), [
    ([], "preparing", "new"), ([LOADING], "loading", "lost"), ([LOADING, WAITING], "waiting", "lost"), ([WAITING, LOADING], "loading", "lost"),
    ([TRAINING, STEP], "training", "lost"), ([TRAINING, STEP, SAVING], "saving", "lost"), ([TRAINING, FAILED], "training", "failed"),
    ([STEP, done("finished")], "training", "finished"), ([STEP, done("early")], "training", "finished"), ([STEP, done("stopped")], "training", "stopped"),
    ([STEP, done("budget")], "training", "stopped"), ([STEP, FAILED, {"kind": "resumed", "from_step": 0}], "training", "lost"),
])  # fmt: skip
def test_a_runs_state_follows_from_its_story(story: list[dict[str, Any]], alive: str, dead: str) -> None:
    run = told(made(), *story)
    assert store.run_state(run, alive=True) == alive
    assert store.run_state(run, alive=False) == dead


def test_a_run_that_was_started_and_said_nothing_is_lost() -> None:
    run = made()
    write_json(run.path / "handle.json", {"backend": "local", "pid": 1})
    assert store.run_state(run, alive=False) == "lost"


def test_the_end_of_a_long_story_is_enough() -> None:
    run = told(made(), *[STEP] * 5000, SAVING)
    assert store.run_state(run, alive=True) == "saving"
    assert 0 < len(store.recent_events(run, 1000)) < 20


# -- lists --------------------------------------------------------------------------------------------------------


def test_a_list_says_of_each_run_what_a_line_shows() -> None:
    first = {"kind": "eval", "step": 0, "set": "holdout", "metrics": {"eval/correct": 0.0}}
    steps = [{"kind": "step", "step": step, "of": 3, "metrics": {"train/loss": loss}, "seconds_left": 9.0}
             for step, loss in ((1, 3.0), (2, 2.0), (3, 1.0))]  # fmt: skip
    story = [first, *steps, {**first, "step": 3, "metrics": {"eval/correct": 0.94}}, done("finished")]
    run = told(made("<b>Mine</b>"), *story)
    size = sum(path.stat().st_size for path in run.path.rglob("*"))
    expected = {"id": run.id, "title": "<b>Mine</b>", "state": "finished", "alive": False, "step": 3, "of": 3, "seconds_left": None,
                "spark": [1.0, 0.5, 0.0], "result": "0 % → 94 %", "bytes": size, "journey": None}  # fmt: skip
    [shown] = run_list.list_summaries(local_workspace())
    assert abs(shown.pop("started") - time.time()) < 60
    assert shown == expected
    assert run_list.summarize_run(run, alive=True) | {"started": 0} == expected | {
        "started": 0, "alive": True, "state": "training", "seconds_left": 9.0, "result": None}  # fmt: skip


def test_a_list_is_newest_first_and_as_short_as_asked() -> None:
    names = sorted((named(f"2026112{day}-000000-x-aaaa").id for day in (1, 3, 2)), reverse=True)
    assert [one["id"] for one in run_list.list_summaries(local_workspace())] == names
    assert [one["id"] for one in run_list.list_summaries(local_workspace(), limit=2)] == names[:2]


def test_a_list_follows_what_happens_in_the_folders() -> None:
    run = told(made(), STEP)
    assert run_list.list_summaries(local_workspace())[0]["state"] == "lost"
    told(run, STEP, done("stopped"))
    assert run_list.list_summaries(local_workspace())[0]["result"] == "stopped at 1 of 2"
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    write_json(run.path / "handle.json", {"backend": "local"} | process_identity(child.pid))
    assert run_list.list_summaries(local_workspace())[0]["alive"], "started again, with nothing said so far"
    child.communicate()
    assert not run_list.list_summaries(local_workspace())[0]["alive"], "it ended without a word, so that no file tells"
    cleanup.delete_run(run)
    assert run_list.list_summaries(local_workspace()) == []


def test_a_damaged_run_is_listed_as_such_beside_the_others() -> None:
    good, torn = named("20261121-000000-good-aaaa"), named("20261122-000000-torn-run-aaaa")
    (torn.path / "spec.json").write_text("{")
    (torn.path / "handle.json").write_text("{")
    assert [(one["id"], one["title"], one["state"]) for one in run_list.list_summaries(local_workspace())] == [
        (torn.id, "Torn run", "damaged"), (good.id, "First tune", "new")]  # fmt: skip


# -- the list after a start of the page ----------------------------------------------------------------------------


def started_again() -> list[dict[str, Any]]:
    """The list as a page gives it that was just started."""
    run_list.run_index.cache_clear()
    return run_list.list_summaries(local_workspace())


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose summary is remembered over a start: as if a hundred others had been listed with it."""
    monkeypatch.setattr(run_index, "SAVE_EVERY", 1)
    run = told(made(), STEP, done("finished"))
    (run.checkpoints / "checkpoint-1").mkdir(parents=True)
    (run.checkpoints / "checkpoint-1" / "weights").write_bytes(b"x" * 99)
    time.sleep(2 * run_index.CLOCK_TICK / 1e9)
    assert [one["state"] for one in run_list.list_summaries(local_workspace())] == ["finished"]
    return run


def unnoticed(path: Path, before: str, after: str) -> None:
    """Other words stand in a file that looks untouched."""
    times, text = path.stat(), path.read_text()
    assert text.count(before) == 1
    assert len(before) == len(after)
    with path.open("r+") as file:
        file.write(text.replace(before, after))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_run_that_did_not_change_is_not_read_again_after_a_start(remembered: Run) -> None:
    unnoticed(remembered.events, '"finished"', ' "stopped"')
    assert started_again()[0]["state"] == "finished"
    remembered.events.touch()
    assert started_again()[0]["state"] == "stopped"


@pytest.mark.parametrize("change", ["story", "setup", "handle", "result", "checkpoints"])
def test_whatever_changed_in_a_folder_shows_after_a_start(remembered: Run, change: str) -> None:
    [before] = started_again()
    if change == "story":
        remembered.events.write_text(remembered.events.read_text() + json.dumps({"seq": 3, "attempt": 2, "time": 1.0, "kind": "failed", "reason": "x", "text": "a", "advice": "b"}) + "\n")  # fmt: skip
    if change == "setup":  # by hand, in its place
        with (remembered.path / "spec.json").open("r+") as file:
            text = file.read()
            file.seek(0)
            file.write(text.replace("First tune", "Other tune"))
    if change == "handle":
        write_json(remembered.path / "handle.json", {"backend": "local"} | process_identity(os.getpid()))
    if change == "result":
        remembered.adapter.mkdir()
        (remembered.adapter / "weights").write_bytes(b"x" * 99)
    if change == "checkpoints":  # by hand, to have more room
        shutil.rmtree(remembered.checkpoints / "checkpoint-1")
    [after] = started_again()
    assert after != before
    run_list.run_index(local_workspace()).entries.clear()
    assert [after] == run_list.list_summaries(local_workspace()), "as the folder says"


def just_changed(run: Run) -> Run:
    """Half a second ahead: it is that young for as long as the test needs."""
    now = time.time_ns() + 500_000_000
    os.utime(run.events, ns=(now, now))
    return run


def test_a_change_within_a_tick_of_the_clock_is_seen_later() -> None:
    """Two changes at the same time leave the same traces; so what is as young as a tick is read again when it no longer is."""
    run = just_changed(told(made(), STEP, done("finished")))
    assert run_list.list_summaries(local_workspace())[0]["state"] == "finished"
    unnoticed(run.events, '"finished"', ' "stopped"')
    time.sleep(0.5 + 2 * run_index.CLOCK_TICK / 1e9)
    assert run_list.list_summaries(local_workspace())[0]["state"] == "stopped"


def test_what_is_as_young_as_a_tick_is_not_remembered_over_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_index, "SAVE_EVERY", 1)
    run = just_changed(told(made(), STEP, done("finished")))
    assert run_list.list_summaries(local_workspace())[0]["state"] == "finished"
    unnoticed(run.events, '"finished"', ' "stopped"')
    assert started_again()[0]["state"] == "stopped"


def test_a_run_that_ran_is_asked_for_after_a_start(remembered: Run) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    write_json(remembered.path / "handle.json", {"backend": "local"} | process_identity(child.pid))
    time.sleep(2 * run_index.CLOCK_TICK / 1e9)
    assert run_list.list_summaries(local_workspace())[0]["alive"]
    child.communicate()
    assert not started_again()[0]["alive"]


def test_nothing_of_a_deleted_run_is_remembered(remembered: Run, home: Path) -> None:
    [kept] = (home / "cache" / "lists").iterdir()
    assert remembered.id in kept.read_text()
    cleanup.delete_run(remembered)
    assert run_list.list_summaries(local_workspace()) == []
    assert remembered.id not in kept.read_text()


def test_nothing_of_a_run_that_was_removed_by_hand_is_remembered_for_long(remembered: Run, home: Path) -> None:
    remembered.path.rename(home / "elsewhere")
    made()
    time.sleep(2 * run_index.CLOCK_TICK / 1e9)
    assert [one["title"] for one in run_list.list_summaries(local_workspace())] == ["First tune"]
    [kept] = (home / "cache" / "lists").iterdir()
    assert remembered.id not in kept.read_text()


def test_a_folder_whose_name_is_no_text_hides_no_other(remembered: Run, home: Path) -> None:
    shutil.rmtree(home / "cache" / "lists")
    shutil.copytree(os.fsencode(remembered.path), os.fsencode(remembered.path.parent) + b"/20261122-000000-\xff-aaaa")
    time.sleep(2 * run_index.CLOCK_TICK / 1e9)
    assert len(started_again()) == 2
    unnoticed(remembered.events, '"finished"', ' "stopped"')
    assert {one["id"]: one["state"] for one in started_again()}[remembered.id] == "finished"


def test_a_damaged_index_is_as_good_as_none(remembered: Run, home: Path) -> None:
    [kept] = (home / "cache" / "lists").iterdir()
    for damage in (b"", b"{}", kept.read_bytes()[:-1], kept.read_bytes().replace(b"finished", b"failed!!")):
        kept.write_bytes(damage)
        assert started_again()[0]["state"] == "finished"


def test_ten_thousand_runs_are_listed_in_a_moment(home: Path) -> None:
    """Also right after a start. What did not change is not read again: the budget is 200 ms on two cores of our own."""
    one = told(made(), STEP, done("finished"))
    for number in range(10_000):
        copy = home / "runs" / f"20260101-000000-x-{number:04d}"
        copy.mkdir()
        for name in ("spec.json", "events.jsonl"):
            os.link(one.path / name, copy / name)
    time.sleep(2 * run_index.CLOCK_TICK / 1e9)
    run_list.list_summaries(local_workspace())
    for again in (lambda: run_list.list_summaries(local_workspace()), started_again):
        began = time.process_time()
        assert len(again()) == 10_001
        assert time.process_time() - began < 0.5


# -- processes ----------------------------------------------------------------------------------------------------


def test_a_process_is_known_by_more_than_its_number() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    handle = process_identity(child.pid)
    assert is_alive(handle)
    assert not is_alive(handle | {"started": handle["started"] - 100}), "its number was given to another process"
    assert not is_alive(handle | {"boot": "another"})
    assert not is_alive({})
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not is_alive(handle), "a zombie is dead"
    child.communicate()
    assert not is_alive(handle)


# -- home ---------------------------------------------------------------------------------------------------------


def test_a_home_below_a_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(Problem, match="cannot be made") as found:
        local_workspace().runs
    assert "TUNESMITH_HOME" in found.value.advice


def test_a_home_is_the_same_place_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine works in another folder than the person who started it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNESMITH_HOME", os.path.relpath(tmp_path / "mine", paths.ROOT))
    here = local_workspace().runs
    monkeypatch.chdir("/")
    assert here.is_absolute()
    assert local_workspace().runs == here


def test_a_home_of_nobody_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_HOME", "~nobody-of-this-name/x")
    with pytest.raises(Problem, match="TUNESMITH_HOME"):
        local_workspace().runs


def test_a_room_lists_its_files_and_refuses_paths() -> None:
    assert registry.names("methods") == sorted(registry.names("methods"))
    assert "sft" in registry.names("methods")
    assert "__init__" not in registry.names("backends")
    for name in ("../sft", "sft.py", "__init__", "", "SFT"):
        with pytest.raises(Problem, match="There is no method called"):
            registry.load_module("methods", name)
