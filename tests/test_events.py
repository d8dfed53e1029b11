"""Events: a run's story read whole, once and in order, whatever was torn, repeated or merely looked like ours."""

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

KINDS: dict[str, dict[str, Any]] = {
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


NEEDED = {
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
} - {"step"}


def event(seq: int = 1, kind: str = "note", attempt: int = 1, **fields: Any) -> dict[str, Any]:
    return {"seq": seq, "attempt": attempt, "time": 1.0, "kind": kind} | (fields or KINDS[kind])


def line(**fields: Any) -> str:
    return json.dumps(event(**fields)) + "\n"


def written(path: Path, *lines: str) -> Path:
    path.write_text("".join(lines), encoding="utf-8")
    return path


def typed(**fields: Any) -> Event:
    """The event as readers get it."""
    return msgspec.convert(event(**fields), Event)


def seqs(events: Sequence[Event]) -> list[int]:
    return [one.seq for one in events]


# -- the closed union ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_of_each_kind_has_its_shape_and_no_other(kind: str) -> None:
    told = typed(kind=kind)
    assert msgspec.json.decode(msgspec.json.encode(told)) == event(kind=kind), "as it was, without what is None"
    with pytest.raises(TypeError, match="more"):
        type(told)(1, 1, 1.0, **KINDS[kind], more=1)
    for name in ("seq", "attempt", "time", *(name for name in KINDS[kind] if name in NEEDED)):
        fields = {key: value for key, value in event(kind=kind).items() if key != name}
        assert parse_line(json.dumps(fields) + "\n") is None, f"without {name}"


def test_there_are_ten_kinds_and_no_eleventh() -> None:
    assert sorted(event_class.__struct_config__.tag for event_class in get_args(Event)) == sorted(KINDS)
    assert {*get_args(Event)} == {*BaseEvent.__subclasses__()}
    assert parse_line(line(kind="note").replace('"kind": "note"', '"kind": "secret"')) is None


def test_an_event_of_a_later_version_is_read_without_what_is_unknown() -> None:
    text = json.dumps(event(kind="note") | {"more": [1, {"a": None}]}) + "\n"
    assert parse_line(text) == typed(kind="note")
    assert parse_lines(text.encode()) == [typed(kind="note")]


def test_whole_numbers_stay_whole_and_what_was_not_finite_is_read() -> None:
    text = line(kind="step", step=1, of=2, metrics={"a": 3, "b": 0.5, "c": math.nan, "d": None})
    [told] = parse_lines(text.encode())
    assert isinstance(told, StepEvent)
    assert [type(value) for value in told.metrics.values()] == [int, float, float, type(None)]
    assert math.isnan(told.metrics["c"])
    assert repr(parse_line(text)) == repr(told)


@pytest.mark.parametrize(("kind", "change"), [("state", {"state": "resting"}), ("done", {"why": "bored"}), ("note", {"level": "loud"}),
                                             ("saved", {"what": "model"}), ("step", {"metrics": {"a": "b"}}), ("step", {"of": None})])  # fmt: skip
def test_words_outside_the_list_are_refused(kind: str, change: dict[str, Any]) -> None:
    assert parse_line(json.dumps(event(kind=kind) | change) + "\n") is None


# -- one line -----------------------------------------------------------------------------------------------------


def test_the_same_line_is_read_from_a_file_and_from_a_log() -> None:
    text = line(seq=4)
    assert parse_line(text) == parse_line(LOG_PREFIX + text) == parse_line((LOG_PREFIX + text).encode()) == typed(seq=4)


@pytest.mark.parametrize("text", [
    "", "\n", "Loading weights: 100%\n", "@tunesmith \n", '{"seq": 1', '{"seq": 1}', "{}\n", "[1]\n", '{"kind": "note"}\n', "{'seq': 1}\n",
    "{" * 5000 + "\n", '{"a":' * 5000 + "1" + "}" * 5000 + "\n", '{"seq": null, "kind": "note"}\n', '{"seq": "7", "kind": "note"}\n',
    '{"seq": true, "kind": "note"}\n', '{"seq": 1.5, "kind": "note"}\n', '{"seq": 1}\n', '{"seq": 1, "kind": 5}\n',
], ids=range(18))  # fmt: skip
def test_what_is_no_event_is_passed_over(text: str) -> None:
    assert parse_line(text) is None
    assert parse_line(text.encode()) is None


def test_bytes_that_are_no_text_are_passed_over() -> None:
    assert parse_line(b"\xff\xfe{\n") is None


NOTE = '"attempt": 1, "time": 0.0, "kind": "note", "level": "info", "text": "a"}'
ODD = ["", "Loading weights: 100%", '{"seq": 1', '{"seq": 1, "kind": "note"}]', "[1]", "7", '{"seq": 1, "kind": 5}', f'{{"seq": 9, "x": NaN, {NOTE}', "null",
       f'{{"seq": 9, "x": "\\ud800", {NOTE}', f'{{"seq": 9, {NOTE}, {{"seq": 8, {NOTE}', f'{{"seq": 9, {NOTE}{{"seq": 8, {NOTE}', "{" * 5000, '{"a":' * 5000, "\r",
       LOG_PREFIX + "{}", f'{{"seq": 4, {NOTE}\r', f'{{"seq": 4, "x": "ü\u2028", {NOTE}', '{"seq": 4, "kind": "note", "kind": "done"}', f'{{"seq": 9, "x": 1e999, {NOTE}',
       '{"seq": 9, "attempt": 1, "time": 0.0, "kind": "secret"}', f'{{"seq": true, {NOTE}', f'{{"seq": 9.5, {NOTE}']  # fmt: skip


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_many_lines_are_read_as_each_alone_is(odd: str) -> None:
    for lines in ([odd], [line(seq=1).strip(), odd, line(seq=2).strip()], [odd, line(seq=1).strip(), odd]):
        data = "".join(f"{one}\n" for one in lines).encode()
        assert parse_lines(data) == [parse_line(f"{one}\n") for one in lines]


def test_bytes_that_are_no_text_hide_no_other_line() -> None:
    assert parse_lines(line(seq=1).encode() + b"\xff\xfe{\n" + line(seq=2).encode()) == [
        typed(seq=1),
        None,
        typed(seq=2),
    ]
    assert parse_lines(b"") == []


# -- a file -------------------------------------------------------------------------------------------------------


def test_a_file_that_is_not_there_is_an_empty_story(tmp_path: Path) -> None:
    assert read_events(tmp_path / "events.jsonl") == []
    assert last_event(tmp_path / "events.jsonl") is None


def test_a_torn_last_line_is_not_read_yet(tmp_path: Path) -> None:
    path = written(tmp_path / "e", line(seq=1), line(seq=2), line(seq=3)[:-1])
    assert seqs(read_events(path)) == [1, 2]
    assert last_event(path) == typed(seq=2)
    path.write_text(path.read_text() + "\n")
    assert seqs(read_events(path)) == [1, 2, 3]


def test_a_file_is_read_in_parts_of_whole_lines_however_long_they_are(tmp_path: Path) -> None:
    lines = [line(seq=seq, level="info", text="x" * length) for seq, length in enumerate((1, BATCH_BYTES - 10, BATCH_BYTES, 3 * BATCH_BYTES, *[100] * 5_000), 1)]  # fmt: skip
    path = written(tmp_path / "e", *lines, lines[0][:-1])
    with path.open("rb") as file:
        parts = list(read_line_batches(file))
    assert b"".join(parts).decode() == "".join(lines)
    assert len(parts) > 5
    assert all(part.endswith(b"\n") for part in parts)


def test_a_line_whose_end_comes_while_the_file_is_read_is_left_for_the_next_time(tmp_path: Path) -> None:
    path = written(tmp_path / "e", line(seq=1), line(seq=2)[:20])
    with path.open("rb") as file:
        parts = read_line_batches(file)
        assert next(parts).decode() == line(seq=1)
        path.write_text(line(seq=1) + line(seq=2))
        assert list(parts) == []


def test_reading_goes_on_after_what_was_seen(tmp_path: Path) -> None:
    path = written(tmp_path / "e", *(line(seq=seq) for seq in range(1, 6)))
    assert seqs(read_events(path, after_seq=3)) == [4, 5]
    assert read_events(path, after_seq=5) == []


def test_what_was_seen_before_is_not_told_again() -> None:
    told = [typed(seq=seq) for seq in (1, 2, 2, 1, 3, 2, 4)]
    assert seqs(list(deduplicate(told))) == [1, 2, 3, 4]
    assert seqs(list(deduplicate([None, *told, None], last_seq=2))) == [3, 4]


def test_reconnecting_anywhere_gives_no_gap_and_no_duplicate(tmp_path: Path) -> None:
    path = written(tmp_path / "e", *(line(seq=seq) for seq in range(1, 30)))
    for cut in range(30):
        assert seqs(read_events(path)[:cut] + read_events(path, after_seq=cut)) == list(range(1, 30))


def test_the_last_event_of_a_long_run_is_found(tmp_path: Path) -> None:
    path = written(tmp_path / "e", *(line(seq=seq) for seq in range(1, 5001)))
    assert last_event(path) == typed(seq=5000)


def test_the_last_event_is_found_behind_the_longest_torn_line(tmp_path: Path) -> None:
    """Both as long as a line may be: the torn one lacks only its newline."""
    frame = len(json.dumps(event(seq=1, level="info", text="")))
    longest = line(seq=1, level="info", text="x" * (MAX_LINE_BYTES - frame))
    assert len(longest) == MAX_LINE_BYTES + 1
    path = written(tmp_path / "e", line(seq=0), longest, longest[:-1])
    assert last_event(path).seq == 1


def test_an_empty_file_and_one_torn_line_have_no_last_event(tmp_path: Path) -> None:
    assert last_event(written(tmp_path / "e", "")) is None
    assert last_event(written(tmp_path / "e", '{"seq": 1, "kind')) is None


# -- the story as it counts ---------------------------------------------------------------------------------------


def step(seq: int, number: int) -> Event:
    return typed(seq=seq, kind="step", step=number, of=9, metrics={})


def test_what_a_lost_attempt_did_past_its_checkpoint_is_dropped() -> None:
    """Worked by hand: saved at 2, killed in 4, resumed from 2, failed in 3, resumed from 2 again, done at 3."""
    story = [
        typed(seq=1, kind="state", state="training"), step(2, 1), step(3, 2), typed(seq=4, kind="saved", step=2, what="checkpoint", path="c"), step(5, 3), step(6, 4),
        typed(seq=7, kind="resumed", attempt=2, from_step=2), step(8, 3), typed(seq=9, kind="failed", attempt=2, reason="killed", text="a", advice="b", step=3),
        typed(seq=10, kind="resumed", attempt=3, from_step=2), step(11, 3), typed(seq=12, kind="done", attempt=3, why="finished"),
    ]  # fmt: skip
    assert seqs(drop_rewound(story)) == [1, 2, 3, 4, 7, 9, 10, 11, 12]
    assert [one.step for one in of_type(drop_rewound(story), StepEvent)] == [1, 2, 3]


def test_a_run_resumed_from_nothing_begins_again() -> None:
    story = [
        typed(seq=1, kind="state", state="loading"),
        step(2, 1),
        step(3, 2),
        typed(seq=4, kind="resumed", attempt=2, from_step=0),
        step(5, 1),
    ]
    assert seqs(drop_rewound(story)) == [1, 4, 5]


def test_samples_and_tests_past_the_checkpoint_go_with_their_steps() -> None:
    story = [typed(seq=1, kind="eval", step=0, set="holdout", metrics={}), step(2, 1), typed(seq=3, kind="eval", step=1, set="holdout", metrics={}),
             typed(seq=4, kind="sample", step=1, rows=[]), typed(seq=5, kind="resumed", attempt=2, from_step=0)]  # fmt: skip
    assert seqs(drop_rewound(story)) == [1, 5]


def test_a_story_without_interruption_is_told_as_it_is() -> None:
    story = [typed(seq=seq, kind=kind) for seq, kind in enumerate((kind for kind in KINDS if kind != "resumed"), 1)]
    assert drop_rewound(story) == story
