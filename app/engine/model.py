"""Model: the base a run starts from, with weights to train it or without to preview it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import models
from app.problems import Problem

if TYPE_CHECKING:
    from app.engine.job import Job


# What a method trains: a model that writes, one that gives a whole text one score, or one that judges each of its steps.
CLASSES = {
    "causal": "AutoModelForCausalLM",
    "scores": "AutoModelForSequenceClassification",
    "step_scores": "AutoModelForTokenClassification",
}
TASKS = {"causal": "CAUSAL_LM", "scores": "SEQ_CLS", "step_scores": "TOKEN_CLS"}
LABELS = {"scores": 1, "step_scores": 2}
HEADS = ("score", "classifier")  # as transformers calls what stands on top of a model that scores


def real_model(job: Job) -> Any:
    """Weights on the CPU or the run's device, with an earlier adapter to go on from if the Spec names one."""
    from transformers import set_seed

    set_seed(job.spec.seed)  # from scratch, new heads and new adapters draw their first weights now
    name, revision = base_of(job)
    dtype = job.device.dtype(job.knobs.precision, job.spec.adapter.kind)
    config = config_of(job, name, revision)
    if getattr(job.knobs, "from_scratch", False):
        model = class_for(job.kind, config).from_config(config, dtype=dtype)
        model.config._name_or_path = name
        take_generation_config(model, name, revision)
    else:
        held = quantization(job.spec.model.quantization, dtype)
        more = {"quantization_config": held} if held else {}
        model = class_for(job.kind, config).from_pretrained(name, revision=revision, config=config, dtype=dtype, **more)
    return with_start(job, model)


def meta_model(job: Job) -> Any:
    """The same shape without a byte of weights, for a trainer that only prepares data."""
    import torch

    name, revision = base_of(job)
    config = config_of(job, name, revision)
    with torch.device("meta"):
        model = class_for(job.kind, config).from_config(config)
    model.config._name_or_path = name
    take_generation_config(model, name, revision)
    return model


def config_of(job: Job, name: str, revision: str | None) -> Any:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(name, revision=revision)
    if job.kind in LABELS:
        config.num_labels = LABELS[job.kind]
        config.get_text_config().pad_token_id = job.tokenizer.pad_token_id
    return config


def class_for(kind: str, config: Any) -> Any:
    """transformers' class for such a model; one that also takes pictures has another name for the same."""
    import transformers

    sees = kind == "causal" and hasattr(config, "vision_config")
    return getattr(transformers, "AutoModelForImageTextToText" if sees else CLASSES[kind])


def quantization(kind: str, dtype: Any) -> Any:
    """bitsandbytes' config of how frozen weights are held; None for as they are. What is trained is never held so."""
    from transformers import BitsAndBytesConfig

    if kind == "none":
        return None
    kept = ["lm_head", *HEADS]
    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=True,
                              bnb_4bit_compute_dtype=dtype, llm_int8_skip_modules=kept)  # fmt: skip


def take_generation_config(model: Any, name: str, revision: str | None) -> None:
    """End tokens of generation stand in a file of their own, which from_config does not read."""
    from transformers import GenerationConfig

    try:
        model.generation_config = GenerationConfig.from_pretrained(name, revision=revision)
    except OSError:  # a border: many models have no such file
        model.generation_config = GenerationConfig.from_model_config(model.config)


def base_of(job: Job) -> tuple[str, str | None]:
    """Where the weights lie: a run that trained all weights replaces the base itself."""
    start = job.spec.model.start_from
    if start and is_whole_model(models.start_folder(start)):
        return models.start_folder(start), None
    return models.locate(job.spec.model.id), job.spec.model.revision


def is_whole_model(folder: str) -> bool:
    return (Path(folder) / "config.json").exists()


def with_start(job: Job, model: Any) -> Any:
    """The earlier adapter in place and trainable, when there is one."""
    start = job.spec.model.start_from
    if not start or is_whole_model(models.start_folder(start)):
        return model
    from peft import PeftConfig, PeftModel, get_peft_model, load_peft_weights, set_peft_model_state_dict

    folder = models.start_folder(start)
    config = PeftConfig.from_pretrained(folder)
    if config.task_type == TASKS[job.kind]:
        return PeftModel.from_pretrained(model, folder, is_trainable=True)
    # an adapter of a model that writes, under a new head that scores: its layers are the same, the head begins anew
    config.task_type, config.inference_mode = TASKS[job.kind], False
    config.modules_to_save = [*HEADS] if job.kind != "causal" else None
    grown = get_peft_model(model, config)
    set_peft_model_state_dict(grown, load_peft_weights(folder, device="cpu"))
    return grown


def lora_config(job: Job) -> Any:
    """peft's config of the Spec's adapter; None when all weights are trained or an earlier adapter goes on."""
    adapter, start = job.spec.adapter, job.spec.model.start_from
    if start and not is_whole_model(models.start_folder(start)):
        require_same_adapter(job, Path(models.start_folder(start)))
        return None
    if adapter.kind == "none":
        return None
    from peft import LoraConfig

    return LoraConfig(
        task_type=TASKS[job.kind],
        r=adapter.r,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules="all-linear" if adapter.targets in ("auto", "all-linear") else adapter.targets.split(","),
        modules_to_save=[*HEADS] if job.kind != "causal" else None,
        use_dora=adapter.kind == "dora",
        use_rslora=adapter.kind == "rslora",
    )


def require_same_adapter(job: Job, folder: Path) -> None:
    """Going on from an adapter keeps its rank; asking for another would silently do less."""
    config = (
        json.loads((folder / "adapter_config.json").read_text()) if (folder / "adapter_config.json").exists() else {}
    )
    rank = config.get("r")
    if rank and (job.spec.adapter.kind == "none" or rank != job.spec.adapter.r):
        raise Problem(f"The adapter to go on from has rank {rank}, and this setup asks for {job.spec.adapter.kind} of rank "
                      f"{job.spec.adapter.r}.", advice=f"Set the adapter's rank to {rank}.")  # fmt: skip


def load_tuned(name: str | Path, revision: str | None = None, dtype: Any = None) -> tuple[Any, Any]:
    """(model, tokenizer) of a result or of a Hub model: an adapter on its base, or a whole model; whatever it does, write or score.

    In evaluation mode and, unless asked otherwise, in float32, as it was trained here: a base kept in bfloat16 would answer a
    little differently.
    """
    from transformers import AutoTokenizer

    from app.engine.parts import parts

    found = parts(str(name), revision)
    model = plain_model(found.kind, *found.base, words=found.words, dtype=dtype)
    if found.adapter:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, found.adapter[0], revision=found.adapter[1])
    return model.eval(), AutoTokenizer.from_pretrained(found.words[0], revision=found.words[1])


def plain_model(kind: str, name: str, revision: str | None, words: tuple[str, str | None] | None = None,
                dtype: Any = None) -> Any:  # fmt: skip
    """A base, in float32 unless asked otherwise. words: where the tokenizer lies that it is used with, if not beside it."""
    import torch
    from transformers import AutoConfig, AutoTokenizer

    config = AutoConfig.from_pretrained(name, revision=revision)
    if kind in LABELS:
        place, version = words or (name, revision)
        config.num_labels = LABELS[kind]
        config.get_text_config().pad_token_id = AutoTokenizer.from_pretrained(place, revision=version).pad_token_id
    return class_for(kind, config).from_pretrained(name, revision=revision, config=config, dtype=dtype or torch.float32)
