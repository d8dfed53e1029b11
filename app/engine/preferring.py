"""Preferring: what the methods share that learn from better and worse answers: settings, curves, and how well the two are told apart."""

from __future__ import annotations

from typing import Any

from app.engine.job import Job
from app.engine.knob import knob
from app.engine.prepared import UNLEARNED, Text, examples
from app.engine.training import TrainingKnobs, learning_rate

LOGITS = 2**28  # held at once, in elements (1 GiB of float32)

CURVES = {
    "rewards/accuracies": ("prefer/accuracy", "better answer preferred"),
    "rewards/margins": ("prefer/margin", "margin between better and worse"),
    "rewards/chosen": ("prefer/chosen", "better answers"),
    "rewards/rejected": ("prefer/rejected", "worse answers"),
}
MEASURES = {"preferred": "the better answer is likelier"}


class PreferenceKnobs(TrainingKnobs):
    """Shared by methods that learn from pairs or thumbs."""

    epochs: float = knob(
        2.0, "How often every pair is seen. Preferences wear out sooner than examples: one to three passes are usual.",
        low=0.01, high=1000, safe=(1, 3), unit="passes", everyday=True)  # fmt: skip
    max_length: int = knob(
        1024, "Prompt and answer together are cut off here. Longer takes more memory.", low=8, high=1_000_000, safe=(128, 4096),
        unit="tokens", everyday=True)  # fmt: skip


def defaults(adapter: str, parameters: int | None) -> dict[str, Any]:
    """A tenth of imitation's step: a preference pushes two ways at once, and too hard a push breaks the language."""
    return {"learning_rate": learning_rate(adapter, parameters) * 0.1}


def preferred(job: Job, trainer: Any) -> dict[str, float | None]:
    """{"preferred": the share of held-out pairs whose better answer the model finds likelier, token for token}."""
    pairs = [example.texts for row in trainer.eval_dataset for example in examples(row)]
    likely = likelihoods(trainer, [text for pair in pairs for text in pair[:2]])
    better = [chosen > rejected for chosen, rejected in zip(likely[::2], likely[1::2], strict=True)]
    return {"preferred": sum(better) / len(better) if better else None}


def likelihoods(trainer: Any, texts: list[Text]) -> list[float]:
    """The mean log-probability of each text's learned tokens; alike lengths together, as many as fit in LOGITS."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i].ids))
    found: dict[int, float] = {}
    vocabulary = trainer.model.config.get_text_config().vocab_size
    while order:
        rows = max(1, LOGITS // (vocabulary * len(texts[order[0]].ids) * 2))
        part, order = order[:rows], order[rows:]
        found |= dict(zip(part, mean_log_probs(trainer, [texts[i] for i in part]), strict=True))
    return [found[i] for i in range(len(texts))]


def mean_log_probs(trainer: Any, texts: list[Text]) -> list[float]:
    import torch

    longest = max(len(text.ids) for text in texts)
    ids = torch.tensor([text.ids + [0] * (longest - len(text.ids)) for text in texts])
    labels = torch.tensor([text.labels + [UNLEARNED] * (longest - len(text.ids)) for text in texts])
    mask = torch.tensor([[1] * len(text.ids) + [0] * (longest - len(text.ids)) for text in texts])
    device = trainer.accelerator.device
    with torch.no_grad(), trainer.compute_loss_context_manager():
        logits = trainer.model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).logits
    wanted = labels[:, 1:].to(device)
    told = torch.log_softmax(logits[:, :-1].float(), dim=-1).gather(-1, wanted.clamp(min=0)[..., None])[..., 0]
    learned = wanted != UNLEARNED
    return ((told * learned).sum(-1) / learned.sum(-1).clamp(min=1)).tolist()
