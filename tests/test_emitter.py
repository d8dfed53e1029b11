"""Emitter: every event once, on a whole line of strict JSON, whatever was killed before and however full the disk is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.core.paths import ROOT
from app.engine.emitter import RESERVE_BYTES, Emitter
from app.runs import events
from app.runs.events import (
    DoneEvent,
    EvalEvent,
    FailedEvent,
    NoteEvent,
    ResumedEvent,
    SampleEvent,
    StateEvent,
    StepEvent,
)
from tests import support


def no_constants(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def story(folder: Path) -> list[dict[str, Any]]:
    """Every line of the file, whole and strict: what a browser would read."""
    text = (folder / "events.jsonl").read_text(encoding="utf-8")
    assert text.endswith("\n")
    told = [json.loads(line, parse_constant=no_constants) for line in text.splitlines()]
    assert [one["seq"] for one in told] == list(range(1, len(told) + 1))
    for one in told:
        msgspec.convert(one, events.Event)
    return told


def test_events_count_from_one_in_the_first_attempt(tmp_path: Path) -> None:
    emitter = Emitter(tmp_path)
    emitter.emit(StateEvent, state="preparing")
    emitter.emit(NoteEvent, level="info", text="Grüße 🜁", control=None)
    first, second = story(tmp_path)
    assert (first["seq"], first["attempt"], first["state"]) == (1, 1, "preparing")
    assert second["text"] == "Grüße 🜁"
    assert "control" not in second, "absent and null are the same"


def test_the_same_lines_go_to_stdout_with_the_prefix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    emitter = Emitter(tmp_path)
    emitter.emit(StateEvent, state="loading")
    emitter.emit(NoteEvent, level="info", text="A.")
    assert [
        events.parse_line(line) for line in capsys.readouterr().out.splitlines(keepends=True)
    ] == events.read_events(tmp_path / "events.jsonl")


def test_of_several_processes_only_the_first_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "events.jsonl").write_bytes(b'{"torn')
    monkeypatch.setenv("RANK", "1")
    Emitter(tmp_path).emit(StateEvent, state="loading")
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]
    assert (tmp_path / "events.jsonl").read_bytes() == b'{"torn', "the first may be writing it at this moment"
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("RANK", "0")
    Emitter(tmp_path).emit(StateEvent, state="loading")
    assert [event["state"] for event in story(tmp_path)] == ["loading"]


def test_a_later_attempt_goes_on_counting(tmp_path: Path) -> None:
    Emitter(tmp_path).emit(StateEvent, state="loading")
    again = Emitter(tmp_path)
    again.emit(ResumedEvent, from_step=0)
    Emitter(tmp_path).emit(ResumedEvent, from_step=0)
    assert [(one["seq"], one["attempt"]) for one in story(tmp_path)] == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize(
    "torn", [b'{"seq": 2, "attempt": 1, "ti', b"{", b"\xc3", b'{"seq": 2, "attempt": 1, "time": 1.0, "kind": "note"}']
)
def test_a_torn_last_line_is_cut_before_going_on(torn: bytes, tmp_path: Path) -> None:
    Emitter(tmp_path).emit(StateEvent, state="loading")
    with (tmp_path / "events.jsonl").open("ab") as file:
        file.write(torn)
    Emitter(tmp_path).emit(ResumedEvent, from_step=0)
    assert [one["kind"] for one in story(tmp_path)] == ["state", "resumed"]


def test_a_story_of_one_torn_line_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b'{"seq": 1, "att')
    Emitter(tmp_path).emit(StateEvent, state="loading")
    assert [(one["seq"], one["attempt"]) for one in story(tmp_path)] == [(1, 1)]


def test_an_answer_given_before_is_remembered(tmp_path: Path) -> None:
    Emitter(tmp_path).emit(NoteEvent, level="info", text="Saving.", control="save-1")
    assert "save-1" in Emitter(tmp_path).answered_requests


# -- numbers and texts that do not fit ----------------------------------------------------------------------------


def test_a_number_that_is_not_finite_becomes_null_and_is_named(tmp_path: Path) -> None:
    metrics = {
        "train/loss": float("nan"),
        "train/grad_norm": float("inf"),
        "train/kl": float("-inf"),
        "train/entropy": None,
        "time/step": 0.5,
    }
    Emitter(tmp_path).emit(StepEvent, step=1, of=2, metrics=metrics)
    [told] = story(tmp_path)
    assert told["metrics"] == {
        "train/loss": None,
        "train/grad_norm": None,
        "train/kl": None,
        "train/entropy": None,
        "time/step": 0.5,
    }
    assert told["nonfinite"] == ["train/loss", "train/grad_norm", "train/kl", "train/entropy"]
    assert metrics["time/step"] == 0.5, "what was given stays as it was"
    assert metrics["train/grad_norm"] == float("inf")


def test_finite_numbers_have_no_note_of_others(tmp_path: Path) -> None:
    Emitter(tmp_path).emit(EvalEvent, step=1, set="holdout", metrics={"eval/loss": 1e308})
    assert "nonfinite" not in story(tmp_path)[0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_no_number_anywhere_breaks_the_line(bad: float, tmp_path: Path) -> None:
    """A browser's JSON knows no NaN, also not in a sample's reward or in the time left."""
    emitter = Emitter(tmp_path)
    emitter.emit(
        SampleEvent, step=1, rows=[{"prompt": "a", "completion": "b", "rewards": {"x": bad}, "advantage": bad}]
    )
    emitter.emit(StepEvent, step=1, of=2, epoch=bad, seconds_left=bad, metrics={})
    assert story(tmp_path)[0]["rows"][0]["advantage"] is None


def test_half_a_character_does_not_end_the_run(tmp_path: Path) -> None:
    """A row may hold half of a surrogate pair; UTF-8 cannot."""
    emitter = Emitter(tmp_path)
    emitter.emit(SampleEvent, step=1, rows=[{"prompt": "cut \ud83d", "completion": "b"}])
    emitter.emit(SampleEvent, step=2, rows=[{"prompt": "\ud83d" * 20_000, "completion": "b"}])
    assert len(story(tmp_path)) == 2


def test_a_long_sample_goes_to_a_file_that_the_event_names(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "ü" * 9_000}]
    emitter = Emitter(tmp_path)
    emitter.emit(SampleEvent, step=1, rows=[{"prompt": "short", "completion": "x"}])
    emitter.emit(SampleEvent, step=2, rows=rows)
    short, long = story(tmp_path)
    assert "rows" in short
    assert "rows" not in long
    assert long["file"] == "samples/000002.json"
    assert json.loads((tmp_path / long["file"]).read_text(encoding="utf-8")) == rows


def test_lines_stay_short_in_bytes(tmp_path: Path) -> None:
    """18,000 bytes in 9,000 characters."""
    Emitter(tmp_path).emit(SampleEvent, step=1, rows=[{"prompt": "a", "completion": "ü" * 9_000}])
    assert all(len(line) <= events.MAX_LINE_BYTES for line in (tmp_path / "events.jsonl").read_bytes().splitlines())


def test_a_last_word_is_shortened_rather_than_lost(tmp_path: Path) -> None:
    """A refusal that quotes a monstrous value must still be told."""
    Emitter(tmp_path).emit(FailedEvent, reason="refused", text="x" * 50_000, advice="y" * 50_000)
    assert story(tmp_path)[0]["kind"] == "failed"


@pytest.mark.parametrize(("event_class", "fields", "refusal"), [
    (NoteEvent, {"level": "info"}, "Missing required argument 'text'"), (NoteEvent, {"level": "loud", "text": "a"}, "Invalid enum value 'loud'"),
    (StepEvent, {"step": 1, "of": 2, "metrics": {}, "more": 1}, "Unexpected keyword argument 'more'")])  # fmt: skip
def test_a_shape_outside_the_union_is_our_bug_and_leaves_no_line(
    event_class: type[events.BaseEvent], fields: dict[str, Any], refusal: str, tmp_path: Path
) -> None:
    emitter = Emitter(tmp_path)
    with pytest.raises((TypeError, msgspec.ValidationError), match=refusal):
        emitter.emit(event_class, **fields)
    emitter.emit(StateEvent, state="loading")
    assert len(story(tmp_path)) == 1


# -- kills --------------------------------------------------------------------------------------------------------

TELLER = """
import sys
from pathlib import Path
from app.engine.emitter import Emitter
from app.runs.events import NoteEvent
emitter = Emitter(Path(sys.argv[1]))
while True:
    emitter.emit(NoteEvent, level="info", text="x" * 3000)
"""


def test_killed_at_any_moment_the_story_stays_whole(tmp_path: Path) -> None:
    for _ in range(4):
        teller = subprocess.Popen([sys.executable, "-c", TELLER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
        for _ in range(20):
            teller.stdout.readline()
        teller.send_signal(signal.SIGKILL)
        teller.wait()
        teller.stdout.close()
    Emitter(tmp_path).emit(DoneEvent, why="finished")
    told = story(tmp_path)
    assert told[-1]["attempt"] == 5
    assert len(told) > 80


# -- a full disk --------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """256 KiB of a file system of its own."""
    with support.small_disk(tmp_path / "disk", "256k") as folder:
        yield folder


def fill(folder: Path) -> None:
    """Takes every byte that is left."""
    with (folder / f"filler-{os.urandom(4).hex()}").open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 512):
                pass
        except OSError:
            return


def tell_for_ever(emitter: Emitter, length: int) -> None:
    for _ in range(2 * RESERVE_BYTES):
        emitter.emit(NoteEvent, level="info", text="x" * length)


def test_on_a_full_disk_the_last_word_is_still_told(small_disk: Path) -> None:
    emitter = Emitter(small_disk)
    emitter.emit(StateEvent, state="training")
    fill(small_disk)
    emitter.emit(FailedEvent, reason="disk_full", text="The disk is full.", advice="Free some space.")
    assert [one["kind"] for one in story(small_disk)] == ["state", "failed"]


def test_the_reserve_is_for_the_last_word_alone(small_disk: Path) -> None:
    """A run that only tells steps fills the disk by itself; what was kept back must still be there at the end."""
    emitter = Emitter(small_disk)
    fill(small_disk)
    for length in (3000, 1):  # to the last hundred bytes
        with pytest.raises(OSError, match="No space left"):
            tell_for_ever(emitter, length)
    emitter.emit(FailedEvent, reason="disk_full", text="The disk is full.", advice="Free some space.")
    assert story(small_disk)[-1]["kind"] == "failed"


def test_a_line_that_fits_only_in_part_leaves_nothing_behind(small_disk: Path) -> None:
    emitter = Emitter(small_disk)
    with pytest.raises(OSError, match="No space left"):
        tell_for_ever(emitter, 2999)
    told = story(small_disk)
    assert emitter.seq == len(told)


def test_once_space_is_freed_the_next_attempt_goes_on_with_a_new_reserve(small_disk: Path) -> None:
    emitter = Emitter(small_disk)
    emitter.emit(StateEvent, state="training")
    fill(small_disk)
    emitter.emit(FailedEvent, reason="disk_full", text="The disk is full.", advice="Free some space.")
    for filler in small_disk.glob("filler-*"):
        filler.unlink()
    again = Emitter(small_disk)
    again.emit(ResumedEvent, from_step=0)
    assert [one["attempt"] for one in story(small_disk)] == [1, 1, 2]
    assert again.reserve_file.stat().st_size == RESERVE_BYTES


def test_half_a_reserve_is_made_whole(tmp_path: Path) -> None:
    """The disk filled up while it was being written."""
    (tmp_path / ".reserve").write_bytes(b"\0" * 100)
    assert Emitter(tmp_path).reserve_file.stat().st_size == RESERVE_BYTES
