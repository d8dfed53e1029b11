"""Features of a text: normalised hidden states of the frozen model at some depths, pooled to one vector."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from app.engine.tokens.length_batches import length_batches, map_batches, pad_texts

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, Trainer

    from app.engine.job import Job

Pooling = Literal["last_token", "mean_pooling", "completion_mean", "concat"]

_TOKENS_PER_BATCH = 8192  # in one forward pass, padding included
_QUARTERS = (1, 2, 3)  # of a text; pooling `concat` concatenates the states there


class FeatureNetwork:
    """The model before training: the base with its adapter disabled, or a frozen copy in full fine-tuning.

    depths: relative depths of the layers to read, 0 to 1. The adapter is never merged into the base.
    """

    def __init__(self, depths: list[float], pooling: Pooling, frozen_model: PreTrainedModel | None = None):
        self.depths, self.pooling, self.frozen_model = depths, pooling, frozen_model

    @contextlib.contextmanager
    def activate(self, trainer: Trainer) -> Iterator[PreTrainedModel]:
        """The network in eval mode on the trainer's device, without gradients."""
        import torch

        model = trainer.accelerator.unwrap_model(trainer.model)
        training = model.training
        with torch.no_grad(), trainer.compute_loss_context_manager():
            if self.frozen_model is not None:
                self.frozen_model.to(trainer.accelerator.device)
                yield self.frozen_model
                return
            model.eval()
            try:
                with model.disable_adapter():
                    yield model.get_base_model()
            finally:
                model.train(training)

    def layer_states(self, network: PreTrainedModel, input_ids: Tensor, **model_inputs: Tensor) -> Tensor:
        """(texts, tokens, depths × hidden size): the chosen layers' normalised hidden states, concatenated."""
        import torch
        from torch.nn.functional import normalize

        hidden_states = network.base_model(
            input_ids=input_ids, use_cache=False, output_hidden_states=True, **model_inputs
        ).hidden_states
        return torch.cat(
            [
                normalize(hidden_states[index].float(), dim=-1)
                for index in layer_indices(self.depths, len(hidden_states) - 1)
            ],
            dim=-1,
        )

    def text_features(self, trainer: Trainer, prompts: list[list[int]], completions: list[list[int]]) -> Tensor:
        """(texts, features) of each prompt with its completion.

        Equal texts are read once, so their features are exactly equal.
        """
        import torch

        texts = [(len(prompt), *prompt, *completion) for prompt, completion in zip(prompts, completions, strict=True)]
        unique_texts = sorted({*texts})
        with self.activate(trainer) as network:

            def read_batch(batch: list[tuple[int, ...]]) -> Tensor:
                input_ids, attention_mask = pad_texts([[*text[1:]] for text in batch], trainer.accelerator.device)
                states = self.layer_states(network, input_ids, attention_mask=attention_mask)
                completion_starts = torch.tensor([text[0] for text in batch], device=states.device)
                return pool(states, attention_mask.sum(-1), completion_starts, self.pooling)

            batches = token_batches([len(text) - 1 for text in unique_texts])
            features = dict(zip(unique_texts, map_batches(batches, unique_texts, read_batch), strict=True))
        return torch.stack([features[text] for text in texts])


def frozen_copy(job: Job) -> PreTrainedModel | None:
    """A frozen copy of the model; None for an adapter, which can be disabled instead, and in a preview."""
    if job.preview or job.peft_config or hasattr(job.model, "disable_adapter"):
        return None
    return copy.deepcopy(job.model).requires_grad_(False).eval()


def layer_indices(depths: list[float], layer_count: int) -> list[int]:
    """Indices of these depths among the hidden states: 0 is the embedding, `layer_count` the last layer's output."""
    return sorted({int(depth * layer_count) for depth in depths})


def token_batches(lengths: Sequence[int]) -> list[list[int]]:
    """Indices of the texts with these lengths in batches, the longest first.

    A batch has at most _TOKENS_PER_BATCH tokens, if each of its texts were as long as the longest of all.
    """
    return length_batches(lengths, _TOKENS_PER_BATCH // max([1, *lengths]), longest_first=True)


def pool(states: Tensor, lengths: Tensor, completion_starts: Tensor, pooling: Pooling) -> Tensor:
    """One vector for each text from states (texts, tokens, width).

    lengths: tokens without padding, of prompt and completion.
    """
    import torch

    rows, positions = (
        torch.arange(len(states), device=states.device),
        torch.arange(states.shape[1], device=states.device),
    )
    if pooling == "last_token":
        return states[rows, lengths - 1]
    if pooling == "concat":
        return torch.cat([states[rows, lengths * quarter // 4] for quarter in _QUARTERS], dim=-1)
    pooled_mask = positions < lengths[:, None]
    if pooling == "completion_mean":
        pooled_mask &= positions >= completion_starts[:, None]
    return (states * pooled_mask[..., None]).sum(1) / pooled_mask.sum(1, keepdim=True).clamp(min=1)
