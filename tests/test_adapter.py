"""Adapter: the layers that are trained are those that were named, and what is not there is refused by the nearest name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from tests.in_process import job_of, learned, logits, losses, mixture, previewed, trained


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return mixture(tmp_path_factory.mktemp("models") / "mixture")


@pytest.mark.slow
def test_layers_beside_an_adapter_and_alone_are_those_that_were_named(tmp_path: Path) -> None:
    from app.engine.model.load_model import real_model

    beside = job_of(tmp_path, adapter={"unfreeze": ["layers.3.mlp", "model.norm"], "targets": "q_proj"})
    found = learned(beside.method.build(beside).model)
    whole = {name for name in found if "modules_to_save" in name}
    assert len(whole) == 4
    assert all("layers.3.mlp." in name or "model.norm." in name for name in whole)
    assert all(".q_proj.lora_" in name for name in found - whole)
    alone = learned(real_model(job_of(tmp_path, adapter={"kind": "none", "unfreeze": ["layers.1"]})))
    assert len(alone) == 11
    assert all(name.startswith("model.layers.1.") for name in alone)


REFUSED = [
    ({"targets": "q_porj"}, "no layer called “q_porj” that can carry an adapter. Did you mean “q_proj”"),
    ({"targets": "lm_head"}, "The output layer “lm_head” cannot carry an adapter. Unfreeze it instead"),
    ({"unfreeze": ["embed_token"]}, "no layer called “embed_token” in this model. Did you mean “embed_tokens”"),
    ({"unfreeze": ["layers.3*0"]}, "no layer called “layers.3*0”"),
    (
        {"experts": ["mlp.experts.gate_up_proj"]},
        "no stack of experts called “mlp.experts.gate_up_proj” in this model. It has none",
    ),
]


@pytest.mark.parametrize(("adapter", "said"), REFUSED)
def test_what_is_not_there_is_refused_with_the_nearest_name(adapter: dict[str, Any], said: str, tmp_path: Path) -> None:  # fmt: skip
    with pytest.raises(Problem) as refusal:
        previewed(job_of(tmp_path, adapter=adapter))
    assert said in str(refusal.value)


@pytest.mark.slow
def test_stacks_of_experts_get_adapters_by_their_own_names(mixed: Path, tmp_path: Path) -> None:
    from app.engine.model.load_model import load_tuned

    trainer = trained(job_of(tmp_path, {"id": str(mixed)}, {"experts": ["mlp.experts.*"]}, learning_rate=2e-2))
    assert sum("experts" in name for name in learned(trainer.model)) == 8, "two stacks in two layers, two matrices each"
    assert losses(trainer)[-1] < losses(trainer)[0] - 0.1
    loaded, tokenizer = load_tuned(tmp_path / "adapter")
    assert float((logits(trainer.model, tokenizer) - logits(loaded, tokenizer)).abs().max()) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("adapter", "said"), [
    ({"experts": ["mlp.experts.gate_up_porj"]}, "Did you mean “mlp.experts.gate_up_proj”"),
    ({"experts": ["experts.down_proj"], "dropout": 0.1}, "cannot carry an adapter with dropout"),
    ({"experts": ["experts.down_proj"], "kind": "dora"}, "cannot carry an adapter of the kind dora"),
])  # fmt: skip
def test_experts_that_cannot_be_trained_so_are_refused(adapter: dict[str, Any], said: str, mixed: Path, tmp_path: Path) -> None:  # fmt: skip
    with pytest.raises(Problem) as refusal:
        previewed(job_of(tmp_path, {"id": str(mixed)}, adapter))
    assert said in str(refusal.value)
