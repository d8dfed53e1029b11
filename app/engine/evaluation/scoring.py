"""Batched scoring of texts with reward models and process reward models.

Used by evaluation, rewards and score queries.
"""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.json_types import JsonObject
from app.core.problems import Problem
from app.data.conversations.messages import Messages, content_text
from app.data.row_types import as_messages
from app.engine.model.model_files import find_model_file, locate_model_files, read_json_file
from app.engine.tokens.length_batches import length_batches, map_batches, pad_texts
from app.runs import adapters

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from app.engine.contracts import Trainer

_MAX_POSITIONS = 16_384  # tokens in one forward pass, padding included


def score_texts(model: PreTrainedModel, texts: list[list[int]]) -> list[float]:
    """One score for each tokenized text, which the model's class reads at the text's last token."""
    return map_batches(_batches(texts), texts, lambda batch: _padded_logits(model, batch)[:, 0].float().tolist())


def step_probabilities(model: PreTrainedModel, texts: list[list[int]]) -> list[list[float]]:
    """For each token of each text the probability that a step ending there is right."""
    probabilities = map_batches(
        _batches(texts), texts, lambda batch: _padded_logits(model, batch).float().softmax(-1)[..., 1].tolist()
    )
    return [row[: len(text)] for row, text in zip(probabilities, texts, strict=True)]


def first_held_out_rows(trainer: Trainer, count: int) -> Dataset:
    """The first rows, at most `count`, of a trainer with held-out rows, tokenized."""
    rows = trainer.eval_dataset
    assert rows is not None, "samples are taken of held-out rows only"
    return rows.select(range(min(count, len(rows))))


def format_verdict(probability: float) -> str:
    """“right (93 %)”, “wrong (80 %)”: the likelier of the two, and how likely it is."""
    return f"right ({probability:.0%})" if probability > 0.5 else f"wrong ({1 - probability:.0%})"


def _batches(texts: list[list[int]]) -> list[list[int]]:
    """Batches of text indices, as many as fit in _MAX_POSITIONS."""
    return length_batches(
        [len(text) for text in texts], lambda longest: _MAX_POSITIONS // max(1, longest), longest_first=True
    )


def _padded_logits(model: PreTrainedModel, texts: list[list[int]]) -> Tensor:
    """Logits of a batch, padded on the right with the pad token of the model's configuration (0 without one)."""
    import torch

    pad_token_id = model.config.get_text_config().pad_token_id or 0
    input_ids, attention_mask = pad_texts(texts, model.device, pad_token_id)
    with torch.no_grad():
        return model(input_ids=input_ids, attention_mask=attention_mask).logits


def sigmoid(number: float) -> float:
    """The logistic function, which does not overflow for large negative numbers."""
    return 1 / (1 + math.exp(-number)) if number >= 0 else math.exp(number) / (1 + math.exp(number))


# -- a reward model by its name ------------------------------------------------------------------------------------


def score_with_model(name: str, device: str, prompts: list[str | Messages], answers: list[str]) -> list[float | None]:
    """The named model's score of each answer to its prompt; None for a text longer than its maximum. Raises Problem."""
    location = adapters.locate_model_or_adapter(name)
    model, tokenizer = _load_scoring_model(location, _modification_stamp(location), device)
    texts = [tokenize_pair(tokenizer, *pair) for pair in zip(prompts, answers, strict=True)]
    readable = [index for index, text in enumerate(texts) if len(text) <= max_input_length(model)]
    scores_by_index = dict(zip(readable, score_texts(model, [texts[index] for index in readable]), strict=True))
    return [scores_by_index.get(index) for index in range(len(texts))]


def max_input_length(model: PreTrainedModel) -> float:
    """The most tokens the model can read; infinity where it declares no maximum."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or math.inf


def tokenize_pair(tokenizer: PreTrainedTokenizerBase, prompt: str | Messages, answer: str) -> list[int]:
    """Token ids of prompt and answer as the model was trained to read them.

    With its chat template where it has one; as a pair of texts for bidirectional models, whose tokenizer has a CLS
    token; otherwise as plain text with an end-of-sequence token.
    """
    messages = as_messages(prompt, "user")
    if tokenizer.chat_template:
        rendered_text = tokenizer.apply_chat_template(
            [*messages, {"role": "assistant", "content": answer}], tokenize=False
        )
        return tokenizer(rendered_text, add_special_tokens=False)["input_ids"]
    prompt_text = (
        prompt if isinstance(prompt, str) else "\n".join(content_text(message["content"]) for message in messages)
    )
    if tokenizer.cls_token_id is not None:
        return tokenizer(prompt_text, answer)["input_ids"]
    completed_answer = answer if answer.endswith(tokenizer.eos_token or "") else answer + tokenizer.eos_token
    return tokenizer(prompt_text + completed_answer)["input_ids"]


@lru_cache(maxsize=2)  # each evaluation during a run needs the model again
def _load_scoring_model(location: str, _stamp: int, device: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    from app.engine.model.device import Device
    from app.engine.model.load_model import load_for_inference

    if reason := unsuitable_reason(location, only_local=False):
        raise Problem(f"The model “{location}” {reason}.", advice="Choose one that learned to score answers.")
    try:
        model, tokenizer = load_for_inference(location, Device(device))
    except RuntimeError as error:  # somebody else's weights
        if "size mismatch" not in str(error):
            raise
        raise Problem(
            f"The model “{location}” gives several numbers, and a reward is one.",
            advice="Choose one that gives one score.",
        ) from error
    return model.requires_grad_(False), tokenizer


def _modification_stamp(location: str) -> int:
    """Cache key of a local folder: a resumed run's new result is another model.

    0 for a Hub model, which stays cached.
    """
    return Path(location).stat().st_mtime_ns if Path(location).is_dir() else 0


def unsuitable_reason(name: str, only_local: bool = True) -> str | None:
    """Why this model cannot give a score, as the end of a sentence; None if it can.

    only_local: Hub models are not looked at.
    """
    location = adapters.locate_model_or_adapter(name)
    if only_local and not Path(location).is_dir():
        return None
    model_parts = locate_model_files(location)
    if model_parts.kind != "scores":
        description = "judges steps" if model_parts.kind == "step_scores" else "writes answers"
        return (
            f"asks “{name}” for a score, but that model {description}"
            if only_local
            else f"{description} and gives no score"
        )
    if (
        model_parts.adapter is None
        and (count := _label_count(read_json_file(find_model_file(location, "config.json", None)))) != 1
    ):
        return (
            f"needs a model that gives one score, and “{name}” gives {count} numbers"
            if only_local
            else f"gives {count} numbers, and a score is one"
        )
    return None


def _label_count(config: JsonObject) -> int:
    """Number of scores a model gives, from its configuration; transformers omits the fields when there are two."""
    labels, count = config.get("id2label"), config.get("num_labels")
    if isinstance(labels, dict) and labels:
        return len(labels)
    return count if isinstance(count, int) else 2
