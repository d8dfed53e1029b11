"""A complete session on the command line: preview, start, follow, stop, resume, chat."""

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
from tests.support import (
    build_spec,
    conversation_rows,
    metrics_by_step,
    run_command_line,
    start_run,
    wait_for_run,
    wait_until,
    write_rows,
)

pytestmark = pytest.mark.slow

LONG_RUN_ARGS = ("--set", "knobs.steps=400", "--set", "knobs.eval_answers=0", "--set", "knobs.saves=0")


def test_a_preset_is_previewed_trained_and_answers_a_prompt() -> None:
    preview = json.loads(run_command_line("preview", "first_tune", "--rows", "2", "--plan", "--json").stdout)
    assert len(preview["rows"]) == 2
    assert {"text", "id", "trained", "special"} <= set(preview["rows"][0]["tokens"][0])
    process = run_command_line(
        "run", "first_tune", "--set", "knobs.steps=8", "--set", "knobs.eval_answers=8", "--follow", "--json"
    )
    event_log = [json.loads(line) for line in process.stdout.splitlines()]
    assert [event["seq"] for event in event_log] == list(range(1, len(event_log) + 1))
    assert event_log[-1]["kind"] == "done"
    answers = json.loads(run_command_line("chat", "last", "--prompt", "Hello", "--base", "--json").stdout)
    assert set(answers) == {"tuned", "base"}
    run_details = json.loads(run_command_line("show", "last", "--json").stdout)
    assert run_details["state"] == "finished"
    assert run_details["spec"]["knobs"]["steps"] == 8
    assert "is finished" in run_command_line("resume", "last", expected_exit_code=2).stderr


def test_stop_saves_and_exits_with_130_and_resume_continues_as_attempt_2() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "run", "first_tune", *LONG_RUN_ARGS], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    run = wait_until(lambda: next(iter(store.list_runs(local_workspace())), None))
    wait_until(lambda: 3 in metrics_by_step(run), run=run)
    assert "Stopped and saved" in run_command_line("stop", run.id).stdout
    assert process.wait(timeout=30) == 130
    assert json.loads(run_command_line("runs", "--json").stdout)[0]["state"] == "stopped"
    last_step = max(metrics_by_step(run))
    resume_process = subprocess.Popen(
        [sys.executable, "-m", "app", "resume", run.id, "--json"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    wait_until(lambda: last_step + 2 in metrics_by_step(run), run=run)
    assert last_step in [
        event.from_step for event in events.of_type(events.read_events(run.events), events.ResumedEvent)
    ]
    run_command_line("stop", run.id)
    first_event = json.loads(resume_process.communicate(timeout=30)[0].splitlines()[0])
    assert first_event["attempt"] == 2, "the output of `resume --json` must start in the new attempt"


def restore_sigint_handler() -> None:
    """A shell that starts the tests in the background makes them ignore Ctrl-C; an interactive terminal does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_leaves_the_run_alive_and_prints_the_stop_command() -> None:
    process = subprocess.Popen([sys.executable, "-m", "app", "run", "first_tune", *LONG_RUN_ARGS], cwd=ROOT, stderr=subprocess.PIPE, text=True,
                               stdout=subprocess.DEVNULL, start_new_session=True, preexec_fn=restore_sigint_handler)  # fmt: skip
    run = wait_until(lambda: next(iter(store.list_runs(local_workspace())), None))
    wait_until(lambda: 1 in metrics_by_step(run), run=run)
    os.killpg(process.pid, signal.SIGINT)
    assert f"python -m app stop {run.id}" in process.communicate(timeout=30)[1]
    assert local.alive(run.handle)
    assert local.stop(run.handle) == "asked"


def test_a_failed_run_exits_with_1_and_prints_a_sentence_without_a_traceback(tmp_path: Path) -> None:
    source = write_rows(
        tmp_path / "rows.jsonl",
        [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}],
    )
    spec = build_spec("sft", source, {"steps": 2}, adapter={"kind": "lora", "targets": "no_such_layer"})
    spec_file = tmp_path / "spec.json"
    spec_file.write_text(spec.to_json())
    process = run_command_line("run", str(spec_file), expected_exit_code=1)
    assert "Failed: " in process.stdout
    assert "no_such_layer" in process.stdout
    assert "Traceback" not in process.stderr + process.stdout


def test_a_second_engine_in_the_same_run_folder_is_refused(tmp_path: Path) -> None:
    run = start_run(build_spec("sft", write_rows(tmp_path / "rows.jsonl", conversation_rows(32)), {"steps": 400}))
    wait_until(lambda: 1 in metrics_by_step(run), run=run)
    second_engine = subprocess.run(
        [sys.executable, "-m", "app.engine", str(run.path)], cwd=ROOT, capture_output=True, text=True
    )
    assert second_engine.returncode == 2
    assert "already running" in second_engine.stderr
    assert local.alive(run.handle)
    local.stop(run.handle)
    wait_for_run(run)


def test_an_engine_waits_for_the_lock_of_a_killed_engine(tmp_path: Path) -> None:
    """While the previous engine is alive, the new one is refused at once and does not wait."""
    run = store.create_run(
        local_workspace(),
        build_spec("sft", write_rows(tmp_path / "rows.jsonl", conversation_rows(32)), {"steps": 1}),
        Launch(),
    )
    previous_engine = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    write_json(run.path / "handle.json", processes.process_identity(previous_engine.pid))
    with (run.path / ".engine.lock").open("w") as held_lock, (run.path / ".engine.lock").open("w") as lock:
        fcntl.flock(held_lock, fcntl.LOCK_EX)
        started_at = time.monotonic()
        assert not acquire_run_lock(run, lock)
        assert time.monotonic() - started_at < 0.5
        previous_engine.communicate(b"\n")
        threading.Timer(0.5, fcntl.flock, (held_lock, fcntl.LOCK_UN)).start()
        assert acquire_run_lock(run, lock)


@pytest.mark.full
def test_stopping_a_frozen_engine_escalates_to_kill(tmp_path: Path) -> None:
    run = start_run(build_spec("sft", write_rows(tmp_path / "rows.jsonl", conversation_rows(32)), {"steps": 400}))
    wait_until(lambda: 1 in metrics_by_step(run), run=run)
    os.kill(run.handle["pid"], signal.SIGSTOP)
    assert local.stop(run.handle, {"asked": 0.5, "terminated": 0.5}) == "killed"
    assert store.run_state(run, local.alive(run.handle)) == "lost"
