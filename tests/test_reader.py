"""Reading of events: read at once, sampled first, or continued from the cache, the snapshot ends up complete."""

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
from tests.support import append_events, wait_until

EventFields = dict[str, Any]
STEP_COUNT = 24_000  # more steps than a curve keeps without downsampling
SPIKE_STEP = 7_919


@pytest.fixture
def run() -> Run:
    return store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())


@pytest.fixture
def low_size_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lowers the size limits, so that the small files of these tests count as large and are cached."""
    monkeypatch.setattr(snapshot, "LARGE_FILE_BYTES", 500_000)
    monkeypatch.setattr(reader, "SAVE_EVERY_BYTES", 500_000)
    monkeypatch.setattr(reader, "PREVIEW_SAMPLES", 20)
    monkeypatch.setattr(reader, "PREVIEW_SAMPLE_BYTES", 2_000)


def step_event(step_number: int, total_steps: int = STEP_COUNT) -> EventFields:
    loss = (
        50.0
        if step_number == SPIKE_STEP
        else None
        if step_number % 1_000 == 1
        else 1 + step_number * 7919 % 1013 / 1013
    )
    return {"kind": "step", "step": step_number, "of": total_steps, "metrics": {"train/loss": loss, "train/entropy": 1.0, "reward/mean": step_number / total_steps}}  # fmt: skip


def eval_event(step_number: int) -> EventFields:
    return {"kind": "eval", "step": step_number, "set": "holdout", "metrics": {"eval/loss": 1 / (1 + step_number)}}


def sample_event(step_number: int, completion: str) -> EventFields:
    return {"kind": "sample", "step": step_number, "rows": [{"prompt": "Sky?", "completion": completion}]}


def run_events(first_step: int = 1, last_step: int = STEP_COUNT) -> Iterator[EventFields]:
    for step_number in range(first_step, last_step + 1):
        yield step_event(step_number)
        if step_number % 4_000 == 0:
            yield eval_event(step_number)
            yield sample_event(step_number, f"Blue, said at {step_number}: ü.")
            yield {"kind": "note", "level": "careful", "text": f"Careful at {step_number}."}
            yield {
                "kind": "saved",
                "step": step_number,
                "what": "checkpoint",
                "path": f"checkpoints/checkpoint-{step_number}",
            }


def open_snapshot(run: Run) -> RunSnapshot:
    """A refreshed snapshot, as the page creates it after a start."""
    run_snapshot = RunSnapshot(run)
    assert run_snapshot.refresh()
    return run_snapshot


def displayed_fields(run_snapshot: RunSnapshot) -> EventFields:
    return json.loads(run_snapshot.updates_since(-1)[2])


def wait_until_loaded(run_snapshot: RunSnapshot) -> RunSnapshot:
    wait_until(lambda: run_snapshot.refresh() and not run_snapshot.loading, 60)
    return run_snapshot


def assert_snapshot_matches_events(run: Run, run_snapshot: RunSnapshot) -> None:
    """Asserts that the snapshot shows what the events file holds, read line by line."""
    displayed, stored_events = displayed_fields(run_snapshot), events.read_events(run.events)
    counted_events = events.drop_rewound(stored_events)
    expected = {
        name: series.downsample(metric_series)
        for name, metric_series in series.series_by_metric(stored_events).items()
        if reader.is_chart_metric(name)
    }
    assert {name: (curve["x"], curve["y"]) for name, curve in displayed["series"].items()} == {
        name: (metric_series.steps, [page_messages.round_value(value) for value in metric_series.values]) for name, metric_series in expected.items()}  # fmt: skip
    assert displayed["seq"] == stored_events[-1].seq
    assert [sample["seq"] for sample in displayed["samples"]] == [
        event.seq for event in events.of_type(counted_events, events.SampleEvent)
    ]
    for sample in displayed["samples"]:
        assert run_snapshot.read_sample(sample["seq"])["rows"] == next(
            event.rows for event in stored_events if event.seq == sample["seq"]
        )
    notes = [event.text for event in events.of_type(stored_events, events.NoteEvent)][-20:]
    assert [note["text"] for note in displayed["notes"]] == notes
    assert displayed["now"]["step"] == events.last_of_type(stored_events, events.StepEvent).step
    assert displayed["now"].get("saved") == getattr(events.last_of_type(stored_events, events.SavedEvent), "step", None)  # fmt: skip


def replace_in_events_file(run: Run, old_text: str, new_text: str) -> None:
    """Replaces text of the same length in the events file and restores the file's times, so that it looks unchanged."""
    assert len(old_text) == len(new_text)
    file_stat, content = run.events.stat(), run.events.read_text()
    assert content.count(old_text) == 1
    with run.events.open("r+") as file:
        file.write(content.replace(old_text, new_text))
    os.utime(run.events, ns=(file_stat.st_atime_ns, file_stat.st_mtime_ns))


# -- reading at once and sampling first -----------------------------------------------------------------------------


def test_the_snapshot_has_all_gaps_spikes_evals_samples_and_notes(run: Run) -> None:
    append_events(run, run_events())
    run_snapshot = open_snapshot(run)
    assert_snapshot_matches_events(run, run_snapshot)
    assert 50.0 in displayed_fields(run_snapshot)["series"]["train/loss"]["y"]
    assert cache.keys(local_workspace(), "stories") == [], "a small file is not cached, as reading it again is quick"


def test_a_large_events_file_is_previewed_from_samples_and_then_shown_completely(
    run: Run, low_size_limits: None
) -> None:
    append_events(run, run_events())
    run_snapshot = RunSnapshot(run)
    with run_snapshot.lock:  # the complete history, read in a thread, cannot replace the preview meanwhile
        run_snapshot.read_new()
        run_snapshot.status = run_snapshot.current_status(alive=False)
        preview = json.loads(run_snapshot.snapshot_json())
    loss_series = preview["series"]["train/loss"]
    assert (loss_series["x"][0], loss_series["x"][-1]) == (1, STEP_COUNT)
    assert 100 < len(loss_series["x"]) < STEP_COUNT / 10
    assert {*loss_series["x"]} <= {*range(1, STEP_COUNT + 1)}
    assert (
        max(
            next_step - previous_step
            for previous_step, next_step in zip(loss_series["x"], loss_series["x"][1:], strict=False)
        )
        < STEP_COUNT / 10
    ), "the sampled steps are spread over the entire run"
    assert [note["text"] for note in preview["notes"]][-1] == snapshot.PARTIAL_HISTORY_TEXT
    assert (preview["now"]["step"], preview["now"]["of"], preview["samples"]) == (STEP_COUNT, STEP_COUNT, [])
    wait_until_loaded(run_snapshot)
    assert_snapshot_matches_events(run, run_snapshot)
    assert run_snapshot.updates_since(preview["seq"])[0] == "snapshot", (
        "a reader of the preview gets the complete snapshot"
    )
    assert 50.0 in displayed_fields(run_snapshot)["series"]["train/loss"]["y"]


def test_a_sampled_preview_gets_no_series_updates_until_the_file_is_read(run: Run) -> None:
    append_events(run, run_events())
    run_snapshot = RunSnapshot(run)
    run_snapshot.history = reader.RunHistory.from_samples(run)
    kind, seq, message_json, _ = run_snapshot.updates_since(0)
    assert (kind, seq, json.loads(message_json).keys()) == ("news", 0, {"run", "seq", "now"})


def test_events_appended_while_a_large_file_is_read_are_shown(run: Run, low_size_limits: None) -> None:
    append_events(run, run_events(1, 20_000))
    run_snapshot = open_snapshot(run)
    append_events(run, run_events(20_001))
    wait_until_loaded(run_snapshot)
    assert_snapshot_matches_events(run, run_snapshot)
    append_events(run, [{"kind": "done", "why": "finished", "verdict": "Better."}])
    run_snapshot.refresh()
    assert_snapshot_matches_events(run, run_snapshot)
    assert displayed_fields(run_snapshot)["now"]["verdict"] == "Better."


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_run_deleted_while_it_is_read_disappears_without_an_error(
    run: Run, low_size_limits: None, home: Path
) -> None:
    append_events(run, run_events())
    run_snapshot = open_snapshot(run)
    cleanup.delete_run(run)
    wait_until(lambda: not run_snapshot.loading, 60)
    assert not run_snapshot.refresh()
    assert store.list_runs(local_workspace()) == []


# -- resumed runs -----------------------------------------------------------------------------------------------------

RESUME_FROM_STEP_12000 = [{"kind": "resumed", "from_step": 12_000}]


@pytest.fixture(params=["quick", "long"])
def any_loading(request: pytest.FixtureRequest) -> None:
    """The file is read at once (quick), or in a thread after a sampled preview (long)."""
    if request.param == "long":
        request.getfixturevalue("low_size_limits")


@pytest.mark.slow
def test_steps_discarded_by_earlier_resumes_are_not_shown(run: Run, any_loading: None) -> None:
    append_events(run, run_events())
    append_events(run, RESUME_FROM_STEP_12000)
    append_events(run, run_events(12_001, 23_000))
    append_events(run, [{"kind": "resumed", "from_step": 3_000}])
    append_events(run, run_events(3_001, 20_000))
    assert_snapshot_matches_events(run, wait_until_loaded(open_snapshot(run)))
    assert cache.keys(local_workspace(), "stories") == [run.id]
    assert_snapshot_matches_events(run, wait_until_loaded(open_snapshot(run)))


@pytest.mark.slow
def test_steps_discarded_by_a_resume_disappear_from_an_open_snapshot(run: Run, any_loading: None) -> None:
    append_events(run, run_events())
    run_snapshot = wait_until_loaded(open_snapshot(run))
    for resumed_step, last_step in ((12_000, 18_000), (17_990, 18_010), (5, 30)):
        append_events(run, [{"kind": "resumed", "from_step": resumed_step}])
        append_events(run, run_events(resumed_step + 1, last_step))
        run_snapshot.refresh()
        wait_until_loaded(run_snapshot)
        assert_snapshot_matches_events(run, run_snapshot)


def test_many_repeated_steps_without_a_resumed_event_count_once(run: Run) -> None:
    append_events(run, run_events())
    append_events(run, run_events(100, 14_000))
    append_events(run, run_events(50, 60))
    append_events(run, run_events(55, 57))
    assert displayed_fields(open_snapshot(run))["series"]["train/loss"]["x"] == [*range(1, 58)]


def test_a_few_repeated_steps_without_a_resumed_event_count_once(run: Run) -> None:
    append_events(run, run_events(1, 100))
    append_events(run, run_events(50, 60))
    append_events(run, run_events(55, 57))
    assert displayed_fields(open_snapshot(run))["series"]["train/loss"]["x"] == [*range(1, 58)]


def test_all_resumes_in_a_file_are_collected_by_the_first_read(run: Run) -> None:
    """A large file is then read twice, not once more for each resume."""
    append_events(run, run_events())
    for resumed_step in (12_000, 14_000, 16_000):
        append_events(run, [{"kind": "resumed", "from_step": resumed_step}])
        append_events(run, run_events(resumed_step + 1, resumed_step + 2_500))
    append_events(run, run_events(18_501))
    assert {12_000, 14_000, 16_000} <= {*open_snapshot(run).history.rewinds.values()}


# -- the cache across restarts ------------------------------------------------------------------------------------


def test_a_large_events_file_is_not_read_again_after_a_restart(run: Run, low_size_limits: None) -> None:
    """The file's content changes while its times and size do not, so the new number shows only if the file is read."""
    append_events(run, run_events())
    wait_until_loaded(open_snapshot(run))
    replace_in_events_file(run, '"train/loss": 50.0', '"train/loss": 70.0')
    run_snapshot = open_snapshot(run)
    assert not run_snapshot.loading
    assert 50.0 in displayed_fields(run_snapshot)["series"]["train/loss"]["y"]
    run.events.touch()
    assert 70.0 in displayed_fields(wait_until_loaded(open_snapshot(run)))["series"]["train/loss"]["y"]


def test_events_after_the_cached_position_are_read(run: Run, low_size_limits: None) -> None:
    append_events(run, run_events(1, 16_000))
    wait_until_loaded(open_snapshot(run))
    append_events(run, run_events(16_001, 16_500))
    assert_snapshot_matches_events(run, open_snapshot(run))
    append_events(run, RESUME_FROM_STEP_12000)
    assert_snapshot_matches_events(run, wait_until_loaded(open_snapshot(run)))
    append_events(run, run_events(12_001))
    assert_snapshot_matches_events(run, wait_until_loaded(open_snapshot(run)))
    assert_snapshot_matches_events(run, open_snapshot(run))


def test_a_torn_line_at_the_cached_position_is_read_once_it_is_complete(run: Run, low_size_limits: None) -> None:
    append_events(run, run_events(1, 16_000))
    [last_line] = [json.dumps({"seq": 16_017, "attempt": 1, "time": 0.0} | step_event(16_001))]
    with run.events.open("a") as file:
        file.write(last_line[:50])
    assert wait_until_loaded(open_snapshot(run)).seq == 16_016
    with run.events.open("a") as file:
        file.write(last_line[50:] + "\n")
    assert_snapshot_matches_events(run, open_snapshot(run))


@pytest.mark.slow
@pytest.mark.parametrize("change", ["edited", "replaced", "written anew", "shorter"])
def test_an_events_file_that_differs_from_the_cached_one_is_read_from_the_start(
    run: Run, low_size_limits: None, change: str
) -> None:
    append_events(run, run_events(1, 20_000))
    wait_until_loaded(open_snapshot(run))
    if change == "edited":  # the length stays the same
        run.events.write_text(run.events.read_text().replace('"train/loss": 50.0', '"train/loss": 70.0'))
    if change == "replaced":  # another, longer file, which differs in its middle
        replacement = run.events.with_name("other")
        replacement.write_text(run.events.read_text().replace('"train/loss": 50.0', '"train/loss": 70.0'))
        replacement.replace(run.events)
        append_events(run, run_events(20_001))
    if change == "written anew":  # the same file, longer
        os.truncate(run.events, 0)
        append_events(run, [{"kind": "state", "state": "training"}, *run_events()])
    if change == "shorter":
        lines = run.events.read_text().splitlines(keepends=True)
        run.events.write_text("".join(lines[:9_000]))
    assert_snapshot_matches_events(run, wait_until_loaded(open_snapshot(run)))


def test_a_deleted_or_damaged_cache_entry_is_rebuilt(run: Run, low_size_limits: None, home: Path) -> None:
    append_events(run, run_events())
    wait_until_loaded(open_snapshot(run))
    [cache_file] = (home / "cache" / "stories").iterdir()
    for damage in (
        cache_file.unlink,
        lambda: cache_file.write_bytes(b""),
        lambda: cache_file.write_bytes(cache_file.read_bytes()[:-9]),
    ):
        damage()
        assert_snapshot_matches_events(run, wait_until_loaded(open_snapshot(run)))
        assert cache.get(local_workspace(), "stories", run.id)["seq"] == events.last_event(run.events).seq, (
            "the cache entry is written again"
        )


def test_cache_entries_of_deleted_runs_are_removed(run: Run, low_size_limits: None, home: Path) -> None:
    second_run = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
    third_run = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
    for cached_run in (run, second_run):
        append_events(cached_run, run_events())
        wait_until_loaded(open_snapshot(cached_run))
    assert {*cache.keys(local_workspace(), "stories")} == {run.id, second_run.id}
    cleanup.delete_run(run)
    assert cache.keys(local_workspace(), "stories") == [second_run.id]
    second_run.path.rename(home / "elsewhere")  # as a person would remove it, without the program
    append_events(third_run, run_events())
    wait_until_loaded(open_snapshot(third_run))
    assert cache.keys(local_workspace(), "stories") == [third_run.id]


def test_the_snapshot_is_complete_when_the_cache_is_not_writable(run: Run, low_size_limits: None, home: Path) -> None:
    append_events(run, run_events())
    (home / "cache").write_text("a file stands where the folder should")
    assert_snapshot_matches_events(run, wait_until_loaded(open_snapshot(run)))
    assert_snapshot_matches_events(run, wait_until_loaded(open_snapshot(run)))


def test_a_long_run_keeps_a_bounded_number_of_points_in_memory(run: Run) -> None:
    append_events(run, run_events())
    run_snapshot = open_snapshot(run)
    for metric_track in run_snapshot.history.metrics.by_name.values():
        assert len(metric_track.steps) <= 2 * downsampling.NEWEST_POINTS
    assert len(run_snapshot.history.recent_events) == reader.RECENT_EVENTS
