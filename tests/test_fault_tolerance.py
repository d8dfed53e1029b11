"""It survives: kills, torn lines and full disks. `python -m tests.bench faults` does the same a hundred times."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.runs import events
from app.setup.spec import Spec
from tests.bench import faults
from tests.support import start, steps_of, train, until, wait

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Spec, list[float]]:
    """The small run, and its losses when nobody disturbs it."""
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNESMITH_HOME", str(folder / "home"))
        patch.setenv("HF_HUB_OFFLINE", "1")
        spec = faults.small_spec(folder)
        return spec, faults.undisturbed(spec)


@pytest.mark.parametrize("name", faults.SCENES)
def test_a_disturbed_run_ends_like_an_undisturbed_one(name: str, scene: tuple[Spec, list[float]]) -> None:
    _, found = faults.play(name, *scene, seed=1)
    assert found == []


def test_a_full_disk_fails_with_advice_and_the_run_goes_on_later(
    scene: tuple[Spec, list[float]], tmp_path: Path
) -> None:
    assert faults.full_disk(*scene, tmp_path / "disk") == []


def test_the_second_launch_waits_and_starts_when_the_first_is_killed(scene: tuple[Spec, list[float]]) -> None:
    assert faults.queue(scene[0]) == []


def test_the_comparison_sees_a_lost_event(scene: tuple[Spec, list[float]]) -> None:
    run, found = faults.play("stopped and resumed", *scene, seed=2)
    assert found == []
    lines = run.events.read_bytes().splitlines(keepends=True)
    run.events.write_bytes(b"".join(lines[:10] + lines[11:]))
    assert "an event is missing or doubled" in faults.faults_in(run, scene[1])


def test_a_wish_is_answered_by_its_id(scene: tuple[Spec, list[float]]) -> None:
    from backends import local

    run = start(scene[0])
    until(lambda: 1 in steps_of(run), run=run)
    wishes = [local.control(run.handle, command) for command in ("save", "evaluate", "sample", "dance")]
    story = wait(run)
    notes = {event.control: event.level for event in events.of_type(story, events.NoteEvent)}
    assert [notes.get(wish) for wish in wishes] == ["info", "info", "info", "wrong"]
    assert isinstance(story[-1], events.DoneEvent)


def test_looking_at_a_run_does_not_change_it(scene: tuple[Spec, list[float]]) -> None:
    """Tests and samples on request draw no random number of the training's."""
    from backends import local

    run = start(scene[0])
    until(lambda: 1 in steps_of(run), run=run)
    for command in ("evaluate", "sample", "save"):
        local.control(run.handle, command)
    wait(run)
    assert faults.faults_in(run, scene[1]) == []
    assert len(events.of_type(events.read_events(run.events), events.EvalEvent)) > 3


@pytest.mark.parametrize("method", ["sft", "grpo", "pretrain"])
def test_a_run_resumed_in_its_second_epoch_sees_the_same_rows(method: str, tmp_path: Path) -> None:
    """Eight batches are an epoch; it is stopped in the second and goes on into the third."""
    from backends import local
    from tests.support import chats, losses, spec_of, sums, texts, write_rows

    rows, knobs = {
        "sft": (chats(32), {"batch_size": 4}),
        "grpo": (sums(32), {"batch_size": 8, "attempts": 2, "max_completion_length": 6}),
        "pretrain": (texts(60), {"batch_size": 4, "max_length": 32}),
    }[method]
    rewards = [{"name": "length_band", "params": {"most": 10}}] if method == "grpo" else []
    spec = spec_of(method, write_rows(tmp_path / "rows.jsonl", rows), {"steps": 20} | knobs, rewards=rewards)
    expected = losses(train(spec))
    run = start(spec)
    until(lambda: 11 in steps_of(run), run=run)
    local.stop(run.handle)
    stopped_at = max(steps_of(run))
    assert 11 <= stopped_at < 20
    assert faults.resume(run)[-1].why == "finished"
    assert losses(run) == pytest.approx(expected, rel=1e-6, abs=1e-6)
