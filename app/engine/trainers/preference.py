"""Preferring: what the methods share that learn from better and worse answers: settings, curves, the reference, what is measured."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from app.core.problems import Problem
from app.engine.job import Job
from app.engine.model.quantization import give_bias
from app.engine.model.reference import copy_new_tokens
from app.engine.tokens.tokenized_examples import UNLEARNED, Example, Text, examples
from app.engine.trainers.training_args import TrainingKnobs, learning_rate
from app.setup.knob import knob
from app.setup.spec import Spec

LOGITS = 2**28  # held at once, in elements (1 GiB of float32)

CURVES = {
    "rewards/accuracies": ("prefer/accuracy", "better answer preferred"),
    "rewards/margins": ("prefer/margin", "margin between better and worse"),
    "rewards/chosen": ("prefer/chosen", "better answers"),
    "rewards/rejected": ("prefer/rejected", "worse answers"),
    "nll_loss": ("prefer/imitation", "imitation of better answers (loss)"),
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


class ReferenceKnobs(PreferenceKnobs):
    """Shared by methods that compare the model with its own start."""

    beta: float = knob(
        0.1, "How strongly the model is held near its start. Higher changes less.", low=0.001, high=10.0, safe=(0.05, 0.5),
        log=True, everyday=True)  # fmt: skip
    precompute_reference: bool = knob(
        False, "Asks the untouched model about all examples beforehand: less memory later, a longer start."
    )
    sync_every: int = knob(
        0, "Lets the start that the model is held near catch up every so many steps (TR-DPO); 0 leaves it where it is. Only where "
        "all weights are trained.", low=0, high=1_000_000, safe=(0, 512), unit="steps")  # fmt: skip
    sync_share: float = knob(
        0.9, "How far it catches up each time: 1 is all the way.", low=0.01, high=1.0, safe=(0.5, 1.0)
    )

    @model_validator(mode="after")
    def what_moves_is_not_known_beforehand(self) -> ReferenceKnobs:
        if self.sync_every and self.precompute_reference:
            raise ValueError("precompute_reference asks a start that stays, and sync_every moves it; set one of them to 0 or off")  # fmt: skip
        return self


def defaults(adapter: str, parameters: int | None) -> dict[str, Any]:
    """A tenth of imitation's step: a preference pushes two ways at once, and too hard a push breaks the language."""
    return {"learning_rate": learning_rate(adapter, parameters) * 0.1}


# -- the reference: the start that a model is compared with ---------------------------------------------------------


def check(spec: Spec) -> None:
    """Raises Problem for a reference that cannot move."""
    if spec.knobs.get("sync_every") and spec.adapter.kind != "none":
        raise Problem("Beside an adapter the start is the model without it, and that cannot catch up.",
                      advice="Set sync_every to 0, or train all weights.")  # fmt: skip


def reference(job: Job) -> Any:
    """The start as a model of its own, where all weights are trained; None where the trainer needs none: beside an adapter
    it compares with the model without it.

    TRL would load it by its name alone: another revision than the pinned one, and real weights even in a preview.
    """
    from app.engine.model.load_model import meta_model, real_model

    if job.spec.adapter.kind != "none" or (job.knobs.precompute_reference and not job.preview):
        return None
    if not job.preview:
        return real_model(job)
    model = meta_model(job)
    model.to = lambda *_, **__: model  # there is nothing to move
    return model


def reference_arguments(job: Job) -> dict[str, Any]:
    """Those of TRL's configs that say how the reference is kept."""
    knobs = job.knobs
    return {
        "beta": knobs.beta,
        "max_length": knobs.max_length,
        "precompute_ref_log_probs": knobs.precompute_reference and not job.preview,
        "sync_ref_model": knobs.sync_every > 0,
        "ref_model_sync_steps": max(1, knobs.sync_every),
        "ref_model_mixup_alpha": knobs.sync_share,
    }


def comparing(trainer: type) -> type:
    """The trainer's class, with a reference that is the whole start, and, where it moves, the same after a resume.

    Beside an adapter that goes on, TRL compares with a frozen copy of it, and forgets the rows of new tokens.
    """
    from safetensors.torch import load_model, save_model

    class Comparing(trainer):
        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **kwargs)
            copy_new_tokens(self.model)

        def _precompute_ref_logps(self, *args: Any, **kwargs: Any) -> Any:
            copy_new_tokens(self.model)  # this comes before the constructor's end
            give_bias(self.model)
            return super()._precompute_ref_logps(*args, **kwargs)

        def _save_checkpoint(self, model: Any, trial: Any) -> None:
            super()._save_checkpoint(model, trial)
            if self.args.sync_ref_model:
                save_model(self.ref_model, f"{self.args.output_dir}/checkpoint-{self.state.global_step}/{MOVED}")

        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            if self.args.sync_ref_model:
                load_model(self.ref_model, f"{resume_from_checkpoint}/{MOVED}")

    Comparing.__name__ = Comparing.__qualname__ = trainer.__name__
    return Comparing


MOVED = "reference.safetensors"


# -- measures -------------------------------------------------------------------------------------------------------


def preferred(job: Job, trainer: Any) -> dict[str, float | None]:
    """{"preferred": the share of held-out pairs whose better answer the model finds likelier, token for token}."""
    pairs = [answers(example, job)[:2] for row in trainer.eval_dataset for example in examples(row)]
    likely = likelihoods(trainer, [text for pair in pairs for text in pair])
    better = [chosen > rejected for chosen, rejected in zip(likely[::2], likely[1::2], strict=True)]
    return {"preferred": sum(better) / len(better) if better else None}


def told_apart(job: Job, trainer: Any) -> dict[str, float | None]:
    """{"told_apart": how often a liked held-out answer is likelier, token for token, than a disliked one, of all such pairs}.

    This is the area under the ROC curve: a half where they are not told apart at all.
    """
    texts = [answers(example, job)[0] for row in trainer.eval_dataset for example in examples(row)]
    likely = likelihoods(trainer, texts)
    liked, disliked = ([one for one, text in zip(likely, texts, strict=True) if text.name == name] for name in ("liked", "disliked"))  # fmt: skip
    return {"told_apart": area(liked, disliked)}


def answers(example: Example, job: Job) -> list[Text]:
    """As training would read them, cut off, with nothing of the prompt among what counts: ORPO imitates that too."""
    limit, prompt = job.knobs.max_length, [UNLEARNED] * example.shared
    return [
        Text(text.ids[:limit], (prompt + text.labels[example.shared :])[:limit], text.name) for text in example.texts
    ]


def area(high: list[float], low: list[float]) -> float | None:
    """The share of pairs of which the first is higher; equal ones count half. None where one side is empty."""
    if not (high and low):
        return None
    return sum((one > other) + 0.5 * (one == other) for one in high for other in low) / (len(high) * len(low))


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
