"""Scoring: what a model that scores gives to texts, in batches; used by tests during a run, by rewards and by Try."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.core.problems import Problem
from app.data.row_types import as_messages
from app.engine.model.model_files import file_of, parts, read
from app.setup import models

POSITIONS = 16_384  # that are computed at once


def scores(model: Any, texts: list[list[int]]) -> list[float]:
    """One number for each text of tokens, read where the model's own class reads it: at its last token."""
    found: dict[int, float] = {}
    for part in batched(texts):
        logits = logits_of(model, [texts[i] for i in part])
        found |= dict(zip(part, logits[:, 0].float().tolist(), strict=True))
    return [found[i] for i in range(len(texts))]


def chances(model: Any, texts: list[list[int]]) -> list[list[float]]:
    """For each token of each text the chance that the step which ends there is right."""
    found: dict[int, list[float]] = {}
    for part in batched(texts):
        told = logits_of(model, [texts[i] for i in part]).float().softmax(-1)[..., 1].tolist()
        found |= {i: row[: len(texts[i])] for i, row in zip(part, told, strict=True)}
    return [found[i] for i in range(len(texts))]


def verdict(chance: float) -> str:
    """“right (93 %)”, “wrong (80 %)”: the likelier of the two, and how likely it is."""
    return f"right ({chance:.0%})" if chance > 0.5 else f"wrong ({1 - chance:.0%})"


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


# -- a model that scores, by its name ------------------------------------------------------------------------------


def asked(name: str, device: str, prompts: list[Any], answers: list[str]) -> list[float | None]:
    """What the model that is called so gives each answer to its prompt; None for a text longer than it reads. Raises Problem."""
    place = models.place(name)
    model, tokenizer = loaded(place, stamp(place), device)
    texts = [tokens(tokenizer, *both) for both in zip(prompts, answers, strict=True)]
    read = [i for i, text in enumerate(texts) if len(text) <= fits(model)]
    found = dict(zip(read, scores(model, [texts[i] for i in read]), strict=True))
    return [found.get(i) for i in range(len(texts))]


def fits(model: Any) -> float:
    """How many tokens the model reads at most."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or math.inf


def tokens(tokenizer: Any, prompt: Any, answer: str) -> list[int]:
    """Prompt and answer as the model learned to read them: in its own chat format; without one as plain text that ends; and
    as a pair of texts where its tokenizer begins with a mark of its own, as those do that read in both directions."""
    turns = as_messages(prompt, "user")
    if tokenizer.chat_template:
        told = tokenizer.apply_chat_template([*turns, {"role": "assistant", "content": answer}], tokenize=False)
        return tokenizer(told, add_special_tokens=False)["input_ids"]
    asked = prompt if isinstance(prompt, str) else "\n".join(words([turn]) for turn in turns)
    if tokenizer.cls_token_id is not None:
        return tokenizer(asked, answer)["input_ids"]
    ended = answer if answer.endswith(tokenizer.eos_token or "") else answer + tokenizer.eos_token
    return tokenizer(asked + ended)["input_ids"]


@lru_cache(maxsize=2)  # tests on the way ask anew, and loading takes longer than they do
def loaded(place: str, _stamp: int, device: str) -> tuple[Any, Any]:
    from app.engine.model.device import Device
    from app.engine.model.load_model import load_to_ask

    if why := unfit(place, here=False):
        raise Problem(f"The model “{place}” {why}.", advice="Choose one that learned to score answers.")
    try:
        model, tokenizer = load_to_ask(place, Device(device))
    except RuntimeError as error:  # a border: a stranger's weights
        if "size mismatch" not in str(error):
            raise
        raise Problem(f"The model “{place}” gives several numbers, and a reward is one.", advice="Choose one that gives one score.") from error  # fmt: skip
    return model.requires_grad_(False), tokenizer


def stamp(place: str) -> int:
    """Of a run's result: a resumed run's new one is another. A Hub model stays what it was when it was first asked."""
    return Path(place).stat().st_mtime_ns if Path(place).is_dir() else 0


def unfit(name: str, here: bool = True) -> str | None:
    """Why this model cannot give a score, as the end of a sentence. here: what lies on the Hub is not looked at yet."""
    place = models.place(name)
    if here and not Path(place).is_dir():
        return None
    found = parts(place)
    if found.kind != "scores":
        does = "judges steps" if found.kind == "step_scores" else "writes answers"
        return f"asks “{name}” for a score, but that model {does}" if here else f"{does} and gives no score"
    if found.adapter is None and (count := labels(read(file_of(place, "config.json", None)))) != 1:
        return (
            f"needs a model that gives one score, and “{name}” gives {count} numbers"
            if here
            else f"gives {count} numbers, and a score is one"
        )
    return None


def labels(config: dict[str, Any]) -> int:
    """How many numbers a whole model gives, by its settings; transformers writes down only what is not two."""
    return len(config.get("id2label") or {}) or int(config.get("num_labels", 2))
