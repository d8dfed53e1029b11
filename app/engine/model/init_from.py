"""Start: what a run goes on from: the adapter of an earlier run or of the Hub, or a whole model that takes the base's place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.problems import Problem
from app.engine.model.adapter import EVERY, unfrozen
from app.engine.model.quantization import HEADS, NOTE, multiple_of
from app.setup import models

if TYPE_CHECKING:
    from app.engine.job import Job
    from app.setup.spec import Adapter, Model


def whole_model(model: Model) -> str | None:
    """The folder of an earlier run that trained all weights, if this goes on from one."""
    folder = models.start_folder(model.start_from) if model.start_from else None
    return folder if folder and (Path(folder) / "config.json").exists() else None


def adapter_of(model: Model) -> str | None:
    """The folder or Hub name of the adapter this goes on from, if there is one."""
    return models.start_folder(model.start_from) if model.start_from and not whole_model(model) else None


def gone_on(job: Job, model: Any) -> Any:
    """The model with the earlier adapter in place and trainable, when there is one. Raises Problem when it does not fit."""
    name = adapter_of(job.spec.model)
    if name is None:
        return model
    require_same(job, model)
    try:
        return put_on(job, model, name)
    except (RuntimeError, ValueError) as error:  # a border: a stranger's adapter
        made_for = read(name).get("base_model_name_or_path")
        raise Problem(
            f"The adapter “{job.spec.model.start_from}” does not fit the model “{job.spec.model.id}”: it was made for “{made_for}”.",
            advice="Choose that model.",
        ) from error


def put_on(job: Job, model: Any, name: str) -> Any:
    from peft import (
        PeftConfig,
        PeftModel,
        get_peft_model,
        get_peft_model_state_dict,
        load_peft_weights,
        set_peft_model_state_dict,
    )

    from app.engine.model.load_model import TASKS

    config = PeftConfig.from_pretrained(name)
    config.lora_dropout = job.spec.adapter.dropout
    if (config.task_type or TASKS["causal"]) == TASKS[job.kind]:
        return PeftModel.from_pretrained(model, name, config=config, is_trainable=True)
    # an adapter of a model that writes, under a new head that scores: its layers are the same, the head begins anew
    config.task_type, config.inference_mode = TASKS[job.kind], False
    whole = whole_layers(name)
    config.modules_to_save = [*(HEADS if job.kind != "causal" else ()), *whole] or None
    grown = get_peft_model(model, config)
    # with its own head beside the earlier layers: peft asks for the weights of everything that is trained
    set_peft_model_state_dict(grown, get_peft_model_state_dict(grown) | load_peft_weights(name, device="cpu"))
    return grown


def require_same(job: Job, model: Any) -> None:
    """Going on from an adapter keeps what it is: asking for another would silently do less. Raises Problem."""
    name = adapter_of(job.spec.model)
    if name is None:
        return
    config, asked = read(name), job.spec.adapter
    if not config:
        raise Problem(f"“{job.spec.model.start_from}” could not be found as an adapter to go on from.",
                      advice="Check its spelling and your connection. If it is a whole model, choose it as the model itself.")  # fmt: skip
    is_there = {"kind": kind_of(config), "r": config.get("r"), "alpha": config.get("lora_alpha")}
    if asked.kind == "none" or is_there != {"kind": asked.kind, "r": asked.r, "alpha": asked.alpha}:
        raise Problem(f"The adapter to go on from is of the kind {is_there['kind']} with rank {is_there['r']} and strength {is_there['alpha']:g}, and this "
                      f"setup asks for {said(asked)}.", advice="Set kind, rank and strength to those of the adapter.")  # fmt: skip
    require_same_layers(config, asked, model)
    require_same_rows(job, name, config)


def require_same_layers(config: dict[str, Any], asked: Adapter, model: Any) -> None:
    whole = {*whole_of(config)}
    if asked.targets not in EVERY or (asked.unfreeze and {*unfrozen(model, asked.unfreeze)} != whole):
        raise Problem("Going on from an adapter keeps the layers that it trains.", advice="Leave the layers as they are in that adapter: targets on auto, nothing to unfreeze.")  # fmt: skip


def require_same_rows(job: Job, name: str, config: dict[str, Any]) -> None:
    """Embeddings that were trained whole fit only a table of as many rows."""
    from app.engine.model.model_files import file_of

    grown, asked = multiple_of(file_of(name, NOTE, None)), job.spec.model.embedding_multiple
    if config.get("modules_to_save") and grown != asked:
        raise Problem(f"The embeddings of the adapter to go on from grew to a multiple of {grown}, and this setup asks for {asked}.",
                      advice=f"Set it to {grown}.")  # fmt: skip


def whole_layers(name: str) -> list[str]:
    """Those that an adapter holds whole, but for a head that scores."""
    return whole_of(read(name))


def whole_of(config: dict[str, Any]) -> list[str]:
    return [one for one in config.get("modules_to_save") or [] if one not in HEADS]


def said(asked: Adapter) -> str:
    return "no adapter" if asked.kind == "none" else f"{asked.kind} with rank {asked.r} and strength {asked.alpha:g}"


def kind_of(config: dict[str, Any]) -> str:
    return "dora" if config.get("use_dora") else "rslora" if config.get("use_rslora") else "lora"


def read(name: str) -> dict[str, Any]:
    """An adapter's own settings, fetched from the Hub where it lies there; empty where there is none."""
    from app.engine.model.model_files import file_of

    found = file_of(name, "adapter_config.json", None)
    return json.loads(found.read_text(encoding="utf-8")) if found else {}


def refuse_adapter(name: str, revision: str | None) -> None:
    """Raises Problem when what was named as a model is an adapter; somewhere else it would be right."""
    from app.engine.model.model_files import file_of

    config = file_of(name, "adapter_config.json", revision)
    if config is not None:
        base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
        raise models.adapter_as_model(name, base)
