"""Model: the base a run starts from, with weights to train it or without to preview it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import models
from app.problems import Problem

if TYPE_CHECKING:
    from app.engine.job import Job


def real_model(job: Job) -> Any:
    """Weights on the CPU or the run's device, with an earlier adapter to go on from if the Spec names one."""
    from transformers import AutoConfig, AutoModelForCausalLM, set_seed

    set_seed(job.spec.seed)  # from scratch and new adapters draw their first weights now
    name, revision = base_of(job)
    dtype = job.device.dtype(job.knobs.precision, job.spec.adapter.kind)
    if getattr(job.knobs, "from_scratch", False):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(name, revision=revision), dtype=dtype)
        model.config._name_or_path = name
        take_generation_config(model, name, revision)
    else:
        model = AutoModelForCausalLM.from_pretrained(name, revision=revision, dtype=dtype)
    return with_start(job, model)


def meta_model(job: Job) -> Any:
    """The same shape without a byte of weights, for a trainer that only prepares data."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    name, revision = base_of(job)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(name, revision=revision))
    model.config._name_or_path = name
    take_generation_config(model, name, revision)
    return model


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
    from peft import PeftModel

    return PeftModel.from_pretrained(model, models.start_folder(start), is_trainable=True)


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
        task_type="CAUSAL_LM",
        r=adapter.r,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules="all-linear" if adapter.targets in ("auto", "all-linear") else adapter.targets.split(","),
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


def load_tuned(folder: str | Path) -> tuple[Any, Any]:
    """(model, tokenizer) of a result: an adapter on its base, or a whole model. In evaluation mode and in float32, as
    it was trained here: a base kept in bfloat16 would answer a little differently.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = Path(folder)
    if (folder / "adapter_config.json").exists():
        from peft import AutoPeftModelForCausalLM

        model = AutoPeftModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    else:
        model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(str(folder))
