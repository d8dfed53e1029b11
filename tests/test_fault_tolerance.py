"""Fault tolerance: runs survive kills, torn lines and full disks. `python -m tests.bench faults` repeats the same a hundred times."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.runs import events, result
from app.setup.spec import Spec
from tests.bench import faults
from tests.support import metrics_by_step, start_run, train, wait_for_run, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def spec_and_losses(tmp_path_factory: pytest.TempPathFactory) -> tuple[Spec, list[float]]:
    """The spec of a small run, and the losses of that run without a fault."""
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("TUNESMITH_HOME", str(folder / "home"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        spec = faults.small_spec(folder)
        return spec, faults.uninterrupted_losses(spec)


@pytest.mark.first_cases(2)
@pytest.mark.parametrize("name", faults.SCENARIOS)
def test_a_run_with_a_fault_ends_like_one_without(name: str, spec_and_losses: tuple[Spec, list[float]]) -> None:
    _, faults_found = faults.run_scenario(name, *spec_and_losses, seed=1)
    assert faults_found == []


def test_a_run_on_a_full_disk_fails_with_advice_and_can_be_resumed(
    spec_and_losses: tuple[Spec, list[float]], tmp_path: Path
) -> None:
    assert faults.fill_disk_during_checkpoint(*spec_and_losses, tmp_path / "disk") == []


@pytest.mark.full
def test_a_queued_run_waits_and_starts_when_the_first_is_killed(spec_and_losses: tuple[Spec, list[float]]) -> None:
    assert faults.kill_first_of_two_queued_runs(spec_and_losses[0]) == []


def test_no_helper_of_a_killed_engine_outlives_it(tmp_path: Path) -> None:
    assert faults.kill_engine_with_helpers(tmp_path) == []


@pytest.mark.full
def test_a_result_that_is_not_the_best_checkpoint_is_detected(spec_and_losses: tuple[Spec, list[float]]) -> None:
    run, faults_found = faults.run_scenario("newest checkpoint damaged", *spec_and_losses, seed=3)
    assert faults_found == []
    record = result.read_result(run)
    assert record["step"] == record["last_step"]
    for name, step in (("adapter_model.safetensors", record["step"]), (result.RESULT_FILE, 12)):
        path = run.adapter / name if name.endswith("safetensors") else run.path / name
        content = path.read_bytes()
        path.write_bytes(
            content[:-1] + b"x" if step == record["step"] else content.replace(b'"step": 24', b'"step": 12')
        )
        assert faults.find_faults(run, spec_and_losses[1])
        path.write_bytes(content)


@pytest.mark.full
def test_a_missing_event_is_detected(spec_and_losses: tuple[Spec, list[float]]) -> None:
    run, faults_found = faults.run_scenario("stopped and resumed", *spec_and_losses, seed=2)
    assert faults_found == []
    lines = run.events.read_bytes().splitlines(keepends=True)
    run.events.write_bytes(b"".join(lines[:10] + lines[11:]))
    assert "an event is missing or doubled" in faults.find_faults(run, spec_and_losses[1])


def test_each_control_request_is_answered_under_its_id(spec_and_losses: tuple[Spec, list[float]]) -> None:
    from backends import local

    run = start_run(spec_and_losses[0])
    wait_until(lambda: 1 in metrics_by_step(run), run=run)
    request_ids = [local.control(run.handle, command) for command in ("save", "evaluate", "sample", "dance")]
    run_events = wait_for_run(run)
    level_by_request_id = {event.control: event.level for event in events.of_type(run_events, events.NoteEvent)}
    assert [level_by_request_id.get(request_id) for request_id in request_ids] == ["info", "info", "info", "wrong"]
    assert isinstance(run_events[-1], events.DoneEvent)


@pytest.mark.full
def test_requested_evaluations_and_samples_do_not_change_the_losses(spec_and_losses: tuple[Spec, list[float]]) -> None:
    """Evaluations and samples on request draw no random number from the training's generators."""
    from backends import local

    run = start_run(spec_and_losses[0])
    wait_until(lambda: 1 in metrics_by_step(run), run=run)
    for command in ("evaluate", "sample", "save"):
        local.control(run.handle, command)
    wait_for_run(run)
    assert faults.find_faults(run, spec_and_losses[1]) == []
    assert len(events.of_type(events.read_events(run.events), events.EvalEvent)) > 3


@pytest.mark.full
@pytest.mark.parametrize("method", ["sft", "grpo", "pretrain"])
def test_a_run_resumed_in_its_second_epoch_trains_on_the_same_rows(method: str, tmp_path: Path) -> None:
    """An epoch is eight batches: the run is stopped in the second epoch and continues into the third."""
    from backends import local
    from tests.support import addition_rows, build_spec, conversation_rows, run_losses, text_rows, write_rows

    rows, knobs = {
        "sft": (conversation_rows(32), {"batch_size": 4}),
        "grpo": (addition_rows(32), {"batch_size": 8, "attempts": 2, "max_completion_length": 6}),
        "pretrain": (text_rows(60), {"batch_size": 4, "max_length": 32}),
    }[method]
    rewards = [{"name": "length_band", "params": {"most": 10}}] if method == "grpo" else []
    spec = build_spec(method, write_rows(tmp_path / "rows.jsonl", rows), {"steps": 20} | knobs, rewards=rewards)
    expected_losses = run_losses(train(spec))
    run = start_run(spec)
    wait_until(lambda: 11 in metrics_by_step(run), run=run)
    local.stop(run.handle)
    stopped_at = max(metrics_by_step(run))
    assert 11 <= stopped_at < 20
    assert faults.resume(run)[-1].why == "finished"
    assert run_losses(run) == pytest.approx(expected_losses, rel=1e-6, abs=1e-6)
