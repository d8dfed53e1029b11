"""Plain features: a reward for TRL that somebody would write by hand after reading about EBFT. It imports nothing of ours.

Four attempts at each prompt; features of the untouched practice model at layers 1, 2 and 3 of 4, at the last token.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

MODEL, ATTEMPTS = str(Path(__file__).parents[1] / "presets" / "pocket"), 4


@lru_cache
def loaded() -> tuple[Any, Any]:
    return AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(MODEL)


def embed(ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        states = loaded()[0](torch.tensor([ids]), output_hidden_states=True).hidden_states
    return torch.cat([states[layer][0, -1] / states[layer][0, -1].norm() for layer in (1, 2, 3)])


def whitened_meaning(prompts: list[Any], completion_ids: list[list[int]], truth: list[Any], **_: Any) -> list[float]:
    tokenizer, rewards = loaded()[1], []
    for start in range(0, len(prompts), ATTEMPTS):
        asked = tokenizer.apply_chat_template(prompts[start], add_generation_prompt=True, return_dict=True)["input_ids"]
        whole = tokenizer.apply_chat_template(prompts[start] + truth[start], return_dict=True)["input_ids"]
        right = embed(whole[:-1])  # the format writes a line break after the end token
        group = [embed(asked + completion_ids[i]) for i in range(start, start + ATTEMPTS)]
        group, right = whitened(group, right)
        for j, one in enumerate(group):
            cosine = one @ right / (one.norm() * right.norm())
            others = sum(one @ other for k, other in enumerate(group) if k != j) / (ATTEMPTS - 1)
            rewards.append(float(2 * cosine - 2 * others))
    return rewards


def whitened(group: list[torch.Tensor], right: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
    u, s, _ = torch.linalg.svd(torch.stack(group, dim=1), full_matrices=False)
    keep = s > 1e-3 * s[0]
    matrix = u[:, keep] @ torch.diag(1 / s[keep]) @ u[:, keep].T
    return [matrix @ one for one in group], matrix @ right
