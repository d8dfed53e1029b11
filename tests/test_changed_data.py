"""Examples that are others now: a run that resumes with them says so and asks; both hashes stay."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from app.core.problems import Problem
from app.data.reading import files
from app.planning import launcher
from app.runs import events
from app.runs.events import NoteEvent, of_type
from app.runs.store import Run
from tests.support import build_spec, conversation_rows, run_command_line, train, use_home, wait_until, write_rows

STEPS = {"steps": 4, "batch_size": 2, "saves": 2, "eval_answers": 0, "evaluations": 0}


@pytest.fixture(scope="module")
def earlier_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Trained once. Do not change it or its examples: `trained_run` is a copy."""
    folder = tmp_path_factory.mktemp("earlier")
    source = write_rows(folder / "mine.jsonl", conversation_rows(12))
    with use_home(folder / "home"):
        return train(build_spec("sft", source, STEPS))


@pytest.fixture
def trained_run(earlier_run: Run, home: Path, tmp_path: Path) -> Run:
    """The run in the home of this test, which read its examples in the folder of this test."""
    examples = earlier_run.path.parents[2] / "mine.jsonl"
    shutil.copy2(examples, tmp_path)
    run = Run(Path(shutil.copytree(earlier_run.path, home / "runs" / earlier_run.id)))
    for path in run.path.rglob("*.json"):
        path.write_text(path.read_text().replace(str(examples), str(tmp_path / "mine.jsonl")))
    return run


def change_rows(path: Path) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[1:], lines[0]]) + "\n")


@pytest.mark.slow
def test_a_run_goes_on_with_changed_examples_only_when_a_person_says_so(trained_run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    before = files.file_sha256(path)
    assert launcher.find_changed_files(trained_run) == []
    change_rows(path)
    day = time.strftime("%d %b %Y").lstrip("0")
    with pytest.raises(Problem, match=rf"changed since this run began: mine\.jsonl \({day}, \d\d:\d\d\)") as refusal:
        launcher.resume_run(trained_run)
    assert refusal.value.reason == launcher.CHANGED_DATA
    event_count = len(events.read_events(trained_run.events))
    launcher.resume_run(trained_run, accept_changed_data=True)
    wait_until(
        lambda: len(events.read_events(trained_run.events)) > event_count and not trained_run_is_busy(trained_run)
    )
    data = trained_run.facts["data"]
    assert list(data["files"].values()) == [files.file_sha256(path)]
    assert list(data["earlier_files"].values()) == [[before]]
    notes = [note.text for note in of_type(events.read_events(trained_run.events), NoteEvent)]
    assert any("learns from changed examples" in note and "mine.jsonl" in note for note in notes)
    assert launcher.find_changed_files(trained_run) == []


def trained_run_is_busy(run: Run) -> bool:
    return not isinstance(events.last_event(run.events), events.FinalEvent)


@pytest.mark.slow
def test_the_command_line_refuses_with_exit_code_2_until_it_is_told(trained_run: Run, tmp_path: Path) -> None:
    last_line = trained_run.events.read_text().splitlines()[-1]
    assert json.loads(last_line)["kind"] == "done"
    trained_run.events.write_text(
        trained_run.events.read_text().replace(last_line, last_line.replace('"finished"', '"stopped"'))
    )
    change_rows(tmp_path / "mine.jsonl")
    refused = run_command_line("resume", trained_run.id, expected_exit_code=2)
    assert "have changed since this run began: mine.jsonl" in refused.stderr
    assert "Traceback" not in refused.stderr
    resumed = run_command_line("resume", trained_run.id, "--changed-data")
    assert "learns from changed examples" in resumed.stdout


def test_a_run_without_facts_is_not_called_changed(trained_run: Run, tmp_path: Path) -> None:
    change_rows(tmp_path / "mine.jsonl")
    (trained_run.path / "facts.json").write_text("{")
    assert launcher.find_changed_files(trained_run) == []
    (trained_run.path / "facts.json").unlink()
    assert launcher.find_changed_files(trained_run) == []


def test_a_run_whose_file_is_gone_is_not_resumed(trained_run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").unlink()
    with pytest.raises(Problem, match=r"mine\.jsonl” are not there"):
        launcher.resume_run(trained_run, accept_changed_data=True)
