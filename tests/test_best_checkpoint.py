"""The result of a run: the best checkpoint by a held-out measure, or the last; early stopping; more steps for a finished run."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.engine.evaluation.eval_scores import EvalScores
from app.history.result_words import describe_result, result_words
from app.planning import launcher, preflight
from app.runs import checkpoints, events, result, store
from app.runs.events import DoneEvent, EvalEvent, NoteEvent, ResumedEvent, SavedEvent, of_type
from app.runs.result import ResultRecord
from app.runs.store import Run
from app.setup.spec import Spec, parse_spec
from tests import engine_forkserver
from tests.support import (
    build_spec,
    conversation_rows,
    metrics_by_step,
    run_command_line,
    run_losses,
    start_run,
    train,
    wait_for_run,
    wait_until,
    write_rows,
)

LAST_STEP, RATE = 40, 0.005
LORA = {"kind": "lora", "r": 4, "alpha": 8, "dropout": 0.1}


COLOURS = ("red", "blue", "green", "white", "black", "brown", "grey", "pink")


def door_rows(shift: int) -> list[dict[str, Any]]:
    """Eight questions, each with the answer to the one `shift` places on."""
    answers = [f"It is {colour}, as {colour} as can be." for colour in COLOURS]
    return [{"prompt": f"Which colour has door {i}?", "completion": answers[(i + shift) % 8]} for i in range(8)]


def memorising_spec(folder: Path, **knobs: Any) -> Spec:
    """The held-out rows have the same answers to other questions: their loss falls while the kind of answer is learned,
    and rises when the answers themselves are recited."""
    settings = {
        "steps": LAST_STEP,
        "batch_size": 4,
        "learning_rate": RATE,
        "schedule": "constant",
        "evaluations": 9,
        "saves": 1,
    }
    sizes = {"eval_answers": 4, "eval_length": 4}
    source, aside = write_rows(folder / "rows.jsonl", door_rows(0)), write_rows(folder / "aside.jsonl", door_rows(3))
    return build_spec(
        "sft",
        source,
        settings | sizes | knobs,
        adapter=LORA,
        holdout={"source": {"source": aside}},
        rewards=[{"name": "length_band", "params": {"most": 10}}],
    )


def file_hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def held_out_losses(run: Run) -> dict[int, float]:
    """{step: loss on the held-out rows}, without step 0."""
    evaluations = of_type(events.drop_rewound(events.read_events(run.events)), EvalEvent)
    return {event.step: event.metrics["eval/loss"] for event in evaluations if event.step}


def weights(folder: Path) -> str:
    return file_hashes(folder)["adapter_model.safetensors"]


# -- scores ---------------------------------------------------------------------------------------------------------


def scores_of(values: dict[int, dict[str, float | None]], metric: str = "") -> EvalScores:
    scores = EvalScores(metric)
    for step, metrics in values.items():
        scores.add(step, {f"eval/{name}": value for name, value in metrics.items()})
    return scores


def test_the_best_is_a_trained_step_and_of_equal_ones_the_later() -> None:
    scores = scores_of({step: {"loss": loss} for step, loss in ((0, 1.0), (4, 3.0), (8, 2.0), (12, 2.0), (16, 2.5))})
    assert [scores.is_best(step) for step in (0, 4, 8, 12, 16, 20)] == [False, True, True, True, False, False]
    assert (scores.metric, scores.value(8), scores.value(20)) == ("loss", 2.0, None)


def test_patience_counts_evaluations_since_the_best_and_leaves_out_those_without_a_score() -> None:
    scores = scores_of(
        {0: {"c": 0.1}, 2: {"c": 0.5}, 4: {"c": None}, 6: {"c": float("nan")}, 8: {"c": 0.5}, 10: {"c": 0.4}}
    )
    assert scores.tests_without_improvement([0, 2]) == 0
    assert scores.tests_without_improvement([0, 2, 4, 6]) == 0
    assert scores.tests_without_improvement([0, 2, 4, 6, 8, 10]) == 2
    assert scores.tests_without_improvement([8, 10]) == 1


@pytest.mark.parametrize(
    ("preferred", "metric", "score"),
    [("", "correct", 0.2), ("loss", "loss", -1.5), ("short", "short", 0.9), ("none", None, None)],
)
def test_the_preferred_measure_decides_and_a_lower_loss_is_a_higher_score(
    preferred: str, metric: str | None, score: float | None
) -> None:
    scores = scores_of({3: {"correct": 0.2, "short": 0.9, "loss": 1.5}}, preferred)
    assert (scores.metric, scores.by_step.get(3)) == (metric, score)


def test_an_evaluation_in_which_no_answer_could_be_scored_is_not_judged_by_its_loss() -> None:
    scores = scores_of(
        {4: {"correct": 0.2, "loss": 2.0}, 8: {"correct": None, "loss": 0.1}, 12: {"correct": 0.4, "loss": 1.0}}
    )
    assert (scores.by_step, scores.metric) == ({4: 0.2, 12: 0.4}, "correct")
    assert not scores.is_best(8)


# -- words ----------------------------------------------------------------------------------------------------------


def record(**fields: Any) -> ResultRecord:
    known = {"step": 40, "last_step": 60, "of": 60, "metric": "loss", "best_step": 40, "best": 1.234, "last": 1.31}
    return ResultRecord(**(known | {"lost_step": None, "patience": None} | fields))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "The result is from step 40 of 60: there the held-out loss was lowest, 1.23; at the end it was 1.31."),
        ({"step": 60, "best_step": 60, "best": 1.31}, "The result is from the last step, 60: there the held-out loss was lowest, 1.31."),
        ({"step": 60}, "The result is from the last step, 60: there the held-out loss was 1.31; it was lowest at step 40, 1.23."),
        ({"best": 1.2341, "last": 1.2349}, "The result is from step 40 of 60: there the held-out loss was lowest, 1.234; at the end it was 1.235."),
        ({"last_step": 55, "last": None}, "The result is from step 40 of 60: there the held-out loss was lowest, 1.23; the last step, 55, was not tested."),
        ({"step": 55, "last_step": 55, "last": None}, "The result is from the last step, 55 of 60: the held-out loss, which was not measured there, was lowest at step 40, 1.23."),
        ({"last_step": 50, "patience": 2}, "Stopped early at step 50 of 60, because the held-out loss did not improve in the last 2 tests. "
         "The result is from step 40 of 60: there the held-out loss was lowest, 1.23; at the end it was 1.31."),
        ({"metric": "correct", "best": 0.8, "last": 0.5}, "The result is from step 40 of 60: there “exactly the right answer” on held-out examples was highest, 80 %; at the end it was 50 %."),
        ({"lost_step": 20}, "The result is from step 40 of 60: there the held-out loss was lowest, 1.23; at the end it was 1.31. "
         "Step 20 had measured better, but has no checkpoint that can be used."),
        ({"step": 55, "last_step": 55, "best_step": None, "best": None, "last": None}, ""),
        ({"metric": None, "best_step": None, "best": None, "last": None, "step": 60}, ""),
    ],
)  # fmt: skip
def test_the_words_name_the_step_the_measure_and_what_it_was_at_the_end(fields: dict[str, Any], words: str) -> None:
    spec = {"method": "sft", "rewards": [{"name": "exact_match", "as": "correct"}]}
    assert describe_result(record(**fields), spec) == words


# -- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("knobs", "holdout", "words"),
    [
        ({"early_stopping_patience": 2, "evaluations": 4}, {}, "kept aside"),
        ({"early_stopping_patience": 5, "evaluations": 4}, {"share": 0.2}, "With 4 tests on the way"),
        ({"best_metric": "corect"}, {"share": 0.2}, "called “corect”"),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_run(
    knobs: dict[str, Any], holdout: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(Problem, match=words):
        build_spec("sft", write_rows(tmp_path / "rows.jsonl", conversation_rows(20)), knobs, holdout=holdout)


def test_the_settings_are_taken_under_the_names_of_transformers(tmp_path: Path) -> None:
    spec = parse_spec({
        "method": "sft", "data": [{"source": write_rows(tmp_path / "rows.jsonl", conversation_rows(20))}],
        "knobs": {"load_best_model_at_end": False, "metric_for_best_model": "eval_loss", "early_stopping_patience": 2},
    })  # fmt: skip
    knobs = preflight.check_spec(spec).knobs
    assert (knobs["keep_best"], knobs["best_metric"], knobs["early_stopping_patience"]) == (False, "loss", 2)


# -- runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """The same training with each choice of the result."""
    folder = tmp_path_factory.mktemp("best")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("TUNESMITH_HOME", str(folder / "home"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        choices = {"loss": {"best_metric": "loss"}, "reward": {}, "last": {"keep_best": False, "best_metric": "loss"}}
        return {name: train(memorising_spec(folder, **knobs)) for name, knobs in choices.items()}


def checkpoint_steps(run: Run) -> list[int]:
    return [checkpoints.checkpoint_step(path) for path in checkpoints.complete_checkpoints(run.checkpoints)]


@pytest.mark.slow
def test_by_default_the_result_is_the_checkpoint_with_the_lowest_held_out_loss(runs: dict[str, Run]) -> None:
    run = runs["loss"]
    losses = held_out_losses(run)
    best_step = min(losses, key=losses.__getitem__)
    assert best_step < LAST_STEP, "this training recites at its end, or the test shows nothing"
    assert weights(run.adapter) == weights(run.checkpoints / f"checkpoint-{best_step}")
    assert weights(run.adapter) != weights(run.checkpoints / f"checkpoint-{LAST_STEP}")
    assert checkpoint_steps(run) == [best_step, LAST_STEP], "the best and the last stay"
    assert of_type(events.read_events(run.events), SavedEvent)[-1].step == best_step
    assert result_words(run) == (
        f"The result is from step {best_step} of {LAST_STEP}: there the held-out loss was lowest, {losses[best_step]:.2f}; "
        f"at the end it was {losses[LAST_STEP]:.2f}."
    )


@pytest.mark.slow
def test_the_choice_of_the_result_changes_no_loss_and_no_evaluation(runs: dict[str, Run]) -> None:
    assert run_losses(runs["loss"]) == run_losses(runs["reward"]) == run_losses(runs["last"])
    assert held_out_losses(runs["loss"]) == held_out_losses(runs["reward"]) == held_out_losses(runs["last"])


@pytest.mark.slow
def test_another_measure_decides_where_the_setup_has_one(runs: dict[str, Run]) -> None:
    run = runs["reward"]
    evaluations = of_type(events.read_events(run.events), EvalEvent)
    rewards = {event.step: event.metrics["eval/length_band"] for event in evaluations if event.step}
    facts = result.read_result(run)
    assert facts["metric"] == "length_band"
    assert facts["best"] == max(rewards.values()) == rewards[facts["best_step"]]
    assert facts["step"] == facts["best_step"]


@pytest.mark.slow
def test_always_the_last_keeps_the_best_for_later(runs: dict[str, Run]) -> None:
    run, best_step = runs["last"], result.read_result(runs["loss"])["step"]
    assert weights(run.adapter) == weights(run.checkpoints / f"checkpoint-{LAST_STEP}")
    assert checkpoint_steps(run) == [best_step, LAST_STEP]
    assert result_words(run).startswith(f"The result is from the last step, {LAST_STEP}: there the held-out loss was ")


@pytest.mark.slow
def test_after_the_run_the_result_can_be_changed_and_changed_back(runs: dict[str, Run]) -> None:
    run, last_hashes = runs["loss"], file_hashes(runs["last"].adapter)
    best_hashes = file_hashes(run.adapter)
    best_step = result.read_result(run)["step"]
    assert result.use_checkpoint(run, "last")["step"] == LAST_STEP
    assert file_hashes(run.adapter) == last_hashes, (
        "every file is that of a run whose result was the last from the start"
    )
    assert result.other_choice(result.read_result(run)) == "best"
    assert result_words(run).startswith(f"The result is from the last step, {LAST_STEP}")
    assert result.use_checkpoint(run, "best")["step"] == best_step
    assert file_hashes(run.adapter) == best_hashes
    assert file_hashes(runs["last"].adapter) == last_hashes


@pytest.mark.slow
def test_the_command_line_says_and_changes_the_result(runs: dict[str, Run]) -> None:
    run = runs["loss"]
    home = {"TUNESMITH_HOME": str(run.workspace.path)}
    words = run_command_line("result", run.id, **home).stdout.strip()
    assert words == result_words(run) != ""
    changed = json.loads(run_command_line("result", run.id, "last", "--json", **home).stdout)
    assert changed["step"] == changed["last_step"] == LAST_STEP
    assert run_command_line("result", run.id, "best", **home).stdout.strip() == words


@pytest.mark.full
@pytest.mark.slow
def test_a_damaged_checkpoint_is_not_made_the_result(runs: dict[str, Run]) -> None:
    run = runs["reward"]
    facts = result.read_result(run)
    other = result.other_choice(facts)
    if other is None:
        pytest.fail("the reward is best at the last step, so this test shows nothing")
    step = facts["last_step"] if other == "last" else facts["best_step"]
    before = file_hashes(run.adapter)
    with (run.checkpoints / f"checkpoint-{step}" / "adapter_model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(Problem, match="gone or damaged"):
        result.use_checkpoint(run, other)
    assert file_hashes(run.adapter) == before


@pytest.mark.slow
def test_without_held_out_rows_the_result_is_the_last_and_nothing_is_said(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", conversation_rows(16))
    run = train(build_spec("sft", source, {"steps": 4, "batch_size": 4, "saves": 2}, adapter=LORA))
    facts = result.read_result(run)
    assert (facts["step"], facts["metric"], facts["best_step"]) == (4, None, None)
    assert weights(run.adapter) == weights(run.checkpoints / "checkpoint-4")
    assert result_words(run) == ""
    assert result.other_choice(facts) is None


@pytest.mark.full
@pytest.mark.slow
def test_a_killed_run_keeps_its_best_checkpoint_when_it_is_resumed(runs: dict[str, Run], tmp_path: Path) -> None:
    """Killed after the best step: the resumed attempt knows the evaluations before, and ends with the same result."""
    expected, spec = runs["loss"], runs["loss"].spec
    best_step = result.read_result(expected)["best_step"]
    run = start_run(spec)
    wait_until(lambda: best_step + 5 in metrics_by_step(run), run=run)
    os.kill(run.handle["pid"], signal.SIGKILL)
    wait_for_run(run)
    with engine_forkserver.fork_engines():
        launcher.resume_run(run)
    assert isinstance(wait_for_run(run)[-1], DoneEvent)
    assert run_losses(run) == run_losses(expected)
    assert result.read_result(run) == result.read_result(expected)
    assert weights(run.adapter) == weights(expected.adapter)


@pytest.mark.slow
def test_early_stopping_ends_the_run_as_finished_and_says_why(runs: dict[str, Run], tmp_path: Path) -> None:
    spec = memorising_spec(tmp_path, best_metric="loss", early_stopping_patience=2)
    run = train(spec)
    losses, best_step = held_out_losses(run), result.read_result(run)["best_step"]
    tests_after_best = [step for step in losses if step > best_step]
    assert len(tests_after_best) == 2, "two tests in a row without anything better"
    last_event = events.last_event(run.events)
    assert (last_event.why, store.run_state(run, alive=False)) == ("early", "finished")
    assert max(metrics_by_step(run)) == tests_after_best[-1] < LAST_STEP
    assert run_losses(run) == run_losses(runs["loss"])[: tests_after_best[-1]]
    assert weights(run.adapter) == weights(run.checkpoints / f"checkpoint-{best_step}")
    assert result_words(run).startswith(
        f"Stopped early at step {tests_after_best[-1]} of {LAST_STEP}, because the held-out loss did not improve in the last 2 tests. "
    )


# -- more steps -----------------------------------------------------------------------------------------------------


def extend(run: Run, more_steps: int) -> list[Any]:
    with engine_forkserver.fork_engines():
        launcher.extend_run(run, more_steps)
    return wait_for_run(run)


def short_spec(folder: Path, steps: int, **knobs: Any) -> Spec:
    source = write_rows(folder / "rows.jsonl", conversation_rows(24))
    settings = {"steps": steps, "batch_size": 4, "evaluations": 1, "eval_answers": 4, "eval_length": 4}
    return build_spec("sft", source, settings | knobs, adapter=LORA, holdout={"share": 0.2})


@pytest.mark.full
@pytest.mark.slow
def test_at_a_constant_rate_an_extended_run_equals_one_of_that_length(tmp_path: Path) -> None:
    """Through three epochs, with dropout: rows, random numbers and moments go on as if it had never ended."""
    expected = train(short_spec(tmp_path, 14, schedule="constant"))
    run = train(short_spec(tmp_path, 8, schedule="constant"))
    run_events = extend(run, 6)
    assert isinstance(run_events[-1], DoneEvent)
    assert run_losses(run) == run_losses(expected)
    assert weights(run.checkpoints / "checkpoint-14") == weights(expected.checkpoints / "checkpoint-14")
    assert [event.seq for event in run_events] == [*range(1, len(run_events) + 1)]
    assert sorted(metrics_by_step(run)) == [*range(1, 15)]
    assert [event.from_step for event in of_type(run_events, ResumedEvent)] == [8]
    assert result.read_result(run)["of"] == 14
    assert run.spec.knobs["steps"] == 8, "the setup stays as it was started"
    assert run.facts["extensions"] == [{"from_step": 8, "planned": 8, "steps": 14}]
    assert any("planned with 8 steps and goes on to 14" in note.text for note in of_type(run_events, NoteEvent))


@pytest.mark.full  # CI extends a run above
@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["linear", "cosine", "stable_then_decay"])
def test_the_rate_of_an_extended_run_is_that_of_the_longer_schedule_from_its_first_step(
    schedule: str, tmp_path: Path
) -> None:
    longer = train(short_spec(tmp_path, 12, schedule=schedule, evaluations=0))
    run = train(short_spec(tmp_path, 8, schedule=schedule, evaluations=0))
    extend(run, 4)
    rates, longer_rates = (
        [metrics["train/learning_rate"] for _, metrics in sorted(metrics_by_step(each).items())]
        for each in (run, longer)
    )
    assert rates[8:] == pytest.approx(longer_rates[8:], rel=1e-9)
    assert rates[8] > 0, "transformers alone trains this step with the 0 at which the old schedule ended"


@pytest.mark.full
@pytest.mark.slow
def test_a_killed_extension_is_resumed_to_its_new_end(tmp_path: Path) -> None:
    spec = short_spec(tmp_path, 6, schedule="linear", saves=2)
    undisturbed, run = train(spec), train(spec)
    extend(undisturbed, 14)
    with engine_forkserver.fork_engines():
        launcher.extend_run(run, 14)
    wait_until(lambda: 14 in metrics_by_step(run), run=run)
    os.kill(run.handle["pid"], signal.SIGKILL)
    wait_for_run(run)
    with engine_forkserver.fork_engines():
        launcher.resume_run(run)
    assert isinstance(wait_for_run(run)[-1], DoneEvent)
    assert run_losses(run) == run_losses(undisturbed)
    assert run.facts["extensions"] == [{"from_step": 6, "planned": 6, "steps": 20}]
    extend(run, 2)
    assert [extension["steps"] for extension in run.facts["extensions"]] == [20, 22]


@pytest.mark.full  # CI extends a run in this file, and in the browser
@pytest.mark.slow
def test_the_command_line_extends_a_finished_run_only(runs: dict[str, Run], tmp_path: Path) -> None:
    run = train(short_spec(tmp_path, 3))
    output = run_command_line("extend", run.id, "--steps", "2").stdout
    assert "goes on to 5" in output
    assert "step 5/5" in output
    assert output.strip().splitlines()[-1] == result_words(run)
    assert "extend" in run_command_line("resume", run.id, expected_exit_code=2).stderr
    lines = run.events.read_bytes().splitlines(keepends=True)
    run.events.write_bytes(b"".join(lines[:-1]))  # as after a kill
    assert "Only a finished run" in run_command_line("extend", run.id, "--steps", "2", expected_exit_code=2).stderr


def test_a_run_without_a_checkpoint_says_what_to_do_instead(tmp_path: Path) -> None:
    from app.setup.spec import Launch
    from tests.support import append_events

    spec = build_spec("sft", write_rows(tmp_path / "rows.jsonl", conversation_rows(8)))
    run = store.create_run(local_workspace(), spec, Launch())
    append_events(run, [{"kind": "step", "step": 3, "of": 3, "metrics": {}}, {"kind": "done", "why": "finished"}])
    with pytest.raises(Problem, match="no checkpoint to go on from"):
        launcher.extend_run(run, 5)
    with pytest.raises(Problem, match="is not known"):
        result.use_checkpoint(run, "last")
