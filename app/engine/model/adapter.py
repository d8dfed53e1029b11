"""Adapter: which weights are trained: LoRA beside layers or experts, full layers, embedding rows of some tokens, or all weights."""

from __future__ import annotations

import re
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, cast

from app.core import registry
from app.core.problems import Problem, shorten
from app.engine.model.adapter_kinds import build_other_config, require_initializable, require_supported
from app.engine.model.quantization import SCORE_HEADS

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from torch.nn import Module, Parameter
    from transformers import PreTrainedModel

    from app.engine.job import Job
    from app.setup.adapter import Adapter

PEFT_TASKS = {"causal": "CAUSAL_LM", "scores": "SEQ_CLS", "step_scores": "TOKEN_CLS"}  # by what a method trains
TARGET_KEYWORDS = ("auto", "all-linear")


def build_peft_config(job: Job, task: str, token_rows: dict[str, list[int]]) -> PeftConfig:
    """peft's config for the Spec's adapter. Raises Problem for layers that the model does not have.

    task: peft's task type. token_rows: {layer: token ids} of single embedding rows to train.
    """
    from peft import LoraConfig

    adapter, model = job.spec.adapter, job.model
    full_layers = unfrozen_layers(model, adapter.unfreeze)
    experts = _expert_parameters(model, adapter)
    token_rows = {
        layer: ids for layer, ids in token_rows.items() if layer not in full_layers
    }  # full layers train these rows anyway
    target_modules = _target_modules(model, adapter.targets, full_layers)
    target_layers = [model.get_submodule(name) for name in target_modules]
    require_initializable(adapter, job.spec.model.quantization, target_layers)
    require_supported(job.spec, trains_tokens=bool(token_rows))
    common = {
        "task_type": task,
        "target_modules": target_modules,
        "modules_to_save": [*(SCORE_HEADS if job.kind != "causal" else ()), *full_layers] or None,
    }
    if not adapter.is_lora:
        return build_other_config(job.spec, model.config.get_text_config().model_type, common)
    return LoraConfig(
        **common,  # type: ignore[arg-type]  # as every config of PEFT has them
        r=adapter.as_stored.r,
        lora_alpha=adapter.as_stored.alpha,  # type: ignore[arg-type]  # PEFT scales by any number
        lora_dropout=adapter.dropout,
        init_lora_weights="gaussian"
        if adapter.init == "gaussian"
        else True,  # others: app/engine/model/adapter_init.py
        target_parameters=experts or None,
        trainable_token_indices=token_rows or None,
        ensure_weight_tying=bool(full_layers)
        and has_tied_embeddings(model)
        and input_embeddings_name(model) in full_layers,
        use_dora=adapter.kind == "dora",
        use_rslora=adapter.kind == "rslora",
    )


def as_pretrained_model(model: PeftModel) -> PreTrainedModel:
    """The same model, typed as the one that it wraps: peft's class hands on all attributes of it."""
    return cast("PreTrainedModel", model)


# -- layers that get an adapter -----------------------------------------------------------------------------------


def _target_modules(model: PreTrainedModel, targets: str, full_layers: list[str]) -> list[str]:
    """Full names of the layers that get an adapter. targets: as in the Spec. In a multimodal model these are layers of the language
    model; `all-linear`, or a name that only another part of the model has, reaches beyond it."""
    linear_layers = _linear_layer_names(model)
    language_layers = [name for name in linear_layers if name.startswith(_language_model_prefix(model))]
    if targets == "auto":
        chosen = language_layers
    elif targets == "all-linear":
        chosen = linear_layers
    else:
        chosen = [
            layer
            for name in targets.split(",")
            for layer in _layers_by_name(name, language_layers, linear_layers, model)
        ]
    return [name for name in dict.fromkeys(chosen) if not any(_is_within(name, layer) for layer in full_layers)]


def _layers_by_name(
    name: str, language_layers: list[str], linear_layers: list[str], model: PreTrainedModel
) -> list[str]:
    if matching_layers := _ending_with(name, language_layers) or _ending_with(name, linear_layers):
        return matching_layers
    output = model.get_output_embeddings()
    if output is not None and _ending_with(name, [module_name(model, output)]):
        raise Problem(
            f"The output layer “{name}” cannot carry an adapter.",
            advice="Unfreeze it instead: then it is trained whole.",
        )
    raise Problem(
        f"This model has no layer called “{shorten(name, 80)}” that can carry an adapter.",
        advice=_suggest_nearest(name, linear_layers),
    )


def _linear_layer_names(model: PreTrainedModel) -> list[str]:
    """Full names of the linear layers, without the output layer and scoring heads."""
    import torch
    from transformers.pytorch_utils import Conv1D

    output = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not output and name not in SCORE_HEADS
    ]


def _language_model_prefix(model: PreTrainedModel) -> str:
    """Prefix of the names of the language model's layers; empty where the model has no other part."""
    if model.config.get_text_config() is model.config:
        return ""
    return f"{module_name(model, model.get_decoder())}."


def _expert_parameters(model: PreTrainedModel, adapter: Adapter) -> list[str]:
    """Full names of the stacked weights of a mixture of experts that the Spec names. Raises Problem where LoRA cannot train them."""
    if not adapter.experts:
        return []
    expert_names = [name for name, weight in model.named_parameters() if weight.ndim == 3]
    matching_names = [
        matching_name
        for pattern in adapter.experts
        for matching_name in _match_names(pattern, expert_names, "stack of experts", "this model")
    ]
    if adapter.dropout or adapter.kind == "dora":
        conflict = "with dropout" if adapter.dropout else "of the kind dora"
        raise Problem(
            f"Stacks of experts cannot carry an adapter {conflict}.",
            advice="Set dropout to 0, and choose lora or rslora.",
        )
    return list(dict.fromkeys(matching_names))


# -- fully trained layers -----------------------------------------------------------------------------------------


def unfrozen_layers(model: PreTrainedModel, patterns: list[str]) -> list[str]:
    """Full names of the layers with weights of their own that a pattern names, directly or by a module that contains them."""
    if not patterns:
        return []
    layer_names = [
        name for name, module in model.named_modules() if next(module.parameters(recurse=False), None) is not None
    ]
    return list(
        dict.fromkeys(
            layer for pattern in patterns for layer in _match_names(pattern, layer_names, "layer", "this model", True)
        )
    )


def freeze_all_except(model: PreTrainedModel, names: list[str]) -> None:
    """Freezes all weights except those of these layers."""
    model.requires_grad_(False)
    for name in names:
        model.get_submodule(name).requires_grad_(True)


def _match_names(
    pattern: str, names: list[str], noun: str, model_phrase: str, includes_children: bool = False
) -> list[str]:
    """The names that match a pattern, by whole segments: `layers.3` does not match `layers.30`. Raises Problem with the nearest name.

    includes_children: also the names inside a module that matches. noun, model_phrase: for the error.
    """
    inner_names = _ending_with(f"{pattern}.*", names) if includes_children else []
    matches = {*_ending_with(pattern, names), *inner_names}
    if matches:
        return [name for name in names if name in matches]
    raise Problem(
        f"There is no {noun} called “{shorten(pattern, 80)}” in {model_phrase}.",
        advice=_suggest_nearest(pattern, names),
    )


def _ending_with(pattern: str, names: list[str]) -> list[str]:
    """The names of which the last whole segments match a pattern, in which * stands for anything."""
    return [name for name in names if fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")]


def _suggest_nearest(pattern: str, names: list[str]) -> str:
    """A sentence with the nearest of the names, or with some that there are."""
    if not names:
        return "It has none."
    corrected = _with_known_segments(pattern, names)
    if corrected != pattern and _ending_with(corrected, names):
        return f"Did you mean “{corrected}”?"
    numbered = [re.sub(r"\.\d+(?=\.)", ".*", name) for name in names]  # as a person writes them: of every layer
    similar_names = sorted({suffix for name in numbered for suffix in _name_suffixes(name) if suffix[0] != "*"})
    last_segment = corrected.rpartition(".")[2]
    ending_alike = [name for name in similar_names if name.rpartition(".")[2] == last_segment]
    nearest = registry.suggest_name(pattern, ending_alike or similar_names)
    return nearest if len(nearest) <= 300 else f"Some that there are: {', '.join(similar_names[:6])}."


def _with_known_segments(pattern: str, names: list[str]) -> str:
    """The pattern with the nearest segment of a name in place of each that no name has; those with * stay."""
    segments = {segment for name in names for segment in name.split(".")}
    return ".".join(
        segment
        if "*" in segment or segment in segments
        else next(iter(get_close_matches(segment, segments, n=1)), segment)
        for segment in pattern.split(".")
    )


def _name_suffixes(name: str) -> list[str]:
    """Of a.b.c: c, b.c, a.b.c: the names that a person may have meant."""
    name_segments = name.split(".")
    return [".".join(name_segments[i:]) for i in range(len(name_segments))]


# -- names --------------------------------------------------------------------------------------------------------


def _is_within(name: str, parent_name: str) -> bool:
    return name == parent_name or name.startswith(f"{parent_name}.")


def module_name(model: PreTrainedModel, module: Module) -> str:
    return next((name for name, candidate in model.named_modules() if candidate is module), "")


def input_embeddings_name(model: PreTrainedModel) -> str:
    return module_name(model, model.get_input_embeddings())


def input_embedding_weight(model: PreTrainedModel) -> Parameter:
    """The table of the input embeddings, one row for each token id."""
    return model.get_input_embeddings().get_parameter("weight")


def has_tied_embeddings(model: PreTrainedModel) -> bool:
    """Whether the output layer shares its weights with the input embeddings."""
    output = model.get_output_embeddings()
    return output is not None and bool(getattr(model.config, "tie_word_embeddings", False))
