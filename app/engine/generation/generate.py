"""Completions of prompts as text, and what evaluation during a run needs around them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

from app.data.conversations.messages import Messages
from app.data.row_types import as_messages
from app.engine.contracts import SamplingSettings, TextGenerator
from app.engine.generation.transformers_generator import TransformersGenerator, single_batch

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module, Parameter
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SavedWeights: TypeAlias = "list[tuple[Parameter, Tensor]]"  # (parameter, copy of its values)


def generate_completions(
    generator: TextGenerator, prompts: Sequence[str | Messages], sampling: SamplingSettings, *, chat: bool = True
) -> list[str]:
    """One completion for each prompt.

    chat: plain strings go through the chat template; otherwise the model continues them as text.
    """
    texts = [render_prompt(generator.tokenizer, prompt, chat) for prompt in prompts]
    return [completion.text for completion in generator.generate(texts, sampling)]


def render_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str | Messages, chat: bool) -> str:
    """The prompt as the model reads it, up to where its completion begins."""
    if isinstance(prompt, str) and not (chat and tokenizer.chat_template):
        return prompt
    messages = as_messages(prompt, "user")
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def complete_in_one_batch(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: list[str], max_new_tokens: int
) -> list[str]:
    """The greedy completion of each rendered text."""
    generator = TransformersGenerator(model, tokenizer, make_batches=single_batch)
    return [
        completion.text for completion in generator.generate(texts, SamplingSettings(max_new_tokens=max_new_tokens))
    ]


@contextlib.contextmanager
def preserve_rng_eval(model: Module) -> Iterator[None]:
    """Eval mode; afterwards all random generators are restored, so that evaluation does not change training."""
    import numpy
    import torch

    was_training, rng_states = model.training, (random.getstate(), numpy.random.get_state())
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        model.eval()
        try:
            yield
        finally:
            model.train(was_training)
            random.setstate(rng_states[0])
            numpy.random.set_state(rng_states[1])


def copy_trained_weights(model: Module) -> SavedWeights:
    """(parameter, copy of its values) for each trained parameter: a few megabytes for an adapter."""
    return [(weight, weight.detach().clone()) for weight in model.parameters() if weight.requires_grad]


@contextlib.contextmanager
def swapped_weights(saved_weights: SavedWeights) -> Iterator[None]:
    """The model with its saved weights; the current tensors themselves come back afterwards."""
    current_weights = [weight.data for weight, _ in saved_weights]
    for weight, saved in saved_weights:
        weight.data = saved
    try:
        yield
    finally:
        for (weight, _), current in zip(saved_weights, current_weights, strict=True):
            weight.data = current
