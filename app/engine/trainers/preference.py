"""Preference learning: settings, metrics, reference model and evaluation that methods for better and worse completions share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import model_validator

from app.core.problems import Problem
from app.engine.contracts import Method, Metrics, Trainer
from app.engine.job import Job
from app.engine.model.quantization import add_bias_attribute
from app.engine.model.reference import copy_new_tokens
from app.engine.tokens.length_batches import length_batches, map_batches, pad_texts
from app.engine.tokens.tokenized_examples import IGNORE_INDEX, Example, TokenizedText, examples_of_row
from app.engine.trainers.mixin_bases import DPOTrainerBase
from app.engine.trainers.training_args import TrainingKnobs, default_learning_rate
from app.setup.knob import knob
from app.setup.spec import Spec
from app.setup.step_memory import Logits, RowLengths, StepMemory

if TYPE_CHECKING:
    from datasets import Dataset
    from torch.nn import Module
    from transformers import PreTrainedModel

_KnobsT = TypeVar("_KnobsT", bound="PreferenceKnobs")

_MAX_LOGITS = 2**28  # elements computed at once (1 GiB of float32)

CURVES = {
    "rewards/accuracies": ("prefer/accuracy", "better answer preferred"),
    "rewards/margins": ("prefer/margin", "margin between better and worse"),
    "rewards/chosen": ("prefer/chosen", "better answers"),
    "rewards/rejected": ("prefer/rejected", "worse answers"),
    "nll_loss": ("prefer/imitation", "imitation of better answers (loss)"),
}
MEASURES = {"preferred": "the better answer is likelier"}


class PreferenceKnobs(TrainingKnobs):
    """Settings of methods that learn from preference pairs or from thumbs up and down."""

    epochs: float = knob(
        2.0,
        "How often every pair is seen. Preferences wear out sooner than examples: one to three passes are usual.",
        low=0.01,
        high=1000,
        safe=(1, 3),
        unit="passes",
        everyday=True,
    )
    max_length: int = knob(
        1024,
        "Prompt and answer together are cut off here. Longer takes more memory.",
        low=8,
        high=1_000_000,
        safe=(128, 4096),
        unit="tokens",
        everyday=True,
        affects="rows",
    )


class ReferenceKnobs(PreferenceKnobs):
    """Settings of methods that compare the model with a reference, which is its own initial state."""

    beta: float = knob(
        0.1,
        "How strongly the model is held near its start. Higher changes less.",
        low=0.001,
        high=10.0,
        safe=(0.05, 0.5),
        log=True,
        everyday=True,
    )
    precompute_reference: bool = knob(
        False,
        "Asks the untouched model about all examples beforehand: less memory later, a longer start.",
        library_name="precompute_ref_log_probs",
        affects="timing",
    )
    sync_every: int = knob(
        0,
        "Lets the start that the model is held near catch up every so many steps (TR-DPO); 0 leaves it where it is. Only where "
        "all weights are trained.",
        low=0,
        high=1_000_000,
        safe=(0, 512),
        unit="steps",
        library_name="ref_model_sync_steps",
        affects="timing",
    )
    sync_share: float = knob(
        0.9,
        "How far it catches up each time: 1 is all the way.",
        low=0.01,
        high=1.0,
        safe=(0.5, 1.0),
        library_name="ref_model_mixup_alpha",
    )

    @model_validator(mode="after")
    def check_precomputed_reference_stays(self) -> ReferenceKnobs:
        if self.sync_every and self.precompute_reference:
            raise ValueError(
                "precompute_reference asks a start that stays, and sync_every moves it; set one of them to 0 or off"
            )
        return self


def defaults(adapter: str, parameters: int | None) -> dict[str, float]:
    """A tenth of SFT's learning rate: a pair raises one completion and lowers another, and larger steps damage the language."""
    return {"learning_rate": default_learning_rate(adapter, parameters) * 0.1}


def whole_logits_memory(knobs: PreferenceKnobs, lengths: RowLengths, texts_per_row: int, copies: float) -> StepMemory:
    """A step that reads all texts of its rows in one forward pass, with the logits of all their tokens."""
    tokens = min(lengths.text, knobs.max_length)
    logits = Logits(positions=tokens, copies=copies)
    return StepMemory(texts=texts_per_row * knobs.batch_size, tokens=tokens, logits=(logits,))


# -- the reference model ---------------------------------------------------------------------------------------------


def check(spec: Spec) -> None:
    """Raises Problem where the reference should be updated but is the model without its adapter."""
    if spec.knobs.get("sync_every") and spec.adapter.kind != "none":
        raise Problem(
            "Beside an adapter the start is the model without it, and that cannot catch up.",
            advice="Set sync_every to 0, or train all weights.",
        )


def reference_model(job: Job) -> PreTrainedModel | None:
    """The initial model as a model of its own, where all weights are trained. None where the trainer needs none: with an
    adapter, the model without it is the reference.

    TRL would load it by its name alone: another revision than the pinned one, and real weights even in a preview.
    """
    from app.engine.model.load_model import meta_model, pin_to_meta_device, real_model

    if job.spec.adapter.kind != "none" or (job.knobs.precompute_reference and not job.preview):
        return None
    if not job.preview:
        return real_model(job)
    return pin_to_meta_device(meta_model(job))


def reference_config_args(job: Job) -> dict[str, float]:
    """Keyword arguments about the reference model that TRL's configs of these methods share."""
    knobs = job.knobs
    return {
        "beta": knobs.beta,
        "max_length": knobs.max_length,
        "precompute_ref_log_probs": knobs.precompute_reference and not job.preview,
        "sync_ref_model": knobs.sync_every > 0,
        "ref_model_sync_steps": max(1, knobs.sync_every),
        "ref_model_mixup_alpha": knobs.sync_share,
    }


_REFERENCE_FILE = "reference.safetensors"


class CompleteReferenceMixin(DPOTrainerBase):
    """Completes the reference model of TRL's DPO or KTO trainer, and saves it with checkpoints where it is updated.

    Where training continues an adapter, TRL's reference is a frozen copy of it that lacks the embeddings of new tokens.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        copy_new_tokens(self.model)

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        copy_new_tokens(self.model)  # the constructor calls this before its end
        add_bias_attribute(self.model)
        return super()._precompute_ref_logps(dataset, name, batch_size)

    def _save_checkpoint(self, model: Module, trial: dict[str, Any] | None) -> None:
        from safetensors.torch import save_model

        super()._save_checkpoint(model, trial)
        if self.args.sync_ref_model:
            save_model(self.ref_model, f"{self.args.output_dir}/checkpoint-{self.state.global_step}/{_REFERENCE_FILE}")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Module | None = None) -> None:
        from safetensors.torch import load_model

        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.args.sync_ref_model:
            load_model(self.ref_model, f"{resume_from_checkpoint}/{_REFERENCE_FILE}")


REFERENCE_MIXINS = (
    CompleteReferenceMixin,  # embeddings of new tokens in the reference, which is saved where it is updated
)  # over TRL's DPO and KTO trainers


# -- evaluation -----------------------------------------------------------------------------------------------------


def preference_accuracy(job: Job, trainer: Trainer) -> dict[str, float | None]:
    """{"preferred": the share of held-out pairs whose chosen completion has the higher mean log-probability of a token}."""
    pairs = [
        _completion_texts(example, job)[:2] for row in trainer.eval_dataset or () for example in examples_of_row(row)
    ]
    mean_logps = _mean_logps(trainer, [text for pair in pairs for text in pair])
    is_preferred = [chosen > rejected for chosen, rejected in zip(mean_logps[::2], mean_logps[1::2], strict=True)]
    return {"preferred": sum(is_preferred) / len(is_preferred) if is_preferred else None}


def thumbs_roc_auc(job: Job, trainer: Trainer) -> dict[str, float | None]:
    """{"told_apart": the area under the ROC curve of held-out liked against disliked completions}.

    The score is the mean log-probability of a token. 0.5 means that the two are not separated at all.
    """
    texts = [
        _completion_texts(example, job)[0] for row in trainer.eval_dataset or () for example in examples_of_row(row)
    ]
    mean_logps = _mean_logps(trainer, texts)
    scored_texts = [*zip(mean_logps, texts, strict=True)]
    liked = [mean_logp for mean_logp, text in scored_texts if text.name == "liked"]
    disliked = [mean_logp for mean_logp, text in scored_texts if text.name == "disliked"]
    return {"told_apart": roc_auc(liked, disliked)}


def _completion_texts(example: Example, job: Job) -> list[TokenizedText]:
    """The texts truncated as in training, with labels on the completion only: ORPO's labels cover the prompt too."""
    max_length, prompt_labels = job.knobs.max_length, [IGNORE_INDEX] * example.shared_tokens
    texts = []
    for text in example.texts:
        labels = prompt_labels + text.labels[example.shared_tokens :]
        texts.append(TokenizedText(text.token_ids[:max_length], labels[:max_length], text.name))
    return texts


def roc_auc(positives: list[float], negatives: list[float]) -> float | None:
    """The share of (positive, negative) pairs in which the positive is higher; equal ones count half. None without any pair."""
    if not (positives and negatives):
        return None
    pairs = [(positive, negative) for positive in positives for negative in negatives]
    return sum((positive > negative) + 0.5 * (positive == negative) for positive, negative in pairs) / len(pairs)


def _mean_logps(trainer: Trainer, texts: list[TokenizedText]) -> list[float]:
    """The mean log-probability of each text's labelled tokens, in batches of similar lengths with at most _MAX_LOGITS logits."""
    vocab_size = trainer.model.config.get_text_config().vocab_size
    batches = length_batches(
        [len(text.token_ids) for text in texts], lambda shortest: _MAX_LOGITS // (vocab_size * shortest * 2)
    )
    return map_batches(batches, texts, partial(_mean_logps_of_batch, trainer))


def _mean_logps_of_batch(trainer: Trainer, texts: list[TokenizedText]) -> list[float]:
    """The mean log-probability of each text's labelled tokens, of one padded batch."""
    import torch

    device = trainer.accelerator.device
    ids, mask = pad_texts([text.token_ids for text in texts], device)
    labels, _ = pad_texts([text.labels for text in texts], device, IGNORE_INDEX)
    with torch.no_grad(), trainer.compute_loss_context_manager():
        logits = trainer.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    targets = labels[:, 1:]
    logps = torch.log_softmax(logits[:, :-1].float(), dim=-1).gather(-1, targets.clamp(min=0)[..., None])[..., 0]
    loss_mask = targets != IGNORE_INDEX
    return ((logps * loss_mask).sum(-1) / loss_mask.sum(-1).clamp(min=1)).tolist()


# -- what a method declares ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class PairMethod(Method[_KnobsT]):
    """A method that learns from pairs of a better and a worse completion, with what these methods declare alike."""

    family: str = "prefer"
    row_types: tuple[str, ...] = ("preference",)
    defaults: Callable[[str, int | None], dict[str, float]] = defaults
    curves: Mapping[str, tuple[str, str]] = field(default_factory=lambda: CURVES)
    eval_metrics: Mapping[str, str] = field(default_factory=lambda: MEASURES)
    measure: Callable[[Job, Trainer], Metrics] | None = preference_accuracy
