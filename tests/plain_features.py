"""The EBFT reward as a plain TRL reward function, written from the paper. Imports no Tunesmith code.

Four completions for each prompt; features of the frozen practice model at layers 1, 2 and 3 of 4, at the last token.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

MODEL, GROUP_SIZE = str(Path(__file__).parents[1] / "presets" / "pocket"), 4


@lru_cache
def load_model_and_tokenizer() -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(MODEL)


def embed(token_ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        hidden_states = load_model_and_tokenizer()[0](
            torch.tensor([token_ids]), output_hidden_states=True
        ).hidden_states
    return torch.cat([hidden_states[layer][0, -1] / hidden_states[layer][0, -1].norm() for layer in (1, 2, 3)])


def whitened_feature_reward(
    prompts: list[Any], completion_ids: list[list[int]], truth: list[Any], **_: Any
) -> list[float]:
    tokenizer, rewards = load_model_and_tokenizer()[1], []
    for start in range(0, len(prompts), GROUP_SIZE):
        prompt_ids = tokenizer.apply_chat_template(prompts[start], add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
        reference_ids = tokenizer.apply_chat_template(prompts[start] + truth[start], return_dict=True)["input_ids"]
        reference = embed(reference_ids[:-1])  # the chat template writes a line break after the end token
        group = [embed(prompt_ids + completion_ids[i]) for i in range(start, start + GROUP_SIZE)]
        group, reference = whiten(group, reference)
        for j, embedding in enumerate(group):
            cosine = embedding @ reference / (embedding.norm() * reference.norm())
            similarity_to_others = sum(embedding @ other for k, other in enumerate(group) if k != j) / (GROUP_SIZE - 1)
            rewards.append(float(2 * cosine - 2 * similarity_to_others))
    return rewards


def whiten(group: list[torch.Tensor], reference: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    u, s, _ = torch.linalg.svd(torch.stack(group, dim=1), full_matrices=False)
    nonzero = s > 1e-3 * s[0]
    whitening_matrix = u[:, nonzero] @ torch.diag(1 / s[nonzero]) @ u[:, nonzero].T
    return [whitening_matrix @ embedding for embedding in group], whitening_matrix @ reference
