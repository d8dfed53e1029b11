"""Emitter: every event is written once, as one complete line of strict JSON, also after kills and on a full disk."""

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


def reject_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def read_event_dicts(folder: Path) -> list[dict[str, Any]]:
    """Every line of the event log, parsed as strict JSON as a browser does, with consecutive event numbers."""
    text = (folder / "events.jsonl").read_text(encoding="utf-8")
    assert text.endswith("\n")
    event_dicts = [json.loads(line, parse_constant=reject_constant) for line in text.splitlines()]
    assert [event_dict["seq"] for event_dict in event_dicts] == list(range(1, len(event_dicts) + 1))
    for event_dict in event_dicts:
        msgspec.convert(event_dict, events.Event)
    return event_dicts


def test_event_numbers_start_at_one_in_the_first_attempt(tmp_path: Path) -> None:
    emitter = Emitter(tmp_path)
    emitter.emit(StateEvent, state="preparing")
    emitter.emit(NoteEvent, level="info", text="Grüße 🜁", control=None)
    first_event, second_event = read_event_dicts(tmp_path)
    assert (first_event["seq"], first_event["attempt"], first_event["state"]) == (1, 1, "preparing")
    assert second_event["text"] == "Grüße 🜁"
    assert "control" not in second_event, "a field that is None is not written"


def test_every_event_is_also_printed_to_stdout_with_the_prefix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    emitter = Emitter(tmp_path)
    emitter.emit(StateEvent, state="loading")
    emitter.emit(NoteEvent, level="info", text="A.")
    assert [
        events.parse_line(line) for line in capsys.readouterr().out.splitlines(keepends=True)
    ] == events.read_events(tmp_path / "events.jsonl")


def test_only_rank_zero_writes_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "events.jsonl").write_bytes(b'{"torn')
    monkeypatch.setenv("RANK", "1")
    Emitter(tmp_path).emit(StateEvent, state="loading")
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]
    assert (tmp_path / "events.jsonl").read_bytes() == b'{"torn', "rank 0 may be writing this line at the same time"
    assert capsys.readouterr().out == ""
    monkeypatch.setenv("RANK", "0")
    Emitter(tmp_path).emit(StateEvent, state="loading")
    assert [event["state"] for event in read_event_dicts(tmp_path)] == ["loading"]


def test_a_later_attempt_continues_the_event_numbers(tmp_path: Path) -> None:
    Emitter(tmp_path).emit(StateEvent, state="loading")
    second_emitter = Emitter(tmp_path)
    second_emitter.emit(ResumedEvent, from_step=0)
    Emitter(tmp_path).emit(ResumedEvent, from_step=0)
    assert [(event["seq"], event["attempt"]) for event in read_event_dicts(tmp_path)] == [(1, 1), (2, 2), (3, 3)]


@pytest.mark.parametrize(
    "torn_line",
    [b'{"seq": 2, "attempt": 1, "ti', b"{", b"\xc3", b'{"seq": 2, "attempt": 1, "time": 1.0, "kind": "note"}'],
)
def test_a_torn_last_line_is_truncated_before_the_next_attempt(torn_line: bytes, tmp_path: Path) -> None:
    Emitter(tmp_path).emit(StateEvent, state="loading")
    with (tmp_path / "events.jsonl").open("ab") as events_file:
        events_file.write(torn_line)
    Emitter(tmp_path).emit(ResumedEvent, from_step=0)
    assert [event["kind"] for event in read_event_dicts(tmp_path)] == ["state", "resumed"]


def test_an_event_log_of_one_torn_line_restarts_at_one(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b'{"seq": 1, "att')
    Emitter(tmp_path).emit(StateEvent, state="loading")
    assert [(event["seq"], event["attempt"]) for event in read_event_dicts(tmp_path)] == [(1, 1)]


def test_answered_requests_are_read_from_the_event_log(tmp_path: Path) -> None:
    Emitter(tmp_path).emit(NoteEvent, level="info", text="Saving.", control="save-1")
    assert "save-1" in Emitter(tmp_path).answered_requests


# -- numbers and texts that cannot be written as they are ----------------------------------------------------------------------------


def test_a_nonfinite_metric_becomes_null_and_is_listed_in_nonfinite(tmp_path: Path) -> None:
    metrics = {
        "train/loss": float("nan"),
        "train/grad_norm": float("inf"),
        "train/kl": float("-inf"),
        "train/entropy": None,
        "time/step": 0.5,
    }
    Emitter(tmp_path).emit(StepEvent, step=1, of=2, metrics=metrics)
    [event] = read_event_dicts(tmp_path)
    assert event["metrics"] == {
        "train/loss": None,
        "train/grad_norm": None,
        "train/kl": None,
        "train/entropy": None,
        "time/step": 0.5,
    }
    assert event["nonfinite"] == ["train/loss", "train/grad_norm", "train/kl", "train/entropy"]
    assert metrics["time/step"] == 0.5, "the metrics passed in are not changed"
    assert metrics["train/grad_norm"] == float("inf")


def test_finite_metrics_have_no_nonfinite_field(tmp_path: Path) -> None:
    Emitter(tmp_path).emit(EvalEvent, step=1, set="holdout", metrics={"eval/loss": 1e308})
    assert "nonfinite" not in read_event_dicts(tmp_path)[0]


@pytest.mark.parametrize("nonfinite_number", [float("nan"), float("inf"), float("-inf")])
def test_nonfinite_numbers_in_other_fields_become_null(nonfinite_number: float, tmp_path: Path) -> None:
    """JSON in a browser has no NaN, also not in the reward of a sample or in the seconds left."""
    emitter = Emitter(tmp_path)
    emitter.emit(
        SampleEvent,
        step=1,
        rows=[{"prompt": "a", "completion": "b", "rewards": {"x": nonfinite_number}, "advantage": nonfinite_number}],
    )
    emitter.emit(StepEvent, step=1, of=2, epoch=nonfinite_number, seconds_left=nonfinite_number, metrics={})
    assert read_event_dicts(tmp_path)[0]["rows"][0]["advantage"] is None


def test_a_lone_surrogate_does_not_end_the_run(tmp_path: Path) -> None:
    """A row may contain half of a surrogate pair, which UTF-8 cannot encode."""
    emitter = Emitter(tmp_path)
    emitter.emit(SampleEvent, step=1, rows=[{"prompt": "cut \ud83d", "completion": "b"}])
    emitter.emit(SampleEvent, step=2, rows=[{"prompt": "\ud83d" * 20_000, "completion": "b"}])
    assert len(read_event_dicts(tmp_path)) == 2


def test_a_long_sample_is_written_to_a_file_named_in_the_event(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "ü" * 9_000}]
    emitter = Emitter(tmp_path)
    emitter.emit(SampleEvent, step=1, rows=[{"prompt": "short", "completion": "x"}])
    emitter.emit(SampleEvent, step=2, rows=rows)
    short_event, long_event = read_event_dicts(tmp_path)
    assert "rows" in short_event
    assert "rows" not in long_event
    assert long_event["file"] == "samples/000002.json"
    assert json.loads((tmp_path / long_event["file"]).read_text(encoding="utf-8")) == rows


def test_event_lines_stay_within_the_byte_limit(tmp_path: Path) -> None:
    """18,000 bytes in 9,000 characters."""
    Emitter(tmp_path).emit(SampleEvent, step=1, rows=[{"prompt": "a", "completion": "ü" * 9_000}])
    assert all(len(line) <= events.MAX_LINE_BYTES for line in (tmp_path / "events.jsonl").read_bytes().splitlines())


def test_a_long_failed_event_is_shortened_and_written(tmp_path: Path) -> None:
    """A refusal that quotes a very long value must still be written."""
    Emitter(tmp_path).emit(FailedEvent, reason="refused", text="x" * 50_000, advice="y" * 50_000)
    assert read_event_dicts(tmp_path)[0]["kind"] == "failed"


@pytest.mark.parametrize(("event_class", "fields", "expected_error"), [
    (NoteEvent, {"level": "info"}, "Missing required argument 'text'"), (NoteEvent, {"level": "loud", "text": "a"}, "Invalid enum value 'loud'"),
    (StepEvent, {"step": 1, "of": 2, "metrics": {}, "more": 1}, "Unexpected keyword argument 'more'")])  # fmt: skip
def test_an_invalid_event_raises_and_writes_no_line(
    event_class: type[events.BaseEvent], fields: dict[str, Any], expected_error: str, tmp_path: Path
) -> None:
    emitter = Emitter(tmp_path)
    with pytest.raises((TypeError, msgspec.ValidationError), match=expected_error):
        emitter.emit(event_class, **fields)
    emitter.emit(StateEvent, state="loading")
    assert len(read_event_dicts(tmp_path)) == 1


# -- kills --------------------------------------------------------------------------------------------------------

WRITER_SCRIPT = """
import sys
from pathlib import Path
from app.engine.emitter import Emitter
from app.runs.events import NoteEvent
emitter = Emitter(Path(sys.argv[1]))
while True:
    emitter.emit(NoteEvent, level="info", text="x" * 3000)
"""


def test_the_event_log_stays_valid_after_kills_at_any_moment(tmp_path: Path) -> None:
    for _ in range(4):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER_SCRIPT, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
        )
        for _ in range(20):
            writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
    Emitter(tmp_path).emit(DoneEvent, why="finished")
    event_dicts = read_event_dicts(tmp_path)
    assert event_dicts[-1]["attempt"] == 5
    assert len(event_dicts) > 80


# -- a full disk --------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system of 256 KiB."""
    with support.small_disk(tmp_path / "disk", "256k") as folder:
        yield folder


def fill_disk(folder: Path) -> None:
    """Writes until no space is left."""
    with (folder / f"filler-{os.urandom(4).hex()}").open("wb", buffering=0) as filler_file:
        try:
            while filler_file.write(b"\0" * 512):
                pass
        except OSError:
            return


def emit_until_the_disk_is_full(emitter: Emitter, text_length: int) -> None:
    for _ in range(2 * RESERVE_BYTES):
        emitter.emit(NoteEvent, level="info", text="x" * text_length)


def test_a_failed_event_is_written_on_a_full_disk(small_disk: Path) -> None:
    emitter = Emitter(small_disk)
    emitter.emit(StateEvent, state="training")
    fill_disk(small_disk)
    emitter.emit(FailedEvent, reason="disk_full", text="The disk is full.", advice="Free some space.")
    assert [event["kind"] for event in read_event_dicts(small_disk)] == ["state", "failed"]


def test_the_disk_reserve_is_used_only_by_the_last_event(small_disk: Path) -> None:
    """A run that fills the disk with its own events must still have the reserve for its last event."""
    emitter = Emitter(small_disk)
    fill_disk(small_disk)
    for text_length in (3000, 1):  # long events, then short ones for the last hundred bytes
        with pytest.raises(OSError, match="No space left"):
            emit_until_the_disk_is_full(emitter, text_length)
    emitter.emit(FailedEvent, reason="disk_full", text="The disk is full.", advice="Free some space.")
    assert read_event_dicts(small_disk)[-1]["kind"] == "failed"


def test_a_line_that_does_not_fit_on_the_disk_leaves_no_part(small_disk: Path) -> None:
    emitter = Emitter(small_disk)
    with pytest.raises(OSError, match="No space left"):
        emit_until_the_disk_is_full(emitter, 2999)
    event_dicts = read_event_dicts(small_disk)
    assert emitter.seq == len(event_dicts)


def test_the_next_attempt_after_space_is_freed_has_a_new_reserve(small_disk: Path) -> None:
    emitter = Emitter(small_disk)
    emitter.emit(StateEvent, state="training")
    fill_disk(small_disk)
    emitter.emit(FailedEvent, reason="disk_full", text="The disk is full.", advice="Free some space.")
    for filler in small_disk.glob("filler-*"):
        filler.unlink()
    next_emitter = Emitter(small_disk)
    next_emitter.emit(ResumedEvent, from_step=0)
    assert [event["attempt"] for event in read_event_dicts(small_disk)] == [1, 1, 2]
    assert next_emitter.reserve_file.stat().st_size == RESERVE_BYTES


def test_an_incomplete_reserve_file_is_completed(tmp_path: Path) -> None:
    """The disk became full while the reserve file was being written."""
    (tmp_path / ".reserve").write_bytes(b"\0" * 100)
    assert Emitter(tmp_path).reserve_file.stat().st_size == RESERVE_BYTES
