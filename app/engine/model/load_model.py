"""Model: the base a run starts from, with weights to train it or without to preview it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.problems import Problem
from app.engine.model import adapter, init_from, quantization
from app.engine.model.tokenizer import fit, rows_of, to_train
from app.setup import models

if TYPE_CHECKING:
    from app.engine.job import Job
    from app.engine.model.device import Device


# What a method trains: a model that writes, one that gives a whole text one score, or one that judges each of its steps.
CLASSES = {
    "causal": "AutoModelForCausalLM",
    "scores": "AutoModelForSequenceClassification",
    "step_scores": "AutoModelForTokenClassification",
}
TASKS = {"causal": "CAUSAL_LM", "scores": "SEQ_CLS", "step_scores": "TOKEN_CLS"}
LABELS = {"scores": 1, "step_scores": 2}


def real_model(job: Job) -> Any:
    """Weights on the CPU or the run's device, with an earlier adapter to go on from if the Spec names one."""
    from transformers import set_seed

    set_seed(job.spec.seed)  # from scratch, new heads and new adapters draw their first weights now
    name, revision = base_of(job)
    config, dtype = config_of(job, name, revision), job.dtype
    shape = class_for(job.kind, config)
    if from_scratch(job):
        model = shape.from_config(config, dtype=dtype)
        model.config._name_or_path = name
        take_generation_config(model, name, revision)
    else:
        model = quantization.loaded(shape, name, job.spec.model.quantization, dtype, whole_in(job, shape, config), revision=revision, config=config)  # fmt: skip
    fit(model, job.tokenizer, job.spec.model.embedding_multiple)
    return frozen(job, init_from.gone_on(job, model))


def meta_model(job: Job) -> Any:
    """The same shape without a byte of weights, for a trainer that only prepares data."""
    name, revision = base_of(job)
    config = config_of(job, name, revision)
    from_scratch(job)  # refused before anything is trained
    model = outline(class_for(job.kind, config), config)
    model.config._name_or_path = name
    take_generation_config(model, name, revision)
    fit(model, job.tokenizer, job.spec.model.embedding_multiple)
    init_from.require_same(job, model)
    return frozen(job, model)


def outline(shape: Any, config: Any) -> Any:
    import torch

    with torch.device("meta"):
        return shape.from_config(config)


def from_scratch(job: Job) -> bool:
    """Raises Problem where what else is asked for makes no sense of it."""
    asked, model = getattr(job.knobs, "from_scratch", False), job.spec.model
    if asked and model.quantization != "none":
        raise Problem(f"A model that begins from nothing has no weights to hold as {model.quantization}.", advice="Hold them as they are.")  # fmt: skip
    if asked and model.start_from:
        raise Problem("A model that begins from nothing cannot go on from an earlier result.", advice="Choose one of the two.")  # fmt: skip
    return asked


def whole_in(job: Job, shape: Any, config: Any) -> list[str]:
    """Layers that are trained whole, by name: they cannot be held in few bits."""
    if job.spec.model.quantization == "none":
        return []
    earlier = init_from.adapter_of(job.spec.model)
    found = init_from.read(earlier).get("modules_to_save") if earlier else None
    patterns = job.spec.adapter.unfreeze
    return [*(found or []), *(adapter.unfrozen(outline(shape, config), patterns) if patterns else [])]


def frozen(job: Job, model: Any) -> Any:
    """Without an adapter the Spec may name the only layers that are trained, beside the rows of tokens that must be learned."""
    spec = job.spec.adapter
    if spec.kind == "none" and spec.unfreeze:
        rows = rows_of(model, to_train(job, model))
        adapter.train_only(model, [*adapter.unfrozen(model, spec.unfreeze), *rows])
    return model


def config_of(job: Job, name: str, revision: str | None) -> Any:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(name, revision=revision)
    except (OSError, ValueError):  # a border: the Hub, or a folder
        init_from.refuse_adapter(name, revision)
        raise
    if job.kind in LABELS:
        config.num_labels = LABELS[job.kind]
        config.get_text_config().pad_token_id = job.tokenizer.pad_token_id
    return config


def class_for(kind: str, config: Any) -> Any:
    """transformers' class for such a model; one that also takes pictures has another name for the same."""
    import transformers

    sees = kind == "causal" and hasattr(config, "vision_config")
    return getattr(transformers, "AutoModelForImageTextToText" if sees else CLASSES[kind])


def take_generation_config(model: Any, name: str, revision: str | None) -> None:
    """End tokens of generation stand in a file of their own, which from_config does not read."""
    from transformers import GenerationConfig

    try:
        model.generation_config = GenerationConfig.from_pretrained(name, revision=revision)
    except OSError:  # a border: many models have no such file
        model.generation_config = GenerationConfig.from_model_config(model.config)


def base_of(job: Job) -> tuple[str, str | None]:
    """Where the weights lie: a run that trained all weights replaces the base itself."""
    whole = init_from.whole_model(job.spec.model)
    return (whole, None) if whole else (models.locate(job.spec.model.id), job.spec.model.revision)


def lora_config(job: Job) -> Any:
    """peft's config of the Spec's adapter; None when all weights are trained or an earlier adapter goes on."""
    if job.spec.adapter.kind == "none" or (init_from.adapter_of(job.spec.model) and not job.preview):
        return None
    return adapter.lora_config(job, TASKS[job.kind], rows_of(job.model, to_train(job, job.model)))


def load_tuned(name: str | Path, revision: str | None = None, dtype: Any = None) -> tuple[Any, Any]:
    """(model, tokenizer) of a result or of a Hub model: an adapter on its base, or a whole model; whatever it does, write or score.

    In evaluation mode and, unless asked otherwise, in float32, as it was trained here: a base kept in bfloat16 would answer a
    little differently. An adapter that was trained beside weights in 4 or 8 bits gets these again: it fits no others.
    """
    from transformers import AutoTokenizer

    from app.engine.model.model_files import parts

    found = parts(str(name), revision)
    tokenizer = AutoTokenizer.from_pretrained(found.words[0], revision=found.words[1])
    model = plain_model(found.kind, *found.base, found.words, dtype, (found.quantization, found.whole))
    if found.adapter:
        from peft import PeftModel

        fit(model, tokenizer, found.multiple)
        model = PeftModel.from_pretrained(model, found.adapter[0], revision=found.adapter[1])
    return model.eval(), tokenizer


def load_to_ask(name: str | Path, device: Device) -> tuple[Any, Any]:
    """(model, tokenizer) as `load_tuned`, on the device, held as it likes frozen weights."""
    model, tokenizer = load_tuned(name, dtype=device.dtype("auto", "lora"))
    return put(model, device), tokenizer


def put(model: Any, device: Device) -> Any:
    """On the device; weights in few bits stay where they were laid out."""
    return model if getattr(model, "quantization_method", None) else model.to(device.name)


def plain_model(kind: str, name: str, revision: str | None, words: tuple[str, str | None] | None = None,
                dtype: Any = None, how: tuple[str, Sequence[str]] = ("none", ())) -> Any:  # fmt: skip
    """A base, in float32 unless asked otherwise. words: where the tokenizer lies that it is used with, if not beside it.
    how: its weights are held as in the Spec, but for these layers."""
    import torch
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(name, revision=revision)
    if kind in LABELS:
        place, version = words or (name, revision)
        config.num_labels = LABELS[kind]
        config.get_text_config().pad_token_id = AutoTokenizer.from_pretrained(place, revision=version).pad_token_id
    shape = class_for(kind, config)
    return quantization.loaded(shape, name, how[0], dtype or torch.float32, how[1], revision=revision, config=config)
