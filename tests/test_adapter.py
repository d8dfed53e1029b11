"""Adapter: exactly the layers named in the spec are trained, and an unknown layer name is refused with the nearest name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from tests.in_process import (
    build_job,
    logged_losses,
    logits,
    preview_batches,
    save_moe_model,
    train_job,
    trainable_parameter_names,
)


@pytest.fixture(scope="module")
def moe_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_moe_model(tmp_path_factory.mktemp("models") / "mixture")


@pytest.mark.slow
def test_exactly_the_unfrozen_layers_are_trained_with_and_without_an_adapter(tmp_path: Path) -> None:
    from app.engine.model.load_model import real_model

    adapter_job = build_job(tmp_path, adapter={"unfreeze": ["layers.3.mlp", "model.norm"], "targets": "q_proj"})
    trainable_names = trainable_parameter_names(adapter_job.method.build(adapter_job).model)
    unfrozen_names = {name for name in trainable_names if "modules_to_save" in name}
    assert len(unfrozen_names) == 4
    assert all("layers.3.mlp." in name or "model.norm." in name for name in unfrozen_names)
    assert all(".q_proj.lora_" in name for name in trainable_names - unfrozen_names)
    trainable_names_without_adapter = trainable_parameter_names(
        real_model(build_job(tmp_path, adapter={"kind": "none", "unfreeze": ["layers.1"]}))
    )
    assert len(trainable_names_without_adapter) == 11
    assert all(name.startswith("model.layers.1.") for name in trainable_names_without_adapter)


@pytest.mark.slow
def test_layer_globs_match_whole_segments(tmp_path: Path) -> None:
    adapter = {"targets": "layers.*.q_proj,layers.1.mlp.*,layers.*2.self_attn.v_*"}
    job = build_job(tmp_path, adapter=adapter)
    model = job.method.build(job).model
    adapted_names = {name.partition(".lora_A")[0] for name in trainable_parameter_names(model) if "lora_A" in name}
    assert {name.removeprefix("base_model.model.model.") for name in adapted_names} == {
        *(f"layers.{index}.self_attn.q_proj" for index in range(model.config.num_hidden_layers)),
        *(f"layers.1.mlp.{name}" for name in ("gate_proj", "up_proj", "down_proj")),
        "layers.2.self_attn.v_proj",
    }


REFUSED_ADAPTERS = [
    (
        {"targets": "layers.*.q_porj"},
        "no layer called “layers.*.q_porj” that can carry an adapter. Did you mean “layers.*.q_proj”",
    ),
    (
        {"targets": "layers.9.q_proj"},
        "no layer called “layers.9.q_proj” that can carry an adapter. Did you mean “layers.*.self_attn.q_proj”",
    ),
    ({"targets": "q_proj,lm_h*"}, "The output layer “lm_h*” cannot carry an adapter. Unfreeze it instead"),
    ({"targets": "xxxxxxxx"}, "no layer called “xxxxxxxx” that can carry an adapter. Some that there are: "),
    ({"targets": "q_porj"}, "no layer called “q_porj” that can carry an adapter. Did you mean “q_proj”"),
    ({"targets": "lm_head"}, "The output layer “lm_head” cannot carry an adapter. Unfreeze it instead"),
    ({"unfreeze": ["embed_token"]}, "no layer called “embed_token” in this model. Did you mean “embed_tokens”"),
    ({"unfreeze": ["layers.3*0"]}, "no layer called “layers.3*0”"),
    (
        {"experts": ["mlp.experts.gate_up_proj"]},
        "no stack of experts called “mlp.experts.gate_up_proj” in this model. It has none",
    ),
]


@pytest.mark.parametrize(("adapter", "expected_text"), REFUSED_ADAPTERS)
def test_unknown_layer_names_are_refused_with_the_nearest_name(adapter: dict[str, Any], expected_text: str, tmp_path: Path) -> None:  # fmt: skip
    with pytest.raises(Problem) as error:
        preview_batches(build_job(tmp_path, adapter=adapter))
    assert expected_text in str(error.value)


@pytest.mark.slow
def test_expert_stacks_get_adapters_by_parameter_name(moe_model_folder: Path, tmp_path: Path) -> None:
    from app.engine.model.load_model import load_tuned

    trainer = train_job(
        build_job(tmp_path, {"id": str(moe_model_folder)}, {"experts": ["mlp.experts.*"]}, learning_rate=2e-2)
    )
    assert sum("experts" in name for name in trainable_parameter_names(trainer.model)) == 8, (
        "two expert stacks in each of two layers, two LoRA matrices for each stack"
    )
    assert logged_losses(trainer)[-1] < logged_losses(trainer)[0] - 0.1
    loaded_model, tokenizer = load_tuned(tmp_path / "adapter")
    assert float((logits(trainer.model, tokenizer) - logits(loaded_model, tokenizer)).abs().max()) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(("adapter", "expected_text"), [
    ({"experts": ["mlp.experts.gate_up_porj"]}, "Did you mean “mlp.experts.gate_up_proj”"),
    ({"experts": ["experts.down_proj"], "dropout": 0.1}, "cannot carry an adapter with dropout"),
    ({"experts": ["experts.down_proj"], "kind": "dora"}, "cannot carry an adapter of the kind dora"),
])  # fmt: skip
def test_unsupported_adapters_of_experts_are_refused(adapter: dict[str, Any], expected_text: str, moe_model_folder: Path, tmp_path: Path) -> None:  # fmt: skip
    with pytest.raises(Problem) as error:
        preview_batches(build_job(tmp_path, {"id": str(moe_model_folder)}, adapter))
    assert expected_text in str(error.value)
