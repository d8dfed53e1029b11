"""Tokens that end a completion: which they are, and where in token ids a completion ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GenerationConfig, PreTrainedTokenizerBase


class HasGenerationConfig(Protocol):
    """A model that generates, or a trainer that holds the configuration it generates with."""

    generation_config: GenerationConfig


def declared_end_token_ids(model: HasGenerationConfig) -> list[int]:
    """The end tokens of the model's generation config, at which `generate` stops unless it is given others."""
    declared = model.generation_config.eos_token_id
    return [*declared] if isinstance(declared, list) else [] if declared is None else [declared]


def add_end_tokens(model: HasGenerationConfig, token_ids: list[int]) -> None:
    """Lets `generate` stop at these tokens too, also after the model is saved and loaded as a whole."""
    if not token_ids:  # as of a model that gives scores, which has no such config
        return
    declared = declared_end_token_ids(model)
    if new_ids := [token_id for token_id in token_ids if token_id not in declared]:
        model.generation_config.eos_token_id = [*declared, *new_ids]


def end_token_ids_of(model: HasGenerationConfig, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Every token that ends a completion: the tokenizer's own first, then the others of the model's generation config."""
    eos_token_id = tokenizer.eos_token_id
    eos_ids = [] if eos_token_id is None else [eos_token_id]
    return [*eos_ids, *(token_id for token_id in declared_end_token_ids(model) if token_id != eos_token_id)]


def cut_after_first_end(token_ids: list[int], end_token_ids: list[int]) -> list[int]:
    """Up to and including the first end token."""
    end_position = next(
        (position for position, token_id in enumerate(token_ids) if token_id in end_token_ids), len(token_ids) - 1
    )
    return token_ids[: end_position + 1]


def mask_until_end(token_ids: Tensor, end_token_ids: list[int]) -> Tensor:
    """Completion mask (…, tokens) of token ids of that shape: True up to and including the first end token."""
    import torch

    is_end_token = torch.isin(token_ids, torch.tensor(end_token_ids, device=token_ids.device)).long()
    return is_end_token.cumsum(-1) - is_end_token == 0
