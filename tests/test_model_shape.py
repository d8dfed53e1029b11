"""Tests of the shapes of models: their counts of weights beside those of transformers' own models."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from app.core.problems import Problem
from app.setup.model_shape import read_model_shape

QWEN3 = {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936, "tie_word_embeddings": True}  # fmt: skip
LLAMA = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": True}  # fmt: skip


@pytest.mark.parametrize(("model_type", "fields"), [
    ("qwen3", QWEN3), ("llama", LLAMA), ("gpt2", {}), ("gemma3_text", {}), ("qwen3_moe", {}), ("gpt_oss", {}), ("phi3", {}), ("mistral", {}), ("mixtral", {}), ("olmo2", {}), ("deepseek_v3", {}),
])  # fmt: skip
def test_the_count_of_weights_is_that_of_the_real_model(model_type: str, fields: dict[str, Any]) -> None:
    config = AutoConfig.for_model(model_type, **fields)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    true_count = sum(parameter.numel() for parameter in model.parameters())
    assert read_model_shape(config.to_dict()).num_parameters == pytest.approx(true_count, rel=0.01)


def test_a_mixture_of_experts_computes_with_few_of_its_weights() -> None:
    shape = read_model_shape(AutoConfig.for_model("gpt_oss").to_dict())
    assert 4e9 < shape.active_parameters < 6e9 < 116e9 < shape.num_parameters


def test_a_vision_model_is_read_by_its_text_part() -> None:
    shape = read_model_shape({"model_type": "qwen2_5_vl", "vision_config": {}, "text_config": QWEN3})
    assert (shape.vision, shape.num_hidden_layers, shape.model_type) == (True, 28, "qwen2_5_vl")


@pytest.mark.parametrize("config", [{}, {"model_type": "bert"}, {"hidden_size": "wide"}, QWEN3 | {"num_attention_heads": 0, "head_dim": None}])  # fmt: skip
def test_a_configuration_that_says_too_little_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(Problem, match="does not say how large it is"):
        read_model_shape(config)
