"""Scoring: what a model that scores gives to texts, in batches; used by tests during a run, by rewards and by Try."""

from __future__ import annotations

import math
from typing import Any

POSITIONS = 16_384  # that are computed at once


def scores(model: Any, texts: list[list[int]]) -> list[float]:
    """One number for each text of tokens, read where the model's own class reads it: at its last token."""
    found: dict[int, float] = {}
    for part in batched(texts):
        logits = logits_of(model, [texts[i] for i in part])
        found |= dict(zip(part, logits[:, 0].float().tolist(), strict=True))
    return [found[i] for i in range(len(texts))]


def batched(texts: list[list[int]]) -> list[list[int]]:
    """Numbers of texts, alike lengths together, as many as fit in POSITIONS."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]), reverse=True)
    parts = []
    while order:
        count = max(1, POSITIONS // max(1, len(texts[order[0]])))
        parts.append(order[:count])
        order = order[count:]
    return parts


def logits_of(model: Any, texts: list[list[int]]) -> Any:
    """The model's answer to a batch: texts are filled up on the right with the token that its configuration says."""
    import torch

    longest = max(len(text) for text in texts)
    fill = model.config.get_text_config().pad_token_id or 0
    ids = torch.tensor([text + [fill] * (longest - len(text)) for text in texts], device=model.device)
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts], device=model.device)
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask).logits


def words(turns: Any) -> str:
    """The text of a string or of the last of its turns."""
    return turns if isinstance(turns, str) else str(turns[-1]["content"]) if turns else ""


def sigmoid(value: float) -> float:
    """Any number as one between 0 and 1."""
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))
