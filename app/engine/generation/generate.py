"""Answers: what a model says to prompts, in batches, and how good it is; used by tests during a run, by chat and by bench."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

from app.data.row_types import as_messages
from app.data.rows import Row, as_question, text_in
from app.engine.reward_runtime import reward
from app.engine.reward_runtime.error_policy import Guard, Tell
from app.engine.trainers.group_rl.rollout_logging import told
from app.setup.spec import Reward, Spec

BATCH = 32


def answer(
    model: Any, tokenizer: Any, prompts: list[Any], longest: int = 128, *, chat: bool = True, **sampling: Any
) -> list[str]:
    """One completion for each prompt (a string, or messages), greedy unless sampling arguments say otherwise.

    chat: plain strings go through the model's chat template; otherwise the model continues them as text.
    """
    texts = [rendered(tokenizer, prompt, chat) for prompt in prompts]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))  # alike lengths together: little padding
    said: dict[int, str] = {}
    for start in range(0, len(order), BATCH):
        part = order[start : start + BATCH]
        said |= dict(zip(part, complete(model, tokenizer, [texts[i] for i in part], longest, sampling), strict=True))
    return [said[i] for i in range(len(texts))]


def rendered(tokenizer: Any, prompt: Any, chat: bool) -> str:
    """The prompt as the model reads it, up to where its answer begins."""
    if isinstance(prompt, str) and not (chat and tokenizer.chat_template):
        return prompt
    return tokenizer.apply_chat_template(as_messages(prompt, "user"), tokenize=False, add_generation_prompt=True)


def answer_shown(model: Any, processor: Any, asked: list[tuple[Any, list[Any]]], longest: int = 128) -> list[str]:
    """One greedy completion for each (messages, their pictures), of a model that sees."""
    from app.engine.model.vision import question

    said: list[str] = []
    for start in range(0, len(asked), BATCH):
        batch = question(processor, asked[start : start + BATCH]).to(model.device)
        said += written(model, processor.tokenizer, batch, longest, {})
    return said


def complete(model: Any, tokenizer: Any, texts: list[str], longest: int, sampling: dict[str, Any]) -> list[str]:
    special = not tokenizer.chat_template  # a template has written its own beginning token
    tokens = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=special).to(
        model.device
    )
    asked = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    return written(model, tokenizer, asked, longest, sampling)


def written(model: Any, tokenizer: Any, asked: Any, longest: int, sampling: dict[str, Any]) -> list[str]:
    import torch

    choice = {"do_sample": True, **sampling} if sampling else {"do_sample": False}
    with torch.no_grad():
        out = model.generate(**asked, max_new_tokens=longest, pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id, **choice)  # fmt: skip
    return tokenizer.batch_decode(out[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)


def scores(
    spec: Spec,
    model: Any,
    tokenizer: Any,
    rows: list[Row],
    longest: int = 128,
    processor: Any = None,
    ask: Any = None,
    tell: Tell | None = None,
) -> tuple[dict[str, float], list[Row]]:
    """(mean of every reward over the rows, the rows with prompt, completion and rewards). Rows without a question are left
    out. processor: of a model that sees, for rows with pictures. ask: rows -> answers, where a trainer gives its model tools.
    tell: hears why an answer could not be scored; without it Problem is raised where most could not."""
    asked = [(row, *question) for row in rows if (question := as_question(row))]
    if not asked:
        return {}, []
    if ask is not None:
        said = ask([row | {"prompt": as_messages(prompt, "user")} for row, prompt, _ in asked])
    elif processor is not None:
        said = answer_shown(model, processor, [(prompt, row.get("images", [])) for row, prompt, _ in asked], longest)  # fmt: skip
    else:
        said = answer(model, tokenizer, [prompt for _, prompt, _ in asked], longest)
    completions = [reward.text_of(one) for one in said]
    named = scored(spec.rewards, tokenizer, asked, completions, str(model.device), tell)
    shown = [
        {
            "prompt": plain(prompt),
            "completion": told(said[i]),
            "wanted": wanted,
            "rewards": {name: values[i] for name, values in named.items()},
        }
        for i, (_, prompt, wanted) in enumerate(asked)
    ]
    return {name: mean(values) for name, values in named.items()}, shown


def scored(
    rewards: list[Reward],
    tokenizer: Any,
    asked: list[tuple[Row, Any, Any]],
    completions: list[str],
    device: str,
    tell: Tell | None = None,
) -> dict[str, list[float | None]]:
    """{label: a score of each completion, None where it could not be scored}. asked: (row, prompt, wanted answer) of each."""
    columns = {name: [row.get(name) for row, *_ in asked] for name in asked[0][0]} | {
        "answer": [wanted if wanted or "answer" in row else None for row, _, wanted in asked],
        "prompts": [prompt for _, prompt, _ in asked],
        "completion_ids": tokenizer(completions, add_special_tokens=False)["input_ids"],
    }
    made = {one.label: reward.make(one, device) for one in rewards}
    return {
        label: Guard(scorer, label, tell, stops=tell is None)(completions=completions, **columns)
        for label, scorer in made.items()
    }


def plain(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else text_in(prompt[-1]["content"]) if prompt else ""


def mean(values: list[float | None]) -> float | None:
    """Of those that could be scored."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


@contextlib.contextmanager
def aside(model: Any) -> Iterator[None]:
    """Evaluation mode, with every random generator put back afterwards: looking does not change the training."""
    import numpy
    import torch

    training, states = model.training, (random.getstate(), numpy.random.get_state())
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        model.eval()
        try:
            yield
        finally:
            model.train(training)
            random.setstate(states[0])
            numpy.random.set_state(states[1])


def trained_weights(model: Any) -> list[tuple[Any, Any]]:
    """(weight, copy of it) for each that is trained: of an adapter a few megabytes."""
    return [(weight, weight.detach().clone()) for weight in model.parameters() if weight.requires_grad]


@contextlib.contextmanager
def swapped(kept: list[tuple[Any, Any]]) -> Iterator[None]:
    """The model as it was when they were kept; the very weights of now come back."""
    now = [weight.data for weight, _ in kept]
    for weight, before in kept:
        weight.data = before
    try:
        yield
    finally:
        for (weight, _), data in zip(kept, now, strict=True):
            weight.data = data
