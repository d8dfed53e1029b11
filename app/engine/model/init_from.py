"""Earlier result that a run continues from: an adapter of a run or of the Hub, or a full model that replaces the base."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from app.core.problems import Problem
from app.engine.model.adapter import PEFT_TASKS, TARGET_KEYWORDS, as_pretrained_model, unfrozen_layers
from app.engine.model.hub_files import AdapterConfig, find_model_file, read_json_file
from app.engine.model.quantization import NOTE_FILE, SCORE_HEADS, read_embedding_multiple
from app.runs import adapters
from app.setup import models

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from app.engine.job import Job
    from app.setup.adapter import Adapter
    from app.setup.spec import Model


def full_model_folder(model: Model) -> str | None:
    """Folder of an earlier run that trained all weights, if the run continues from one."""
    folder = adapters.locate_adapter(model.start_from) if model.start_from else None
    return folder if folder and (Path(folder) / "config.json").exists() else None


def adapter_source(model: Model) -> str | None:
    """Folder or Hub name of the adapter that the run continues from, if there is one."""
    return adapters.locate_adapter(model.start_from) if model.start_from and not full_model_folder(model) else None


def with_earlier_adapter(job: Job, model: PreTrainedModel) -> PreTrainedModel:
    """The model with the earlier adapter attached and trainable, if there is one. Raises Problem where it does not fit."""
    name = adapter_source(job.spec.model)
    if name is None:
        return model
    require_same_adapter(job, model)
    try:
        return _attach_adapter(job, model, name)
    except (RuntimeError, ValueError) as error:  # a boundary: the adapter may be from anywhere
        base_model = read_adapter_config(name).get("base_model_name_or_path")
        raise Problem(
            f"The adapter “{job.spec.model.start_from}” does not fit the model “{job.spec.model.id}”: it was made for “{base_model}”.",
            advice="Choose that model.",
        ) from error


def _attach_adapter(job: Job, model: PreTrainedModel, name: str) -> PreTrainedModel:
    from peft import (
        PeftConfig,
        PeftModel,
        get_peft_model,
        get_peft_model_state_dict,
        load_peft_weights,
        set_peft_model_state_dict,
    )

    config = PeftConfig.from_pretrained(name)
    if job.spec.adapter.is_lora:
        config.lora_dropout = job.spec.adapter.dropout
    if (config.task_type or PEFT_TASKS["causal"]) == PEFT_TASKS[job.kind]:
        return as_pretrained_model(PeftModel.from_pretrained(model, name, config=config, is_trainable=True))
    # an adapter of a causal language model under a new scoring head: the layers are the same, the head is new
    config.task_type, config.inference_mode = PEFT_TASKS[job.kind], False
    full_layers = fully_trained_layers(name)
    config.modules_to_save = [*(SCORE_HEADS if job.kind != "causal" else ()), *full_layers] or None
    peft_model = get_peft_model(model, config)
    # with the new head's own weights, because peft wants weights for everything that is trained
    set_peft_model_state_dict(peft_model, get_peft_model_state_dict(peft_model) | load_peft_weights(name, device="cpu"))
    return as_pretrained_model(peft_model)


def require_same_adapter(job: Job, model: PreTrainedModel) -> None:
    """Raises Problem where the Spec asks for another adapter than the earlier one: peft would silently keep the earlier one."""
    name = adapter_source(job.spec.model)
    if name is None:
        return
    config, requested = read_adapter_config(name), job.spec.adapter
    if not config:
        raise Problem(
            f"“{job.spec.model.start_from}” could not be found as an adapter to go on from.",
            advice="Check its spelling and your connection. If it is a whole model, choose it as the model itself.",
        )
    existing_phrase = _adapter_phrase(
        _adapter_kind(config),
        config.get("r") or config.get("oft_block_size"),
        config.get("lora_alpha", config.get("alpha")),
    )
    requested_phrase = _adapter_phrase(
        requested.kind,
        requested.r if requested.has_rank else None,
        requested.alpha if requested.has_strength else None,
    )
    if existing_phrase != requested_phrase:
        raise Problem(
            f"The adapter to go on from is of the kind {existing_phrase}, and this setup asks for {requested_phrase}.",
            advice="Set kind, rank and strength to those of the adapter.",
        )
    if requested.init != "default":
        raise Problem(
            f"Going on from an adapter keeps its weights, and this setup asks for new ones that begin as {requested.init}.",
            advice="Set the initialisation to default.",
        )
    _require_same_layers(config, requested, model)
    _require_same_embedding_multiple(job, name, config)


def _require_same_layers(config: AdapterConfig, requested: Adapter, model: PreTrainedModel) -> None:
    """The trained layers are those of the earlier adapter. Raises Problem where the Spec names others."""
    full_layers = {*_modules_to_save(config)}
    if requested.targets not in TARGET_KEYWORDS or (
        requested.unfreeze and {*unfrozen_layers(model, requested.unfreeze)} != full_layers
    ):
        raise Problem(
            "Going on from an adapter keeps the layers that it trains.",
            advice="Leave the layers as they are in that adapter: targets on auto, nothing to unfreeze.",
        )


def _require_same_embedding_multiple(job: Job, name: str, config: AdapterConfig) -> None:
    """Fully trained embeddings fit only a table with as many rows. Raises Problem."""
    existing_multiple, requested_multiple = (
        read_embedding_multiple(find_model_file(name, NOTE_FILE, None)),
        job.spec.model.embedding_multiple,
    )
    if config.get("modules_to_save") and existing_multiple != requested_multiple:
        raise Problem(
            f"The embeddings of the adapter to go on from grew to a multiple of {existing_multiple}, and this setup asks for {requested_multiple}.",
            advice=f"Set it to {existing_multiple}.",
        )


def fully_trained_layers(name: str) -> list[str]:
    """Layers that an adapter has full weights of, without a scoring head."""
    return _modules_to_save(read_adapter_config(name))


def _modules_to_save(config: AdapterConfig) -> list[str]:
    return [layer for layer in config.get("modules_to_save") or [] if layer not in SCORE_HEADS]


def _adapter_phrase(kind: str, rank: int | None, alpha: float | None) -> str:
    """What makes two adapters of the same shape. rank, alpha: None where the kind has none."""
    if kind == "none":
        return "no adapter"
    traits = [f"{name} {value:g}" for name, value in (("rank", rank), ("strength", alpha)) if value is not None]
    return f"{kind} with {' and '.join(traits)}" if traits else kind


def _adapter_kind(config: AdapterConfig) -> str:
    if (kind := config.get("peft_type", "LORA").lower()) != "lora":
        return kind
    return "dora" if config.get("use_dora") else "rslora" if config.get("use_rslora") else "lora"


def read_adapter_config(name: str) -> AdapterConfig:
    """An adapter's config, from its folder or the Hub; empty where there is none."""
    return read_json_file(find_model_file(name, "adapter_config.json", None))


def refuse_adapter(name: str, revision: str | None) -> None:
    """Raises Problem when the name of a model is that of an adapter, which belongs in another setting."""
    config_file = find_model_file(name, "adapter_config.json", revision)
    if config_file is not None:
        config: AdapterConfig = read_json_file(config_file)
        raise models.adapter_as_model_problem(name, config.get("base_model_name_or_path"))
