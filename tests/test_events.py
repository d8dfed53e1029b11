"""Events: a run's events are read completely, once and in order, despite torn, repeated and malformed lines."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from app.runs.events import (
    BATCH_BYTES,
    LOG_PREFIX,
    MAX_LINE_BYTES,
    BaseEvent,
    Event,
    StepEvent,
    deduplicate,
    drop_rewound,
    last_event,
    of_type,
    parse_line,
    parse_lines,
    read_events,
    read_line_batches,
)

FIELDS_BY_KIND: dict[str, dict[str, Any]] = {
    "state": {"state": "training"},
    "resumed": {"from_step": 3},
    "step": {
        "step": 1,
        "of": 9,
        "metrics": {"train/loss": 1.5, "train/grad_norm": None},
        "nonfinite": ["train/grad_norm"],
    },
    "eval": {"step": 1, "set": "holdout", "metrics": {"eval/loss": 1.5}},
    "sample": {"step": 1, "rows": [{"prompt": "a", "completion": "b"}]},
    "progress": {"what": "waiting", "done": 0, "of": 2},
    "note": {"level": "info", "text": "Saving.", "control": "save-1"},
    "saved": {"step": 1, "what": "checkpoint", "path": "checkpoints/checkpoint-1"},
    "failed": {"reason": "diverged", "text": "It broke.", "advice": "Try again.", "step": 3},
    "done": {"why": "finished", "adapter": "adapter", "verdict": "Better."},
}


REQUIRED_FIELDS = {
    "state",
    "from_step",
    "step",
    "of",
    "set",
    "metrics",
    "what",
    "done",
    "level",
    "text",
    "path",
    "reason",
    "advice",
    "why",
}


def event_fields(seq: int = 1, kind: str = "note", attempt: int = 1, **fields: Any) -> dict[str, Any]:
    return {"seq": seq, "attempt": attempt, "time": 1.0, "kind": kind} | (fields or FIELDS_BY_KIND[kind])


def event_line(**fields: Any) -> str:
    return json.dumps(event_fields(**fields)) + "\n"


def write_lines(path: Path, *lines: str) -> Path:
    path.write_text("".join(lines), encoding="utf-8")
    return path


def typed_event(**fields: Any) -> Event:
    """The event as the reading functions return it."""
    return msgspec.convert(event_fields(**fields), Event)


def seqs(events: Sequence[Event]) -> list[int]:
    return [event.seq for event in events]


# -- the closed union ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FIELDS_BY_KIND)
def test_each_kind_of_event_accepts_exactly_its_fields(kind: str) -> None:
    event = typed_event(kind=kind)
    assert msgspec.json.decode(msgspec.json.encode(event)) == event_fields(kind=kind), (
        "encoding returns the same fields, without those that are None"
    )
    with pytest.raises(TypeError, match="more"):
        type(event)(1, 1, 1.0, **FIELDS_BY_KIND[kind], more=1)
    optional_fields = {"step"} if kind == "failed" else set()
    required_fields = [name for name in FIELDS_BY_KIND[kind] if name in REQUIRED_FIELDS - optional_fields]
    for name in ("seq", "attempt", "time", *required_fields):
        fields = {key: value for key, value in event_fields(kind=kind).items() if key != name}
        assert parse_line(json.dumps(fields) + "\n") is None, f"without {name}"


def test_the_event_union_has_exactly_the_ten_kinds() -> None:
    assert sorted(event_class.__struct_config__.tag for event_class in get_args(Event)) == sorted(FIELDS_BY_KIND)
    assert {*get_args(Event)} == {*BaseEvent.__subclasses__()}
    assert parse_line(event_line(kind="note").replace('"kind": "note"', '"kind": "secret"')) is None


def test_unknown_fields_of_a_later_version_are_ignored() -> None:
    text = json.dumps(event_fields(kind="note") | {"more": [1, {"a": None}]}) + "\n"
    assert parse_line(text) == typed_event(kind="note")
    assert parse_lines(text.encode()) == [typed_event(kind="note")]


def test_integer_metrics_stay_integers_and_nonfinite_metrics_are_read() -> None:
    text = event_line(kind="step", step=1, of=2, metrics={"a": 3, "b": 0.5, "c": math.nan, "d": None})
    [event] = parse_lines(text.encode())
    assert isinstance(event, StepEvent)
    assert [type(metric) for metric in event.metrics.values()] == [int, float, float, type(None)]
    assert math.isnan(event.metrics["c"])
    assert repr(parse_line(text)) == repr(event)


@pytest.mark.parametrize(("kind", "change"), [("state", {"state": "resting"}), ("done", {"why": "bored"}), ("note", {"level": "loud"}),
                                             ("saved", {"what": "model"}), ("step", {"metrics": {"a": "b"}}), ("step", {"of": None})])  # fmt: skip
def test_fields_outside_their_allowed_choices_or_types_are_refused(kind: str, change: dict[str, Any]) -> None:
    assert parse_line(json.dumps(event_fields(kind=kind) | change) + "\n") is None


# -- single lines -------------------------------------------------------------------------------------------------


def test_an_event_line_parses_the_same_with_and_without_the_log_prefix() -> None:
    text = event_line(seq=4)
    assert (
        parse_line(text)
        == parse_line(LOG_PREFIX + text)
        == parse_line((LOG_PREFIX + text).encode())
        == typed_event(seq=4)
    )


@pytest.mark.parametrize("text", [
    "", "\n", "Loading weights: 100%\n", "@tunesmith \n", '{"seq": 1', '{"seq": 1}', "{}\n", "[1]\n", '{"kind": "note"}\n', "{'seq': 1}\n",
    "{" * 5000 + "\n", '{"a":' * 5000 + "1" + "}" * 5000 + "\n", '{"seq": null, "kind": "note"}\n', '{"seq": "7", "kind": "note"}\n',
    '{"seq": true, "kind": "note"}\n', '{"seq": 1.5, "kind": "note"}\n', '{"seq": 1}\n', '{"seq": 1, "kind": 5}\n',
], ids=range(18))  # fmt: skip
def test_lines_that_are_not_events_are_ignored(text: str) -> None:
    assert parse_line(text) is None
    assert parse_line(text.encode()) is None


def test_a_line_that_is_not_utf8_is_ignored() -> None:
    assert parse_line(b"\xff\xfe{\n") is None


NOTE_FIELDS = '"attempt": 1, "time": 0.0, "kind": "note", "level": "info", "text": "a"}'
UNUSUAL_LINES = ["", "Loading weights: 100%", '{"seq": 1', '{"seq": 1, "kind": "note"}]', "[1]", "7", '{"seq": 1, "kind": 5}', f'{{"seq": 9, "x": NaN, {NOTE_FIELDS}', "null",
       f'{{"seq": 9, "x": "\\ud800", {NOTE_FIELDS}', f'{{"seq": 9, {NOTE_FIELDS}, {{"seq": 8, {NOTE_FIELDS}', f'{{"seq": 9, {NOTE_FIELDS}{{"seq": 8, {NOTE_FIELDS}', "{" * 5000, '{"a":' * 5000, "\r",
       LOG_PREFIX + "{}", f'{{"seq": 4, {NOTE_FIELDS}\r', f'{{"seq": 4, "x": "ü\u2028", {NOTE_FIELDS}', '{"seq": 4, "kind": "note", "kind": "done"}', f'{{"seq": 9, "x": 1e999, {NOTE_FIELDS}',
       '{"seq": 9, "attempt": 1, "time": 0.0, "kind": "secret"}', f'{{"seq": true, {NOTE_FIELDS}', f'{{"seq": 9.5, {NOTE_FIELDS}']  # fmt: skip


@pytest.mark.parametrize("unusual_line", UNUSUAL_LINES, ids=range(len(UNUSUAL_LINES)))
def test_parse_lines_parses_each_line_as_parse_line_does(unusual_line: str) -> None:
    for lines in (
        [unusual_line],
        [event_line(seq=1).strip(), unusual_line, event_line(seq=2).strip()],
        [unusual_line, event_line(seq=1).strip(), unusual_line],
    ):
        content = "".join(f"{line_text}\n" for line_text in lines).encode()
        assert parse_lines(content) == [parse_line(f"{line_text}\n") for line_text in lines]


def test_a_line_that_is_not_utf8_does_not_hide_other_lines() -> None:
    assert parse_lines(event_line(seq=1).encode() + b"\xff\xfe{\n" + event_line(seq=2).encode()) == [
        typed_event(seq=1),
        None,
        typed_event(seq=2),
    ]
    assert parse_lines(b"") == []


# -- files --------------------------------------------------------------------------------------------------------


def test_a_missing_file_has_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path / "events.jsonl") == []
    assert last_event(tmp_path / "events.jsonl") is None


def test_a_torn_last_line_is_read_only_once_it_is_complete(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "e", event_line(seq=1), event_line(seq=2), event_line(seq=3)[:-1])
    assert seqs(read_events(path)) == [1, 2]
    assert last_event(path) == typed_event(seq=2)
    path.write_text(path.read_text() + "\n")
    assert seqs(read_events(path)) == [1, 2, 3]


def test_a_file_is_read_in_batches_of_complete_lines_of_any_length(tmp_path: Path) -> None:
    lines = [event_line(seq=seq, level="info", text="x" * length) for seq, length in enumerate((1, BATCH_BYTES - 10, BATCH_BYTES, 3 * BATCH_BYTES, *[100] * 5_000), 1)]  # fmt: skip
    path = write_lines(tmp_path / "e", *lines, lines[0][:-1])
    with path.open("rb") as file:
        batches = list(read_line_batches(file))
    assert b"".join(batches).decode() == "".join(lines)
    assert len(batches) > 5
    assert all(batch.endswith(b"\n") for batch in batches)


def test_a_line_completed_during_a_read_is_left_for_the_next_read(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "e", event_line(seq=1), event_line(seq=2)[:20])
    with path.open("rb") as file:
        batches = read_line_batches(file)
        assert next(batches).decode() == event_line(seq=1)
        path.write_text(event_line(seq=1) + event_line(seq=2))
        assert list(batches) == []


def test_reading_continues_after_a_given_seq(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "e", *(event_line(seq=seq) for seq in range(1, 6)))
    assert seqs(read_events(path, after_seq=3)) == [4, 5]
    assert read_events(path, after_seq=5) == []


def test_deduplicate_drops_events_whose_seq_was_already_seen() -> None:
    events = [typed_event(seq=seq) for seq in (1, 2, 2, 1, 3, 2, 4)]
    assert seqs(list(deduplicate(events))) == [1, 2, 3, 4]
    assert seqs(list(deduplicate([None, *events, None], last_seq=2))) == [3, 4]


def test_reconnecting_after_any_seq_gives_no_gap_and_no_duplicate(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "e", *(event_line(seq=seq) for seq in range(1, 30)))
    for last_seq in range(30):
        assert seqs(read_events(path)[:last_seq] + read_events(path, after_seq=last_seq)) == list(range(1, 30))


def test_the_last_event_of_a_long_run_is_found(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "e", *(event_line(seq=seq) for seq in range(1, 5001)))
    assert last_event(path) == typed_event(seq=5000)


def test_the_last_event_is_found_before_a_torn_line_of_maximum_length(tmp_path: Path) -> None:
    """Both lines have the maximum length; the torn one lacks only its newline."""
    empty_note_length = len(json.dumps(event_fields(seq=1, level="info", text="")))
    longest_line = event_line(seq=1, level="info", text="x" * (MAX_LINE_BYTES - empty_note_length))
    assert len(longest_line) == MAX_LINE_BYTES + 1
    path = write_lines(tmp_path / "e", event_line(seq=0), longest_line, longest_line[:-1])
    assert last_event(path).seq == 1


def test_an_empty_file_and_a_single_torn_line_have_no_last_event(tmp_path: Path) -> None:
    assert last_event(write_lines(tmp_path / "e", "")) is None
    assert last_event(write_lines(tmp_path / "e", '{"seq": 1, "kind')) is None


# -- dropping rewound events --------------------------------------------------------------------------------------


def step_event(seq: int, step_number: int) -> Event:
    return typed_event(seq=seq, kind="step", step=step_number, of=9, metrics={})


def test_steps_of_a_lost_attempt_past_its_checkpoint_are_dropped() -> None:
    """Worked by hand: saved at step 2, killed in 4, resumed from 2, failed in 3, resumed from 2 again, done at 3."""
    events = [
        typed_event(seq=1, kind="state", state="training"), step_event(2, 1), step_event(3, 2), typed_event(seq=4, kind="saved", step=2, what="checkpoint", path="c"), step_event(5, 3), step_event(6, 4),
        typed_event(seq=7, kind="resumed", attempt=2, from_step=2), step_event(8, 3), typed_event(seq=9, kind="failed", attempt=2, reason="killed", text="a", advice="b", step=3),
        typed_event(seq=10, kind="resumed", attempt=3, from_step=2), step_event(11, 3), typed_event(seq=12, kind="done", attempt=3, why="finished"),
    ]  # fmt: skip
    assert seqs(drop_rewound(events)) == [1, 2, 3, 4, 7, 9, 10, 11, 12]
    assert [event.step for event in of_type(drop_rewound(events), StepEvent)] == [1, 2, 3]


def test_resuming_from_step_0_drops_all_earlier_steps() -> None:
    events = [
        typed_event(seq=1, kind="state", state="loading"),
        step_event(2, 1),
        step_event(3, 2),
        typed_event(seq=4, kind="resumed", attempt=2, from_step=0),
        step_event(5, 1),
    ]
    assert seqs(drop_rewound(events)) == [1, 4, 5]


def test_samples_and_evals_past_the_checkpoint_are_dropped_too() -> None:
    events = [typed_event(seq=1, kind="eval", step=0, set="holdout", metrics={}), step_event(2, 1), typed_event(seq=3, kind="eval", step=1, set="holdout", metrics={}),
             typed_event(seq=4, kind="sample", step=1, rows=[]), typed_event(seq=5, kind="resumed", attempt=2, from_step=0)]  # fmt: skip
    assert seqs(drop_rewound(events)) == [1, 5]


def test_events_without_a_resume_are_returned_unchanged() -> None:
    events = [
        typed_event(seq=seq, kind=kind)
        for seq, kind in enumerate((kind for kind in FIELDS_BY_KIND if kind != "resumed"), 1)
    ]
    assert drop_rewound(events) == events
