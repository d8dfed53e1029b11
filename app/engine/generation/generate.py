"""Batched generation of completions, and their rewards; used by evaluation during a run, by chat and by benchmarks."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

from app.data.row_types import as_messages
from app.data.rows import Row, content_text, prompt_and_answer
from app.engine.contracts import Metrics
from app.engine.reward_runtime import reward_factory
from app.engine.reward_runtime.error_policy import RewardErrorPolicy, Warn
from app.engine.reward_runtime.reward import final_answer_text
from app.engine.trainers.group_rl.rollout_logging import completion_text
from app.setup.spec import Reward, Spec

_BATCH_SIZE = 32


def generate_completions(
    model: Any, tokenizer: Any, prompts: list[Any], max_new_tokens: int = 128, *, chat: bool = True, **sampling: Any
) -> list[str]:
    """One completion for each prompt (a string, or messages), greedy unless sampling arguments are given.

    chat: plain strings go through the chat template; otherwise the model continues them as text.
    """
    texts = [render_prompt(tokenizer, prompt, chat) for prompt in prompts]
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))  # similar lengths together: little padding
    completions: dict[int, str] = {}
    for start in range(0, len(order), _BATCH_SIZE):
        batch = order[start : start + _BATCH_SIZE]
        completions |= dict(
            zip(
                batch,
                generate_from_texts(model, tokenizer, [texts[index] for index in batch], max_new_tokens, sampling),
                strict=True,
            )
        )
    return [completions[index] for index in range(len(texts))]


def render_prompt(tokenizer: Any, prompt: Any, chat: bool) -> str:
    """The prompt as the model reads it, up to where its completion begins."""
    if isinstance(prompt, str) and not (chat and tokenizer.chat_template):
        return prompt
    return tokenizer.apply_chat_template(as_messages(prompt, "user"), tokenize=False, add_generation_prompt=True)


def _generate_image_completions(
    model: Any, processor: Any, image_prompts: list[tuple[Any, list[Any]]], max_new_tokens: int = 128
) -> list[str]:
    """One greedy completion for each (messages, their images), of a vision-language model."""
    from app.engine.model.vision import prepare_prompts

    completions: list[str] = []
    for start in range(0, len(image_prompts), _BATCH_SIZE):
        batch = prepare_prompts(processor, image_prompts[start : start + _BATCH_SIZE]).to(model.device)
        completions += _generate_batch(model, processor.tokenizer, batch, max_new_tokens, {})
    return completions


def generate_from_texts(
    model: Any, tokenizer: Any, texts: list[str], max_new_tokens: int, sampling: dict[str, Any]
) -> list[str]:
    """One completion for each rendered text, in one batch."""
    # A chat template has already written the beginning-of-sequence token.
    add_special_tokens = not tokenizer.chat_template
    tokens = tokenizer(
        texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=add_special_tokens
    ).to(model.device)
    model_inputs = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    return _generate_batch(model, tokenizer, model_inputs, max_new_tokens, sampling)


def _generate_batch(
    model: Any, tokenizer: Any, model_inputs: Any, max_new_tokens: int, sampling: dict[str, Any]
) -> list[str]:
    import torch

    sampling_kwargs = {"do_sample": True, **sampling} if sampling else {"do_sample": False}
    with torch.no_grad():
        output_ids = model.generate(
            **model_inputs,
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
            **sampling_kwargs,
        )
    return tokenizer.batch_decode(output_ids[:, model_inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def generate_and_score(
    spec: Spec,
    model: Any,
    tokenizer: Any,
    rows: list[Row],
    max_new_tokens: int = 128,
    processor: Any = None,
    generate_with_tools: Any = None,
    warn: Warn | None = None,
) -> tuple[Metrics, list[Row]]:
    """(mean of each reward over the rows, samples with prompt, completion and rewards).

    Rows without a prompt are left out. processor: of a vision-language model, for rows with images.
    generate_with_tools: rows -> completions, where a trainer gives its model tools. warn: gets the reason why an answer
    could not be scored; without it Problem is raised when most could not.
    """
    prompt_rows = [(row, *question) for row in rows if (question := prompt_and_answer(row))]
    if not prompt_rows:
        return {}, []
    if generate_with_tools is not None:
        raw_completions = generate_with_tools(
            [row | {"prompt": as_messages(prompt, "user")} for row, prompt, _ in prompt_rows]
        )
    elif processor is not None:
        raw_completions = _generate_image_completions(
            model, processor, [(prompt, row.get("images", [])) for row, prompt, _ in prompt_rows], max_new_tokens
        )
    else:
        raw_completions = generate_completions(
            model, tokenizer, [prompt for _, prompt, _ in prompt_rows], max_new_tokens
        )
    completions = [final_answer_text(completion) for completion in raw_completions]
    scores = score_completions(spec.rewards, tokenizer, prompt_rows, completions, str(model.device), warn)
    samples = [
        {
            "prompt": _last_message_text(prompt),
            "completion": completion_text(raw_completions[index]),
            "wanted": reference,
            "rewards": {name: reward_scores[index] for name, reward_scores in scores.items()},
        }
        for index, (_, prompt, reference) in enumerate(prompt_rows)
    ]
    return {name: mean_score(reward_scores) for name, reward_scores in scores.items()}, samples


def score_completions(
    rewards: list[Reward],
    tokenizer: Any,
    prompt_rows: list[tuple[Row, Any, Any]],
    completions: list[str],
    device: str,
    warn: Warn | None = None,
) -> dict[str, list[float | None]]:
    """{reward label: score of each completion, None where it could not be scored}.

    prompt_rows: (row, prompt, reference) of each.
    """
    columns = {name: [row.get(name) for row, *_ in prompt_rows] for name in prompt_rows[0][0]} | {
        "answer": [reference if reference or "answer" in row else None for row, _, reference in prompt_rows],
        "prompts": [prompt for _, prompt, _ in prompt_rows],
        "completion_ids": tokenizer(completions, add_special_tokens=False)["input_ids"],
    }
    reward_functions = {reward_spec.label: reward_factory.build_reward(reward_spec, device) for reward_spec in rewards}
    return {
        label: RewardErrorPolicy(reward_function, label, warn, stops_run=warn is None)(
            completions=completions, **columns
        )
        for label, reward_function in reward_functions.items()
    }


def _last_message_text(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else content_text(prompt[-1]["content"]) if prompt else ""


def mean_score(scores: list[float | None]) -> float | None:
    """Mean of the scores that are not None; None without any."""
    known_scores = [score for score in scores if score is not None]
    return sum(known_scores) / len(known_scores) if known_scores else None


@contextlib.contextmanager
def preserve_rng_eval(model: Any) -> Iterator[None]:
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


def copy_trained_weights(model: Any) -> list[tuple[Any, Any]]:
    """(parameter, copy of its values) for each trained parameter: a few megabytes for an adapter."""
    return [(weight, weight.detach().clone()) for weight in model.parameters() if weight.requires_grad]


@contextlib.contextmanager
def swapped_weights(saved_weights: list[tuple[Any, Any]]) -> Iterator[None]:
    """The model with its saved weights; the current tensors themselves come back afterwards."""
    current_weights = [weight.data for weight, _ in saved_weights]
    for weight, saved in saved_weights:
        weight.data = saved
    try:
        yield
    finally:
        for (weight, _), current in zip(saved_weights, current_weights, strict=True):
            weight.data = current
