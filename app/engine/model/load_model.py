"""Loading of models: the base that a run trains, without weights for a preview, and results for inference."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from app.core.problems import Problem
from app.engine.model import adapter, init_from, quantization
from app.engine.model.adapter import PEFT_TASKS
from app.engine.model.model_config import load_config
from app.engine.model.model_files import locate_model_files
from app.engine.model.tokenizer import resize_embeddings, trainable_embedding_rows, trainable_token_ids
from app.setup import models

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from torch.nn import Module
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

    from app.engine.job import Job
    from app.engine.model.device import Device
    from app.engine.model.quantization import AutoModelClass

_ModuleT = TypeVar("_ModuleT", bound="Module")

# By what a method trains: a causal language model, a model with one score per text, or one that scores each step of a
# text.
_MODEL_CLASSES = {
    "causal": "AutoModelForCausalLM",
    "scores": "AutoModelForSequenceClassification",
    "step_scores": "AutoModelForTokenClassification",
}
_LABEL_COUNTS = {"scores": 1, "step_scores": 2}


def real_model(job: Job) -> PreTrainedModel:
    """The model with its weights, and with the earlier adapter attached if the Spec continues from one."""
    from transformers import set_seed

    set_seed(job.spec.seed)  # training from scratch, new heads and new adapters draw their initial weights now
    name, revision = base_location(job)
    config, dtype = _model_config(job, name, revision), job.dtype
    model_type = model_class(job.kind, config)
    if _trains_from_scratch(job):
        model = model_type.from_config(config, dtype=dtype)
        model.config._name_or_path = name
        _load_generation_config(model, name, revision)
    else:
        quantization_config = quantization.bitsandbytes_config(
            job.spec.model.quantization, dtype, _unquantized_layers(job, model_type, config)
        )
        model = quantization.load_quantized(model_type, (name, revision), config, dtype, quantization_config)
    resize_embeddings(model, job.tokenizer, job.spec.model.embedding_multiple)
    _freeze_as_specified(job, model)
    return init_from.with_earlier_adapter(job, model)


def meta_model(job: Job) -> PreTrainedModel:
    """The same model on the meta device, without weights, for a trainer that only prepares data."""
    name, revision = base_location(job)
    config = _model_config(job, name, revision)
    _trains_from_scratch(job)  # raises Problem before a run starts
    model = _empty_model(model_class(job.kind, config), config)
    model.config._name_or_path = name
    _load_generation_config(model, name, revision)
    resize_embeddings(model, job.tokenizer, job.spec.model.embedding_multiple)
    init_from.require_same_adapter(job, model)
    _freeze_as_specified(job, model)
    return model


def unquantized_model(job: Job) -> PreTrainedModel:
    """The base model with its weights as they were published, in main memory."""
    name, revision = base_location(job)
    config = _model_config(job, name, revision)
    return model_class(job.kind, config).from_pretrained(name, revision=revision, config=config, dtype="auto")


def pin_to_meta_device(model: PreTrainedModel) -> PreTrainedModel:
    """The model, whose `to` does nothing from now on: without weights there is nothing to move."""
    model.__dict__["to"] = lambda *_, **__: model
    return model


def _empty_model(model_type: AutoModelClass, config: PreTrainedConfig) -> PreTrainedModel:
    import torch

    with torch.device("meta"):
        return model_type.from_config(config)


def _trains_from_scratch(job: Job) -> bool:
    """Whether the weights start at random. Raises Problem where other settings contradict that."""
    from_scratch, model = getattr(job.knobs, "from_scratch", False), job.spec.model
    if from_scratch and model.quantization != "none":
        raise Problem(
            f"A model that begins from nothing has no weights to hold as {model.quantization}.",
            advice="Hold them as they are.",
        )
    if from_scratch and model.start_from:
        raise Problem(
            "A model that begins from nothing cannot go on from an earlier result.", advice="Choose one of the two."
        )
    return from_scratch


def _unquantized_layers(job: Job, model_type: AutoModelClass, config: PreTrainedConfig) -> list[str]:
    """Names of the fully trained layers: they cannot be quantized."""
    if job.spec.model.quantization == "none":
        return []
    earlier_adapter = init_from.adapter_source(job.spec.model)
    earlier_layers = init_from.read_adapter_config(earlier_adapter).get("modules_to_save") if earlier_adapter else None
    patterns = job.spec.adapter.unfreeze
    return [
        *(earlier_layers or []),
        *(adapter.unfrozen_layers(_empty_model(model_type, config), patterns) if patterns else []),
    ]


def _freeze_as_specified(job: Job, model: PreTrainedModel) -> None:
    """Without an adapter, freezes all layers except those the Spec names and the embedding rows of new tokens."""
    spec = job.spec.adapter
    if spec.kind == "none" and spec.unfreeze:
        token_rows = trainable_embedding_rows(model, trainable_token_ids(job, model))
        adapter.freeze_all_except(model, [*adapter.unfrozen_layers(model, spec.unfreeze), *token_rows])


def _model_config(job: Job, name: str, revision: str | None) -> PreTrainedConfig:
    try:
        config = load_config(name, revision)
    except (OSError, ValueError):  # a boundary: the Hub, or a folder
        init_from.refuse_adapter(name, revision)
        raise
    if job.kind in _LABEL_COUNTS:
        config.num_labels = _LABEL_COUNTS[job.kind]
        config.get_text_config().pad_token_id = job.tokenizer.pad_token_id
    if job.knobs.attention != "auto":
        config._attn_implementation = job.knobs.attention
    return config


def model_class(kind: str, config: PreTrainedConfig) -> AutoModelClass:
    """The Auto class of transformers that loads such a model; for vision language models it is another one."""
    import transformers

    takes_images = kind == "causal" and hasattr(config, "vision_config")
    return getattr(transformers, "AutoModelForImageTextToText" if takes_images else _MODEL_CLASSES[kind])


def _load_generation_config(model: PreTrainedModel, name: str, revision: str | None) -> None:
    """Sets the generation config, with its end tokens: it is in a file of its own, which `from_config` does not read."""
    from transformers import GenerationConfig

    try:
        model.generation_config = GenerationConfig.from_pretrained(name, revision=revision or "main")
    except OSError:  # a boundary: many models have no such file
        model.generation_config = GenerationConfig.from_model_config(model.config)


def base_location(job: Job) -> tuple[str, str | None]:
    """(folder or Hub name, revision) of the base weights; an earlier run that trained all weights replaces the base."""
    folder = init_from.full_model_folder(job.spec.model)
    return (folder, None) if folder else (models.locate_model(job.spec.model.id), job.spec.model.revision)


def peft_config_of_job(job: Job) -> PeftConfig | None:
    """peft's config for the job; None where all weights are trained or an earlier adapter is trained further."""
    if job.spec.adapter.kind == "none" or (init_from.adapter_source(job.spec.model) and not job.preview):
        return None
    return adapter.build_peft_config(
        job, PEFT_TASKS[job.kind], trainable_embedding_rows(job.model, trainable_token_ids(job, job.model))
    )


def load_tuned(
    name: str | Path, revision: str | None = None, dtype: torch.dtype | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """(model, tokenizer) of a result or of a Hub model: an adapter on its base, or a full model; of any kind.

    In evaluation mode and, unless asked otherwise, in float32: a base kept in bfloat16 would answer a little differently
    than after a training in float32. An adapter that was trained beside weights in 4 or 8 bits gets these again: it fits no
    others.
    """
    from transformers import AutoTokenizer

    model_files = locate_model_files(str(name), revision)
    tokenizer = AutoTokenizer.from_pretrained(model_files.tokenizer[0], revision=model_files.tokenizer[1])
    model = load_base_model(
        model_files.kind,
        *model_files.base,
        model_files.tokenizer,
        dtype,
        (model_files.quantization, model_files.full_layers),
    )
    if model_files.adapter:
        from peft import PeftModel

        from app.engine.model.fused_lora import fuse_lora

        resize_embeddings(model, tokenizer, model_files.embedding_multiple)
        model = adapter.as_pretrained_model(
            PeftModel.from_pretrained(model, model_files.adapter[0], revision=model_files.adapter[1])
        )
        fuse_lora(model)  # as in training, so that answers are the same to the last digit
    return model.eval(), tokenizer


def load_for_inference(name: str | Path, device: Device) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """(model, tokenizer) as `load_tuned`, on the device and in its dtype for frozen weights."""
    model, tokenizer = load_tuned(name, dtype=device.dtype("auto", "lora"))
    return move_to_device(model, device), tokenizer


def move_to_device(model: _ModuleT, device: Device) -> _ModuleT:
    """The model on the device; quantized weights stay where they were loaded."""
    return model if getattr(model, "quantization_method", None) else model.to(device.name)


def load_base_model(
    kind: str,
    name: str,
    revision: str | None,
    tokenizer_location: tuple[str, str | None] | None = None,
    dtype: torch.dtype | None = None,
    quantization_and_full_layers: tuple[str, Sequence[str]] = ("none", ()),
) -> PreTrainedModel:
    """A base model, by default in float32. tokenizer_location: (name, revision) of its tokenizer where it is not beside the weights.
    quantization_and_full_layers: as in the Spec, and the layers that are not quantized."""
    import torch
    from transformers import AutoTokenizer

    config = load_config(name, revision)
    if kind in _LABEL_COUNTS:
        tokenizer_name, tokenizer_revision = tokenizer_location or (name, revision)
        config.num_labels = _LABEL_COUNTS[kind]
        tokenizer = AutoTokenizer.from_pretrained(tokenizer_name, revision=tokenizer_revision)
        config.get_text_config().pad_token_id = tokenizer.pad_token_id
    kind_of_quantization, full_layers = quantization_and_full_layers
    dtype = dtype or torch.float32
    quantization_config = quantization.bitsandbytes_config(kind_of_quantization, dtype, full_layers)
    return quantization.load_quantized(model_class(kind, config), (name, revision), config, dtype, quantization_config)
