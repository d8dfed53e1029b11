"""The engine: each method and adapter changes weights and learns, a reloaded result gives the same answers, failures have a reason."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.core import registry
from app.core.json_files import read_json
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.runs import events, store
from app.runs.result import PROFILE_FILE
from app.runs.store import Run
from app.setup.models import locate_model
from app.worker.client import WorkerClient
from tests import in_process
from tests.support import (
    addition_rows,
    build_spec,
    conversation_rows,
    metrics_by_step,
    prompt_completion_rows,
    run_losses,
    start_run,
    text_rows,
    train,
    wait_for_run,
    wait_until,
    write_rows,
)

pytestmark = pytest.mark.slow

FAST_KNOBS = {"steps": 12, "batch_size": 8, "learning_rate": 0.003}


def build_job(method: str, source: str, knobs: dict[str, Any], folder: Path, **spec_fields: Any) -> Any:
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries
    from app.engine.model.device import Device

    prepare_libraries()
    return Job(build_spec(method, source, FAST_KNOBS | knobs, **spec_fields), folder, Device("cpu"))


def has_fallen(loss_values: list[float]) -> bool:
    return sum(loss_values[-3:]) < 0.8 * sum(loss_values[:3])


def load_weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


@pytest.mark.parametrize("kind", ["dora", "none"])
def test_sft_learns_with_each_kind_of_adapter(kind: str, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", conversation_rows(96))
    job = build_job("sft", source, {}, tmp_path, adapter={"kind": kind, "r": 8, "alpha": 16})
    assert has_fallen(in_process.logged_losses(in_process.train_job(job)))
    trained_weights = load_weights(tmp_path / "adapter")
    if kind == "none":
        base_weights = load_weights(Path(locate_model("pocket")))
        assert any(
            not base_weights[name].float().equal(tensor.float())
            for name, tensor in trained_weights.items()
            if name in base_weights
        )
    else:
        assert any(
            tensor.abs().sum() > 0 for name, tensor in trained_weights.items() if "lora_B" in name
        )  # initialised with zeros
        assert any("magnitude" in name for name in trained_weights) == (kind == "dora")


@pytest.mark.full
def test_sft_learns_with_neftune_and_packing(tmp_path: Path) -> None:
    knobs = {"packing": True, "max_length": 256, "neftune": 5.0}
    job = build_job("sft", write_rows(tmp_path / "rows.jsonl", conversation_rows(200)), knobs, tmp_path)
    assert has_fallen(in_process.logged_losses(in_process.train_job(job)))


def test_a_batch_in_one_row_without_padding_teaches_the_same(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", conversation_rows(64))
    losses = []
    for padding_free in (False, True):
        folder = tmp_path / str(padding_free)
        folder.mkdir()
        knobs = {"padding_free": padding_free, "max_length": 48, "steps": 6, "group_by_length": False}
        job = build_job("sft", source, knobs, folder)
        losses.append(in_process.logged_losses(in_process.train_job(job)))
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert losses[0][-1] != pytest.approx(losses[0][0], rel=0.01)


def test_only_completions_and_not_their_prompts_are_trained_on(tmp_path: Path) -> None:
    run = train(build_spec("sft", write_rows(tmp_path / "rows.jsonl", prompt_completion_rows(96)), FAST_KNOBS))
    assert has_fallen(run_losses(run))
    facts = read_json(run.path / "facts.json")
    assert 0 < facts["data"]["tokens"]["trained"] < facts["data"]["tokens"]["all"]
    assert 0 < facts["model"]["trained"] < facts["model"]["parameters"]


@pytest.mark.parametrize("knobs", [{}, {"streaming": True}], ids=str)
def test_pretraining_learns_plain_text(knobs: dict[str, Any], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", text_rows(200))
    job = build_job("pretrain", source, {"max_length": 64} | knobs, tmp_path, adapter={"kind": "none"})
    assert has_fallen(in_process.logged_losses(in_process.train_job(job)))


@pytest.mark.full
def test_from_scratch_starts_at_the_loss_of_an_untrained_model(tmp_path: Path) -> None:
    """An untrained model gives every token about the same probability, so its loss is the logarithm of the vocabulary size."""
    import math

    source = write_rows(tmp_path / "rows.jsonl", text_rows(50))
    job = build_job(
        "pretrain", source, {"steps": 1, "from_scratch": True, "max_length": 64}, tmp_path, adapter={"kind": "none"}
    )
    vocab_size = json.loads((Path(locate_model("pocket")) / "config.json").read_text())["vocab_size"]
    assert in_process.logged_losses(in_process.train_job(job))[0] == pytest.approx(math.log(vocab_size), rel=0.05)


@pytest.mark.full
def test_several_rewards_are_weighted_and_reported_by_name(tmp_path: Path) -> None:
    rewards = [
        {"name": "length_band", "as": "short", "weight": 2.0, "params": {"most": 12}},
        {"name": "pattern", "as": "digits", "params": {"pattern": r"^\d+$"}},
    ]
    knobs = {"steps": 3, "batch_size": 16, "attempts": 4, "max_completion_length": 12, "samples_every": 1}
    run = train(build_spec("grpo", write_rows(tmp_path / "rows.jsonl", addition_rows(32)), knobs, rewards=rewards))
    for metrics in metrics_by_step(run).values():
        assert metrics["reward/mean"] == pytest.approx(
            2 * metrics["reward/short/mean"] + metrics["reward/digits/mean"], abs=1e-5
        )
    sample_event = next(
        event
        for event in events.of_type(events.read_events(run.events), events.SampleEvent)
        if "advantage" in event.rows[0]
    )
    assert set(sample_event.rows[0]["rewards"]) == {"short", "digits"}
    advantages = [row["advantage"] for row in sample_event.rows]
    assert sum(advantages) == pytest.approx(0, abs=1e-3), "advantages are relative to the mean reward of the group"


def test_a_reloaded_result_gives_the_answers_of_the_last_evaluation(tmp_path: Path) -> None:
    knobs = FAST_KNOBS | {"eval_answers": 4, "eval_length": 24}
    run = train(
        build_spec(
            "sft", write_rows(tmp_path / "rows.jsonl", conversation_rows(96)), knobs, prompts=["Are you sure?", "Hello"]
        )
    )
    last_samples = events.of_type(events.read_events(run.events), events.SampleEvent)[-1]
    with WorkerClient() as worker:  # the shared worker uses another home
        completions = worker.generate(
            run.id, [row["prompt"] for row in last_samples.rows[:2]], with_base_model=True, max_new_tokens=24
        )
    assert completions["tuned"] == [row["completion"] for row in last_samples.rows[:2]]
    assert completions["base"] != completions["tuned"]


@pytest.mark.parametrize("kind", ["lora", "none"])
def test_a_run_can_start_from_the_result_of_another_run(kind: str, tmp_path: Path) -> None:
    """From an adapter, and from a fully fine-tuned model with a new adapter."""
    source = write_rows(tmp_path / "rows.jsonl", conversation_rows(96))
    first_run = train(build_spec("sft", source, FAST_KNOBS, adapter={"kind": kind}))
    job = build_job("sft", source, {"steps": 1}, tmp_path, model={"id": "pocket", "start_from": f"run:{first_run.id}"})
    assert in_process.logged_losses(in_process.train_job(job))[0] < 0.7 * run_losses(first_run)[0]
    assert (tmp_path / "adapter" / "adapter_config.json").exists()


def test_a_nan_loss_ends_the_run_with_advice(tmp_path: Path) -> None:
    """TRL would by default log this loss as 0.0."""
    from safetensors.torch import load_file, save_file

    model_folder = tmp_path / "broken"
    shutil.copytree(locate_model("pocket"), model_folder)
    tensors = load_file(model_folder / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, model_folder / "model.safetensors", metadata={"format": "pt"})
    run = start_run(
        build_spec(
            "sft",
            write_rows(tmp_path / "rows.jsonl", conversation_rows(32)),
            FAST_KNOBS,
            model={"id": str(model_folder)},
        )
    )
    run_events = wait_for_run(run)
    assert run_events[-1].reason == "diverged"
    assert "the model's weights" in run_events[-1].advice, "at the first step nothing was changed yet"
    first_step = events.of_type(run_events, events.StepEvent)[0]
    assert first_step.metrics["train/loss"] is None
    assert "train/loss" in first_step.nonfinite


def test_profiled_steps_and_batches_of_other_processes_leave_what_is_learned_unchanged(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "chats.jsonl", conversation_rows(40))
    plain, watched = (
        train(build_spec("sft", source, {"steps": 6, "batch_size": 4} | knobs))
        for knobs in ({}, {"profile_steps": 2, "dataloader_workers": 1})
    )
    assert run_losses(watched) == run_losses(plain)
    with gzip.open(watched.path / PROFILE_FILE) as file:
        trace_events = json.load(file)["traceEvents"]
    assert len([event for event in trace_events if event["name"].startswith("ProfilerStep#")]) == 2
    notes = [event.text for event in events.of_type(events.read_events(watched.events), events.NoteEvent)]
    assert any(
        re.search(r"2 steps were profiled\. Most of their time went to aten::\w+ \(\d+%\)", note) for note in notes
    )
    assert not (plain.path / PROFILE_FILE).exists()


def test_a_run_that_reaches_its_budget_stops_and_saves(tmp_path: Path) -> None:
    spec = build_spec("sft", write_rows(tmp_path / "rows.jsonl", conversation_rows(96)), FAST_KNOBS | {"steps": 5000})
    run = train(spec, budget={"minutes": 0.05})
    assert events.last_event(run.events).why == "budget"
    assert events.last_event(run.events).verdict.startswith("The limit that was set for this run is reached.")
    assert (run.adapter / "adapter_model.safetensors").exists()


def test_a_reward_without_its_column_is_refused_before_a_run_is_created(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", addition_rows(8))
    with pytest.raises(Problem, match="`solution`"):
        build_spec("grpo", source, rewards=[{"name": "exact_match", "params": {"column": "solution"}}])
    assert not store.list_runs(local_workspace())


@pytest.mark.full  # CI reads the error of a failed allocation in test_problems.py
@pytest.mark.slow
def test_a_failed_allocation_is_reported_as_out_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real allocation that cannot succeed: 16,384 completions of up to 100,000 tokens in one batch."""
    rewards = [{"name": "length_band"}]
    knobs = {"steps": 1, "batch_size": 16_384, "attempts": 2, "max_completion_length": 100_000}
    run = start_run(build_spec("grpo", write_rows(tmp_path / "rows.jsonl", prompt_rows(8_200)), knobs, rewards=rewards))
    wait_until(lambda: run.events.exists(), run=run)
    limit_memory(run)
    assert wait_for_run(run)[-1].reason == "out_of_memory"


def prompt_rows(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"Tell me about number {i}."} for i in range(count)]


def limit_memory(run: Run) -> None:
    """Limits the address space of the engine to 6 GB, so that the test does not use up the memory of the machine."""
    import resource

    resource.prlimit(run.handle["pid"], resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))


def test_the_first_presets_are_registered() -> None:
    assert {"first_tune", "first_reward"} <= set(registry.names("presets"))
