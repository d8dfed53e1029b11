"""Features: what the untouched model makes of a text: its inner states at some depths, each of length 1, pooled to one vector."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

TOKENS = 8192  # read at once
POOLINGS = ("last_token", "mean_pooling", "completion_mean", "concat")
PLACES = (1, 2, 3)  # quarters of a text, whose states `concat` puts side by side


class Network:
    """The model before training, which never changes: the base with its adapter disabled, or a frozen copy where all weights are
    trained. Nothing is ever merged into the base."""

    def __init__(self, depths: list[float], pooling: str, frozen: Any = None):
        self.depths, self.pooling, self.frozen = depths, pooling, frozen

    @contextlib.contextmanager
    def of(self, trainer: Any) -> Iterator[Any]:
        """The network, at rest, on the trainer's device."""
        import torch

        model = trainer.accelerator.unwrap_model(trainer.model)
        training = model.training
        with torch.no_grad(), trainer.compute_loss_context_manager():
            if self.frozen is not None:
                self.frozen.to(trainer.accelerator.device)
                yield self.frozen
                return
            model.eval()
            try:
                with model.disable_adapter():
                    yield model.get_base_model()
            finally:
                model.train(training)

    def states(self, network: Any, ids: Any, **reading: Any) -> Any:
        """(texts, tokens, depths × width): the chosen layers' states, each divided by its length, side by side."""
        import torch
        from torch.nn.functional import normalize

        seen = network.base_model(input_ids=ids, use_cache=False, output_hidden_states=True, **reading).hidden_states
        return torch.cat([normalize(seen[i].float(), dim=-1) for i in layers(self.depths, len(seen) - 1)], dim=-1)

    def texts(self, trainer: Any, prompts: list[list[int]], answers: list[list[int]]) -> Any:
        """(texts, features) of each prompt with its answer. Alike texts are read once, so that they have the very same features."""
        import torch

        whole = [(len(prompt), *prompt, *answer) for prompt, answer in zip(prompts, answers, strict=True)]
        order = sorted({*whole}, key=lambda text: (-len(text), text))  # alike lengths together
        found: dict[tuple[int, ...], Any] = {}
        with self.of(trainer) as network:
            for part in pieces(order, len(order[0]) - 1):
                ids, mask = padded([[*text[1:]] for text in part], trainer.accelerator.device)
                states = self.states(network, ids, attention_mask=mask)
                starts = torch.tensor([text[0] for text in part], device=states.device)
                found |= dict(zip(part, pooled(states, mask.sum(-1), starts, self.pooling), strict=True))
        return torch.stack([found[text] for text in whole])


def frozen_copy(job: Any) -> Any:
    """Of the model before its training; None beside an adapter, which is simply switched off, and in a preview."""
    if job.preview or job.peft_config or hasattr(job.model, "disable_adapter"):
        return None
    return copy.deepcopy(job.model).requires_grad_(False).eval()


def layers(depths: list[float], count: int) -> list[int]:
    """The places of these depths among a model's states: 0 before its first layer, `count` after its last."""
    return sorted({int(depth * count) for depth in depths})


def pieces(order: list[Any], longest: int) -> list[list[Any]]:
    """So many texts at a time that no more than TOKENS are read at once."""
    size = max(1, TOKENS // max(1, longest))
    return [order[start : start + size] for start in range(0, len(order), size)]


def padded(texts: list[list[int]], device: Any) -> tuple[Any, Any]:
    """(ids, mask) of shape (texts, longest), filled up on the right."""
    import torch

    longest = max(len(text) for text in texts)
    ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts], device=device)
    mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts], device=device)
    return ids, mask


def pooled(states: Any, lengths: Any, starts: Any, pooling: str) -> Any:
    """One vector a text, of states (texts, tokens, width). Of each text the first `lengths` tokens count, the answer from `starts` on."""
    import torch

    rows, places = torch.arange(len(states), device=states.device), torch.arange(states.shape[1], device=states.device)
    if pooling == "last_token":
        return states[rows, lengths - 1]
    if pooling == "concat":
        return torch.cat([states[rows, lengths * quarter // 4] for quarter in PLACES], dim=-1)
    counted = places < lengths[:, None]
    if pooling == "completion_mean":
        counted &= places >= starts[:, None]
    return (states * counted[..., None]).sum(1) / counted.sum(1, keepdim=True).clamp(min=1)
