"""The whole way on the command line: look, start, watch, stop, go on, ask."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from app.core import processes
from app.core.json_files import write_json
from app.core.paths import ROOT
from app.core.workspace import local_workspace
from app.engine.__main__ import acquire_run_lock
from app.runs import events, store
from app.setup.spec import Launch
from backends import local
from tests.support import chats, cli, spec_of, start, steps_of, until, wait, write_rows

pytestmark = pytest.mark.slow

LONG = ("--set", "knobs.steps=400", "--set", "knobs.eval_answers=0", "--set", "knobs.saves=0")


def test_a_preset_becomes_a_result_one_can_talk_to() -> None:
    rows = json.loads(cli("preview", "first_tune", "--rows", "2", "--plan", "--json").stdout)
    assert len(rows["rows"]) == 2
    assert {"text", "id", "trained", "special"} <= set(rows["rows"][0]["tokens"][0])
    done = cli("run", "first_tune", "--set", "knobs.steps=8", "--set", "knobs.eval_answers=8", "--follow", "--json")
    story = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["seq"] for event in story] == list(range(1, len(story) + 1))
    assert story[-1]["kind"] == "done"
    said = json.loads(cli("chat", "last", "--prompt", "Hello", "--base", "--json").stdout)
    assert set(said) == {"tuned", "base"}
    shown = json.loads(cli("show", "last", "--json").stdout)
    assert shown["state"] == "finished"
    assert shown["spec"]["knobs"]["steps"] == 8
    assert "is finished" in cli("resume", "last", code=2).stderr


def test_stopping_saves_and_resuming_finishes_with_honest_exit_codes() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "run", "first_tune", *LONG], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    run = until(lambda: next(iter(store.list_runs(local_workspace())), None))
    until(lambda: 3 in steps_of(run), run=run)
    assert "Stopped and saved" in cli("stop", run.id).stdout
    assert process.wait(timeout=30) == 130
    assert json.loads(cli("runs", "--json").stdout)[0]["state"] == "stopped"
    stopped_at = max(steps_of(run))
    resumed = subprocess.Popen(
        [sys.executable, "-m", "app", "resume", run.id, "--json"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    until(lambda: stopped_at + 2 in steps_of(run), run=run)
    assert stopped_at in [e.from_step for e in events.of_type(events.read_events(run.events), events.ResumedEvent)]
    cli("stop", run.id)
    first = json.loads(resumed.communicate(timeout=30)[0].splitlines()[0])
    assert first["attempt"] == 2, "a resumed run is followed from where it goes on"


def heard() -> None:
    """A shell that starts tests in the background lets them ignore Ctrl-C; a person's terminal does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_leaves_the_run_alive_and_says_how_to_stop_it() -> None:
    process = subprocess.Popen([sys.executable, "-m", "app", "run", "first_tune", *LONG], cwd=ROOT, stderr=subprocess.PIPE, text=True,
                               stdout=subprocess.DEVNULL, start_new_session=True, preexec_fn=heard)  # fmt: skip
    run = until(lambda: next(iter(store.list_runs(local_workspace())), None))
    until(lambda: 1 in steps_of(run), run=run)
    os.killpg(process.pid, signal.SIGINT)
    assert f"python -m app stop {run.id}" in process.communicate(timeout=30)[1]
    assert local.alive(run.handle)
    assert local.stop(run.handle) == "asked"


def test_a_run_that_fails_exits_with_one_and_a_sentence(tmp_path: Path) -> None:
    source = write_rows(
        tmp_path / "rows.jsonl",
        [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}],
    )
    spec = spec_of("sft", source, {"max_length": 8})  # cut off before the answer: nothing is left to learn
    file = tmp_path / "spec.json"
    file.write_text(spec.to_json())
    done = cli("run", str(file), code=1)
    assert "Failed: No example is left to train on" in done.stdout
    assert "Traceback" not in done.stderr + done.stdout


def test_a_second_engine_in_one_folder_is_refused(tmp_path: Path) -> None:
    run = start(spec_of("sft", write_rows(tmp_path / "rows.jsonl", chats(32)), {"steps": 400}))
    until(lambda: 1 in steps_of(run), run=run)
    second = subprocess.run(
        [sys.executable, "-m", "app.engine", str(run.path)], cwd=ROOT, capture_output=True, text=True
    )
    assert second.returncode == 2
    assert "already running" in second.stderr
    assert local.alive(run.handle)
    local.stop(run.handle)
    wait(run)


def test_an_engine_waits_for_what_a_killed_one_left_behind(tmp_path: Path) -> None:
    """Not for one that lives: then it is refused at once."""
    run = store.create_run(
        local_workspace(), spec_of("sft", write_rows(tmp_path / "rows.jsonl", chats(32)), {"steps": 1}), Launch()
    )
    ended = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    write_json(run.path / "handle.json", processes.process_identity(ended.pid))
    with (run.path / ".engine.lock").open("w") as held, (run.path / ".engine.lock").open("w") as lock:
        fcntl.flock(held, fcntl.LOCK_EX)
        began = time.monotonic()
        assert not acquire_run_lock(run, lock)
        assert time.monotonic() - began < 0.5
        ended.communicate(b"\n")
        threading.Timer(0.5, fcntl.flock, (held, fcntl.LOCK_UN)).start()
        assert acquire_run_lock(run, lock)


def test_stopping_a_frozen_engine_goes_as_far_as_killing_it(tmp_path: Path) -> None:
    run = start(spec_of("sft", write_rows(tmp_path / "rows.jsonl", chats(32)), {"steps": 400}))
    until(lambda: 1 in steps_of(run), run=run)
    os.kill(run.handle["pid"], signal.SIGSTOP)
    assert local.stop(run.handle, {"asked": 0.5, "terminated": 0.5}) == "killed"
    assert store.run_state(run, local.alive(run.handle)) == "lost"
