"""Optimizers and rates of single weights: equal to the libraries' own, and exact after a resume."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.planning import preflight
from app.setup.spec import parse_spec
from tests.support import conversation_rows, write_rows
from tests.test_training_args import build_trainer, logged_metric

SETTINGS = {"lr": 0.01, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}


def small_model() -> Any:
    """An embedding, a matrix with a bias, and a head of one row."""
    import torch

    torch.manual_seed(7)
    return torch.nn.Sequential(torch.nn.Embedding(11, 6), torch.nn.Linear(6, 8), torch.nn.Linear(8, 1, bias=False))


def take_steps(model: Any, optimizers: list[Any], count: int) -> None:
    """Steps on one fixed batch."""
    import torch

    for _ in range(count):
        model(torch.arange(11)).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
        model.zero_grad()


def muon_with_adamw(model: Any) -> Any:
    from app.engine.trainers.muon import MuonWithAdamW

    return MuonWithAdamW(model.parameters(), tables=[model[0].weight], **SETTINGS)


@pytest.mark.slow
def test_muon_corrects_matrices_and_adamw_the_rest_as_in_pytorch() -> None:
    import torch

    model = small_model()
    twin = copy.deepcopy(model)
    initial_weights = [weight.clone() for weight in model.parameters()]
    take_steps(model, [muon_with_adamw(model)], 3)
    muon = torch.optim.Muon([twin[1].weight], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([twin[0].weight, twin[1].bias, twin[2].weight], **SETTINGS)
    take_steps(twin, [muon, adamw], 3)
    for weight, expected, initial in zip(model.parameters(), twin.parameters(), initial_weights, strict=True):
        assert weight.equal(expected)
        assert not weight.equal(initial)


@pytest.mark.slow
def test_muon_goes_on_exactly_after_its_state_was_stored() -> None:
    model = small_model()
    optimizer = muon_with_adamw(model)
    take_steps(model, [optimizer], 2)
    twin, state = copy.deepcopy(model), copy.deepcopy(optimizer.state_dict())
    resumed = muon_with_adamw(twin)
    resumed.load_state_dict(state)
    take_steps(model, [optimizer], 2)
    take_steps(twin, [resumed], 2)
    assert all(a.equal(b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))


@pytest.mark.slow
def test_weights_added_later_have_their_own_rate() -> None:
    """PPO adds those of its critic."""
    model, critic = small_model(), small_model()
    optimizer = muon_with_adamw(model)
    optimizer.add_param_group({"params": [*critic.parameters()], "lr": 0.5, "weight_decay": 0.0})
    assert [(group["algorithm"], group["lr"], len(group["params"])) for group in optimizer.param_groups] == [
        ("muon", 0.01, 1), ("adamw", 0.01, 3), ("muon", 0.5, 2), ("adamw", 0.5, 2)]  # fmt: skip


@pytest.fixture(scope="module")
def chat_source(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_rows(tmp_path_factory.mktemp("rows") / "chats.jsonl", conversation_rows(64))


def rates_by_name(trainer: Any, optimizer: Any) -> dict[str, float]:
    names = {weight: name for name, weight in trainer.model.named_parameters()}
    return {names[weight]: group["lr"] for group in optimizer.param_groups for weight in group["params"]}


@pytest.mark.slow
def test_loraplus_trains_as_with_the_optimizer_of_peft(chat_source: str, tmp_path: Path) -> None:
    import torch
    from peft.optimizers import create_loraplus_optimizer

    ours = build_trainer(chat_source, tmp_path, loraplus_lr_ratio=16.0)
    rates = rates_by_name(ours, ours.create_optimizer())
    assert {*rates.values()} == {1e-3, 16e-3}
    ours.train()
    assert logged_metric(ours, "learning_rate")[0] == 1e-3, "the log shows the setting's rate"

    theirs = build_trainer(chat_source, tmp_path)
    theirs.optimizer = create_loraplus_optimizer(
        theirs.model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16.0, fused=True
    )
    assert rates == rates_by_name(theirs, theirs.optimizer)
    theirs.train()
    assert logged_metric(ours) == pytest.approx(logged_metric(theirs), rel=1e-6)


@pytest.mark.slow
def test_new_tokens_learn_at_the_rate_of_embeddings(chat_source: str, tmp_path: Path) -> None:
    trainer = build_trainer(
        chat_source, tmp_path, {"model": {"id": "pocket", "new_tokens": [" it is"]}}, embedding_learning_rate=1e-5
    )
    rates = rates_by_name(trainer, trainer.create_optimizer())
    slow = {name for name, rate in rates.items() if rate == 1e-5}
    assert slow
    assert all("trainable_tokens_delta" in name for name in slow)
    assert {rate for name, rate in rates.items() if name not in slow} == {1e-3}


@pytest.mark.slow
def test_a_rate_of_embeddings_beside_other_trained_layers_is_refused(chat_source: str, tmp_path: Path) -> None:
    fields = {"adapter": {"kind": "lora", "unfreeze": ["layers.1.mlp"]}}
    trainer = build_trainer(chat_source, tmp_path, fields, embedding_learning_rate=1e-5)
    with pytest.raises(Problem, match="none of the trained layers is one"):
        trainer.create_optimizer()


@pytest.mark.slow
def test_without_special_rates_the_groups_are_those_of_transformers(chat_source: str, tmp_path: Path) -> None:
    from transformers import Trainer

    trainer = build_trainer(chat_source, tmp_path)
    groups = trainer.create_optimizer().param_groups
    trainer.optimizer = None
    expected_groups = Trainer.create_optimizer(trainer).param_groups
    assert [group | {"params": len(group["params"])} for group in groups] == [
        group | {"params": len(group["params"])} for group in expected_groups
    ]


@pytest.mark.slow
@pytest.mark.timeout(900)  # Muon on a processor without bfloat16
@pytest.mark.first_cases(1)
@pytest.mark.parametrize("trained", ["adapter", "some matrices and embeddings"])
def test_a_resumed_run_with_muon_and_rates_equals_an_uninterrupted_one(
    trained: str, chat_source: str, tmp_path: Path
) -> None:
    """Few matrices: in PyTorch, Muon computes in bfloat16, which many processors are slow at."""
    knobs: dict[str, Any] = {"optimizer": "muon", "warmup_steps": 2, "adam_beta2": 0.95, "loraplus_lr_ratio": 4.0}
    fields: dict[str, Any] = {}
    if trained != "adapter":
        knobs |= {"loraplus_lr_ratio": 1.0, "embedding_learning_rate": 1e-4}
        fields = {"adapter": {"kind": "none", "unfreeze": ["layers.3.self_attn", "embed_tokens"]}}
    uninterrupted = build_trainer(chat_source, tmp_path, fields, **knobs)
    uninterrupted.train()
    losses = logged_metric(uninterrupted)
    assert type(uninterrupted.optimizer.optimizer).__name__ == "MuonWithAdamW"
    assert losses[-1] != losses[0]
    resumed = build_trainer(chat_source, tmp_path, fields, **knobs)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoints" / "checkpoint-3"))
    assert logged_metric(resumed) == pytest.approx(losses, rel=1e-6)
    for weight, expected in zip(resumed.model.parameters(), uninterrupted.model.parameters(), strict=True):
        assert weight.equal(expected)


def test_rates_of_weights_that_are_not_trained_are_refused(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", conversation_rows(10))
    fields = {"method": "sft", "data": [{"source": source}], "knobs": {"loraplus_lr_ratio": 16}}
    assert preflight.check_spec(parse_spec(fields)).knobs["loraplus_lr_ratio"] == 16
    for kind in ("none", "ia3"):
        with pytest.raises(Problem, match="trains no LoRA adapter"):
            preflight.check_spec(parse_spec(fields | {"adapter": {"kind": kind}}))
    fields |= {"knobs": {"embedding_learning_rate": 1e-5}}
    with pytest.raises(Problem, match="Embeddings are given a learning rate of their own, and this setup trains none"):
        preflight.check_spec(parse_spec(fields))
    assert preflight.check_spec(parse_spec(fields | {"adapter": {"unfreeze": ["embed_tokens"]}}))
