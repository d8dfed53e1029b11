"""Reading: however a story is read, at once, in places first, or on from what was kept, in the end all of it is told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core import cache
from app.core.workspace import local_workspace
from app.history import downsampling, page_messages, reader, series, snapshot
from app.history.snapshot import RunSnapshot
from app.planning import presets
from app.runs import cleanup, events, store
from app.runs.store import Run
from app.setup.spec import Launch
from tests.support import append_events, until

Event = dict[str, Any]
LENGTH = 24_000  # steps: more than a curve keeps one by one
SPIKE = 7_919


@pytest.fixture
def run() -> Run:
    return store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes no longer than a moment counts as long, and as worth keeping."""
    monkeypatch.setattr(snapshot, "LARGE_FILE_BYTES", 500_000)
    monkeypatch.setattr(reader, "SAVE_EVERY_BYTES", 500_000)
    monkeypatch.setattr(reader, "PREVIEW_SAMPLES", 20)
    monkeypatch.setattr(reader, "PREVIEW_SAMPLE_BYTES", 2_000)


def step(number: int, of: int = LENGTH) -> Event:
    loss = 50.0 if number == SPIKE else None if number % 1_000 == 1 else 1 + number * 7919 % 1013 / 1013
    return {"kind": "step", "step": number, "of": of, "metrics": {"train/loss": loss, "train/entropy": 1.0, "reward/mean": number / of}}  # fmt: skip


def held_out(number: int) -> Event:
    return {"kind": "eval", "step": number, "set": "holdout", "metrics": {"eval/loss": 1 / (1 + number)}}


def sample(number: int, text: str) -> Event:
    return {"kind": "sample", "step": number, "rows": [{"prompt": "Sky?", "completion": text}]}


def told(first: int = 1, last: int = LENGTH) -> Iterator[Event]:
    for number in range(first, last + 1):
        yield step(number)
        if number % 4_000 == 0:
            yield held_out(number)
            yield sample(number, f"Blue, said at {number}: ü.")
            yield {"kind": "note", "level": "careful", "text": f"Careful at {number}."}
            yield {"kind": "saved", "step": number, "what": "checkpoint", "path": f"checkpoints/checkpoint-{number}"}


def opened(run: Run) -> RunSnapshot:
    """As the page does it that was just started."""
    found = RunSnapshot(run)
    assert found.refresh()
    return found


def shot(found: RunSnapshot) -> Event:
    return json.loads(found.updates_since(-1)[2])


def settled(found: RunSnapshot) -> RunSnapshot:
    until(lambda: found.refresh() and not found.loading, 60)
    return found


def is_whole(run: Run, found: RunSnapshot) -> None:
    """What is told is what the file says, read line by line."""
    said, story = shot(found), events.read_events(run.events)
    counts = events.drop_rewound(story)
    expected = {
        name: series.downsample(one)
        for name, one in series.series_by_metric(story).items()
        if reader.is_chart_metric(name)
    }
    assert {name: (one["x"], one["y"]) for name, one in said["series"].items()} == {
        name: (one.steps, [page_messages.round_value(value) for value in one.values]) for name, one in expected.items()}  # fmt: skip
    assert said["seq"] == story[-1].seq
    assert [one["seq"] for one in said["samples"]] == [one.seq for one in events.of_type(counts, events.SampleEvent)]
    for one in said["samples"]:
        assert found.read_sample(one["seq"])["rows"] == next(event.rows for event in story if event.seq == one["seq"])
    notes = [event.text for event in events.of_type(story, events.NoteEvent)][-20:]
    assert [one["text"] for one in said["notes"]] == notes
    assert said["now"]["step"] == events.last_of_type(story, events.StepEvent).step
    assert said["now"].get("saved") == getattr(events.last_of_type(story, events.SavedEvent), "step", None)  # fmt: skip


def changed(run: Run, before: str, after: str) -> None:
    """Another number stands in the story's middle, and its file looks untouched."""
    assert len(before) == len(after)
    times, data = run.events.stat(), run.events.read_text()
    assert data.count(before) == 1
    with run.events.open("r+") as file:
        file.write(data.replace(before, after))
    os.utime(run.events, ns=(times.st_atime_ns, times.st_mtime_ns))


# -- at once and in places ------------------------------------------------------------------------------------------


def test_a_story_is_told_with_its_gaps_spikes_tests_answers_and_notes(run: Run) -> None:
    append_events(run, told())
    found = opened(run)
    is_whole(run, found)
    assert 50.0 in shot(found)["series"]["train/loss"]["y"]
    assert cache.keys(local_workspace(), "stories") == [], "reading it again would be quick"


def test_a_long_story_is_shown_in_parts_at_once_and_then_as_a_whole(run: Run, long: None) -> None:
    append_events(run, told())
    found = RunSnapshot(run)
    with found.lock:  # what is read apart cannot take its place meanwhile
        found.read_new()
        found.status = found.current_status(alive=False)
        first = json.loads(found.snapshot_json())
    line = first["series"]["train/loss"]
    assert (line["x"][0], line["x"][-1]) == (1, LENGTH)
    assert 100 < len(line["x"]) < LENGTH / 10
    assert {*line["x"]} <= {*range(1, LENGTH + 1)}
    assert max(b - a for a, b in zip(line["x"], line["x"][1:], strict=False)) < LENGTH / 10, "no large part is left out"
    assert [one["text"] for one in first["notes"]][-1] == snapshot.PARTIAL_HISTORY_TEXT
    assert (first["now"]["step"], first["now"]["of"], first["samples"]) == (LENGTH, LENGTH, [])
    settled(found)
    is_whole(run, found)
    assert found.updates_since(first["seq"])[0] == "snapshot", "who saw the parts gets the whole"
    assert 50.0 in shot(found)["series"]["train/loss"]["y"]


def test_who_sees_parts_of_a_long_story_hears_no_more_until_it_is_read(run: Run) -> None:
    append_events(run, told())
    found = RunSnapshot(run)
    found.history = reader.RunHistory.from_samples(run)
    kind, seq, text, _ = found.updates_since(0)
    assert (kind, seq, json.loads(text).keys()) == ("news", 0, {"run", "seq", "now"})


def test_a_long_story_that_goes_on_while_it_is_read_is_told_to_its_end(run: Run, long: None) -> None:
    append_events(run, told(1, 20_000))
    found = opened(run)
    append_events(run, told(20_001))
    settled(found)
    is_whole(run, found)
    append_events(run, [{"kind": "done", "why": "finished", "verdict": "Better."}])
    found.refresh()
    is_whole(run, found)
    assert shot(found)["now"]["verdict"] == "Better."


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_run_that_is_deleted_while_it_is_read_is_gone_quietly(run: Run, long: None, home: Path) -> None:
    append_events(run, told())
    found = opened(run)
    cleanup.delete_run(run)
    until(lambda: not found.loading, 60)
    assert not found.refresh()
    assert store.list_runs(local_workspace()) == []


# -- a run that goes back ---------------------------------------------------------------------------------------------

BACK = [{"kind": "resumed", "from_step": 12_000}]


@pytest.fixture(params=["quick", "long"])
def any_length(request: pytest.FixtureRequest) -> None:
    """Read at once, and read apart."""
    if request.param == "long":
        request.getfixturevalue("long")


def test_a_run_that_went_far_back_is_told_as_it_counts(run: Run, any_length: None) -> None:
    append_events(run, told())
    append_events(run, BACK)
    append_events(run, told(12_001, 23_000))
    append_events(run, [{"kind": "resumed", "from_step": 3_000}])
    append_events(run, told(3_001, 20_000))
    is_whole(run, settled(opened(run)))
    assert cache.keys(local_workspace(), "stories") == [run.id]
    is_whole(run, settled(opened(run)))


def test_a_run_that_goes_far_back_while_it_is_watched_is_told_as_it_counts(run: Run, any_length: None) -> None:
    append_events(run, told())
    found = settled(opened(run))
    for back, end in ((12_000, 18_000), (17_990, 18_010), (5, 30)):
        append_events(run, [{"kind": "resumed", "from_step": back}])
        append_events(run, told(back + 1, end))
        found.refresh()
        settled(found)
        is_whole(run, found)


def test_steps_that_are_told_again_without_a_word_count_once(run: Run) -> None:
    append_events(run, told())
    append_events(run, told(100, 14_000))
    append_events(run, told(50, 60))
    append_events(run, told(55, 57))
    assert shot(opened(run))["series"]["train/loss"]["x"] == [*range(1, 58)]


def test_a_few_steps_that_are_told_again_without_a_word_count_once(run: Run) -> None:
    append_events(run, told(1, 100))
    append_events(run, told(50, 60))
    append_events(run, told(55, 57))
    assert shot(opened(run))["series"]["train/loss"]["x"] == [*range(1, 58)]


def test_all_that_a_story_says_of_going_back_is_learned_at_the_first_time(run: Run) -> None:
    """A long one is then read twice, not once for each time."""
    append_events(run, told())
    for back in (12_000, 14_000, 16_000):
        append_events(run, [{"kind": "resumed", "from_step": back}])
        append_events(run, told(back + 1, back + 2_500))
    append_events(run, told(18_501))
    assert {12_000, 14_000, 16_000} <= {*opened(run).history.rewinds.values()}


# -- kept over a start of the page --------------------------------------------------------------------------------


def test_a_long_story_is_not_read_again_after_a_start(run: Run, long: None) -> None:
    """Its file looks untouched, though another number stands in its middle: who reads it sees that."""
    append_events(run, told())
    settled(opened(run))
    changed(run, '"train/loss": 50.0', '"train/loss": 70.0')
    found = opened(run)
    assert not found.loading
    assert 50.0 in shot(found)["series"]["train/loss"]["y"]
    run.events.touch()
    assert 70.0 in shot(settled(opened(run)))["series"]["train/loss"]["y"]


def test_what_came_after_it_was_kept_is_read_on(run: Run, long: None) -> None:
    append_events(run, told(1, 16_000))
    settled(opened(run))
    append_events(run, told(16_001, 16_500))
    is_whole(run, opened(run))
    append_events(run, BACK)
    is_whole(run, settled(opened(run)))
    append_events(run, told(12_001))
    is_whole(run, settled(opened(run)))
    is_whole(run, opened(run))


def test_a_line_torn_while_the_story_was_kept_is_read_once_it_is_whole(run: Run, long: None) -> None:
    append_events(run, told(1, 16_000))
    [last] = [json.dumps({"seq": 16_017, "attempt": 1, "time": 0.0} | step(16_001))]
    with run.events.open("a") as file:
        file.write(last[:50])
    assert settled(opened(run)).seq == 16_016
    with run.events.open("a") as file:
        file.write(last[50:] + "\n")
    is_whole(run, opened(run))


@pytest.mark.parametrize("change", ["edited", "replaced", "written anew", "shorter"])
def test_a_story_that_is_not_the_one_that_was_kept_is_read_anew(run: Run, long: None, change: str) -> None:
    append_events(run, told(1, 20_000))
    settled(opened(run))
    if change == "edited":  # as long as it was
        run.events.write_text(run.events.read_text().replace('"train/loss": 50.0', '"train/loss": 70.0'))
    if change == "replaced":  # another file, longer, the same at its ends
        other = run.events.with_name("other")
        other.write_text(run.events.read_text().replace('"train/loss": 50.0', '"train/loss": 70.0'))
        other.replace(run.events)
        append_events(run, told(20_001))
    if change == "written anew":  # the same file, longer
        os.truncate(run.events, 0)
        append_events(run, [{"kind": "state", "state": "training"}, *told()])
    if change == "shorter":
        lines = run.events.read_text().splitlines(keepends=True)
        run.events.write_text("".join(lines[:9_000]))
    is_whole(run, settled(opened(run)))


def test_what_is_kept_may_be_thrown_away_or_damaged(run: Run, long: None, home: Path) -> None:
    append_events(run, told())
    settled(opened(run))
    [kept] = (home / "cache" / "stories").iterdir()
    for damage in (kept.unlink, lambda: kept.write_bytes(b""), lambda: kept.write_bytes(kept.read_bytes()[:-9])):
        damage()
        is_whole(run, settled(opened(run)))
        assert cache.get(local_workspace(), "stories", run.id)["seq"] == events.last_event(run.events).seq, "kept again"


def test_nothing_is_kept_of_a_run_that_is_gone(run: Run, long: None, home: Path) -> None:
    other = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
    third = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
    for one in (run, other):
        append_events(one, told())
        settled(opened(one))
    assert {*cache.keys(local_workspace(), "stories")} == {run.id, other.id}
    cleanup.delete_run(run)
    assert cache.keys(local_workspace(), "stories") == [other.id]
    other.path.rename(home / "elsewhere")  # by hand
    append_events(third, told())
    settled(opened(third))
    assert cache.keys(local_workspace(), "stories") == [third.id]


def test_a_story_is_told_where_nothing_can_be_kept(run: Run, long: None, home: Path) -> None:
    append_events(run, told())
    (home / "cache").write_text("a file stands where the folder should")
    is_whole(run, settled(opened(run)))
    is_whole(run, settled(opened(run)))


def test_a_long_run_takes_little_memory(run: Run) -> None:
    append_events(run, told())
    found = opened(run)
    for track in found.history.metrics.by_name.values():
        assert len(track.steps) <= 2 * downsampling.NEWEST_POINTS
    assert len(found.history.recent_events) == reader.RECENT_EVENTS
