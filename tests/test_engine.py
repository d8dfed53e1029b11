"""The engine: each method and adapter changes weights and learns, results reload and answer the same, failures say why."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.core import registry
from app.core.json_files import read_json
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.runs import events, store
from app.runs.store import Run
from app.setup.models import locate_model
from app.worker.client import WorkerClient
from tests import in_process
from tests.support import chats, losses, pairs, spec_of, start, steps_of, sums, texts, train, until, wait, write_rows

pytestmark = pytest.mark.slow

FAST = {"steps": 12, "batch_size": 8, "learning_rate": 0.003}


def job_of(method: str, source: str, knobs: dict[str, Any], folder: Path, **other: Any) -> Any:
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries
    from app.engine.model.device import Device

    prepare_libraries()
    return Job(spec_of(method, source, FAST | knobs, **other), folder, Device("cpu"))


def fell(told: list[float]) -> bool:
    return sum(told[-3:]) < 0.8 * sum(told[:3])


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return {name: value for file in sorted(folder.glob("*.safetensors")) for name, value in load_file(file).items()}


@pytest.mark.parametrize("kind", ["dora", "none"])
def test_every_adapter_learns_from_answers(kind: str, tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", chats(96))
    job = job_of("sft", source, {}, tmp_path, adapter={"kind": kind, "r": 8, "alpha": 16})
    assert fell(in_process.losses(in_process.trained(job)))
    made = weights(tmp_path / "adapter")
    if kind == "none":
        base = weights(Path(locate_model("pocket")))
        assert any(not base[name].float().equal(value.float()) for name, value in made.items() if name in base)
    else:
        assert any(value.abs().sum() > 0 for name, value in made.items() if "lora_B" in name)  # it starts as zero
        assert any("magnitude" in name for name in made) == (kind == "dora")


def test_noise_and_full_rows_do_not_keep_it_from_imitating(tmp_path: Path) -> None:
    knobs = {"packing": True, "max_length": 256, "neftune": 5.0}
    job = job_of("sft", write_rows(tmp_path / "rows.jsonl", chats(200)), knobs, tmp_path)
    assert fell(in_process.losses(in_process.trained(job)))


def test_completions_are_learned_without_their_prompts(tmp_path: Path) -> None:
    run = train(spec_of("sft", write_rows(tmp_path / "rows.jsonl", pairs(96)), FAST))
    assert fell(losses(run))
    facts = read_json(run.path / "facts.json")
    assert 0 < facts["data"]["tokens"]["trained"] < facts["data"]["tokens"]["all"]
    assert 0 < facts["model"]["trained"] < facts["model"]["parameters"]


@pytest.mark.parametrize("knobs", [{}, {"streaming": True}], ids=str)
def test_plain_text_is_learned(knobs: dict[str, Any], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", texts(200))
    job = job_of("pretrain", source, {"max_length": 64} | knobs, tmp_path, adapter={"kind": "none"})
    assert fell(in_process.losses(in_process.trained(job)))


def test_from_scratch_forgets_everything(tmp_path: Path) -> None:
    """An untrained model is as unsure as a die with a side for each token: its loss is the logarithm of the vocabulary."""
    import math

    source = write_rows(tmp_path / "rows.jsonl", texts(50))
    job = job_of(
        "pretrain", source, {"steps": 1, "from_scratch": True, "max_length": 64}, tmp_path, adapter={"kind": "none"}
    )
    vocabulary = json.loads((Path(locate_model("pocket")) / "config.json").read_text())["vocab_size"]
    assert in_process.losses(in_process.trained(job))[0] == pytest.approx(math.log(vocabulary), rel=0.05)


def test_several_rewards_are_weighed_and_told_by_name(tmp_path: Path) -> None:
    rewards = [
        {"name": "length_band", "as": "short", "weight": 2.0, "params": {"most": 12}},
        {"name": "pattern", "as": "digits", "params": {"pattern": r"^\d+$"}},
    ]
    knobs = {"steps": 3, "batch_size": 16, "attempts": 4, "max_completion_length": 12, "samples_every": 1}
    run = train(spec_of("grpo", write_rows(tmp_path / "rows.jsonl", sums(32)), knobs, rewards=rewards))
    for metrics in steps_of(run).values():
        assert metrics["reward/mean"] == pytest.approx(
            2 * metrics["reward/short/mean"] + metrics["reward/digits/mean"], abs=1e-5
        )
    shown = next(
        e for e in events.of_type(events.read_events(run.events), events.SampleEvent) if "advantage" in e.rows[0]
    )
    assert set(shown["rows"][0]["rewards"]) == {"short", "digits"}
    advantages = [row["advantage"] for row in shown["rows"]]
    assert sum(advantages) == pytest.approx(0, abs=1e-3), "attempts are compared with one another"


def test_a_result_reloads_and_answers_as_it_did_in_training(tmp_path: Path) -> None:
    knobs = FAST | {"eval_answers": 4, "eval_length": 24}
    run = train(
        spec_of("sft", write_rows(tmp_path / "rows.jsonl", chats(96)), knobs, prompts=["Are you sure?", "Hello"])
    )
    last = events.of_type(events.read_events(run.events), events.SampleEvent)[-1]
    with WorkerClient() as worker:  # one of this home
        said = worker.generate(
            run.id, [row["prompt"] for row in last.rows[:2]], with_base_model=True, max_new_tokens=24
        )
    assert said["tuned"] == [row["completion"] for row in last.rows[:2]]
    assert said["base"] != said["tuned"]


@pytest.mark.parametrize("kind", ["lora", "none"])
def test_a_run_goes_on_from_another_one(kind: str, tmp_path: Path) -> None:
    """From an adapter, and from a whole model with an adapter on top of it."""
    source = write_rows(tmp_path / "rows.jsonl", chats(96))
    first = train(spec_of("sft", source, FAST, adapter={"kind": kind}))
    job = job_of("sft", source, {"steps": 1}, tmp_path, model={"id": "pocket", "start_from": f"run:{first.id}"})
    assert in_process.losses(in_process.trained(job))[0] < 0.7 * losses(first)[0]
    assert (tmp_path / "adapter" / "adapter_config.json").exists()


def test_a_number_that_is_none_ends_the_run_with_advice(tmp_path: Path) -> None:
    """TRL's default would show this loss as 0.0."""
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(locate_model("pocket"), broken)
    tensors = load_file(broken / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    run = start(spec_of("sft", write_rows(tmp_path / "rows.jsonl", chats(32)), FAST, model={"id": str(broken)}))
    story = wait(run)
    assert story[-1].reason == "diverged"
    assert "learning rate" in story[-1].advice
    step = events.of_type(story, events.StepEvent)[0]
    assert step["metrics"]["train/loss"] is None
    assert "train/loss" in step["nonfinite"]


def test_a_budget_stops_and_saves(tmp_path: Path) -> None:
    spec = spec_of("sft", write_rows(tmp_path / "rows.jsonl", chats(96)), FAST | {"steps": 5000})
    run = train(spec, budget={"minutes": 0.05})
    assert events.last_event(run.events).why == "budget"
    assert (run.adapter / "adapter_model.safetensors").exists()


def test_a_reward_that_misses_its_column_fails_before_anything_starts(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", sums(8))
    with pytest.raises(Problem, match="`solution`"):
        spec_of("grpo", source, rewards=[{"name": "exact_match", "params": {"column": "solution"}}])
    assert not store.list_runs(local_workspace())


def test_out_of_memory_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real allocation that cannot be had: 100,000 answers at once of 100,000 tokens each."""
    rewards = [{"name": "length_band"}]
    knobs = {"steps": 1, "batch_size": 16_384, "attempts": 2, "max_completion_length": 100_000}
    run = start(spec_of("grpo", write_rows(tmp_path / "rows.jsonl", texts_as_prompts(8_200)), knobs, rewards=rewards))
    until(lambda: run.events.exists(), run=run)
    limit_memory(run)
    assert wait(run)[-1].reason == "out_of_memory"


def texts_as_prompts(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"Tell me about number {i}."} for i in range(count)]


def limit_memory(run: Run) -> None:
    """The engine may take 6 GB and no more, so that the test does not take the machine's."""
    import resource

    resource.prlimit(run.handle["pid"], resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))


def test_every_preset_is_known() -> None:
    assert {"first_tune", "first_reward"} <= set(registry.names("presets"))
