"""Adapter: which weights are trained: low-rank ones beside layers or stacks of experts, layers whole, rows of words, or all."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from app.core import registry
from app.core.problems import Problem, shorten
from app.engine.model.quantization import HEADS

if TYPE_CHECKING:
    from app.engine.job import Job
    from app.setup.spec import Adapter

EVERY = ("auto", "all-linear")


def lora_config(job: Job, task: str, rows: dict[str, list[int]]) -> Any:
    """peft's config of the Spec's adapter. task: as peft calls what the model does. rows: of the embeddings, trained by
    themselves. Raises Problem for what is not there."""
    from peft import LoraConfig

    adapter, model = job.spec.adapter, job.model
    whole = unfrozen(model, adapter.unfreeze)
    experts = stacks(model, adapter)
    rows = {layer: ids for layer, ids in rows.items() if layer not in whole}  # those are trained anyway
    return LoraConfig(
        task_type=task,
        r=adapter.r,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules=targets(model, adapter.targets, whole),
        target_parameters=experts or None,
        modules_to_save=[*(HEADS if job.kind != "causal" else ()), *whole] or None,
        trainable_token_indices=rows or None,
        ensure_weight_tying=bool(whole) and is_tied(model) and input_name(model) in whole,
        use_dora=adapter.kind == "dora",
        use_rslora=adapter.kind == "rslora",
    )


# -- layers that get an adapter -----------------------------------------------------------------------------------


def targets(model: Any, asked: str, whole: list[str]) -> list[str]:
    """Whole names of the layers that get an adapter. asked: as in the Spec. Of a model that also takes pictures or sound the
    part that reads and writes; `all-linear`, or a name that only another part has, reaches beyond it."""
    found = linear_layers(model)
    inside = [name for name in found if name.startswith(language_part(model))]
    if asked == "auto":
        chosen = inside
    elif asked == "all-linear":
        chosen = found
    else:
        chosen = [one for name in asked.split(",") for one in named_layers(name, inside, found, model)]
    return [name for name in dict.fromkeys(chosen) if not any(is_in(name, one) for one in whole)]


def named_layers(name: str, inside: list[str], found: list[str], model: Any) -> list[str]:
    if matching := [one for one in inside if ends(one, name)] or [one for one in found if ends(one, name)]:
        return matching
    output = model.get_output_embeddings()
    if output is not None and ends(name_of(model, output), name):
        raise Problem(f"The output layer “{name}” cannot carry an adapter.", advice="Unfreeze it instead: then it is trained whole.")  # fmt: skip
    known = sorted({one.rpartition(".")[2] for one in found})
    raise Problem(f"This model has no layer called “{shorten(name, 80)}” that can carry an adapter.", advice=registry.nearest(name, known))  # fmt: skip


def linear_layers(model: Any) -> list[str]:
    """Whole names of the layers that multiply by a matrix, but for the output layer and heads that score."""
    import torch
    from transformers.pytorch_utils import Conv1D

    output = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not output and name not in HEADS
    ]


def language_part(model: Any) -> str:
    """What the names begin with of the part that reads and writes; empty where there is no other."""
    if model.config.get_text_config() is model.config:
        return ""
    return f"{name_of(model, model.get_decoder())}."


def stacks(model: Any, adapter: Adapter) -> list[str]:
    """Whole names of the stacked weights of a mixture of experts that the Spec names."""
    if not adapter.experts:
        return []
    known = [name for name, weight in model.named_parameters() if weight.ndim == 3]
    found = [one for pattern in adapter.experts for one in matching(pattern, known, "stack of experts", "this model")]
    if adapter.dropout or adapter.kind == "dora":
        what = "with dropout" if adapter.dropout else "of the kind dora"
        raise Problem(f"Stacks of experts cannot carry an adapter {what}.", advice="Set dropout to 0, and choose lora or rslora.")  # fmt: skip
    return list(dict.fromkeys(found))


# -- layers trained whole -----------------------------------------------------------------------------------------


def unfrozen(model: Any, patterns: list[str]) -> list[str]:
    """Whole names of the layers that hold weights of their own and that a pattern names, or a part that they lie in."""
    if not patterns:
        return []
    known = [name for name, module in model.named_modules() if next(module.parameters(recurse=False), None) is not None]
    return list(
        dict.fromkeys(one for pattern in patterns for one in matching(pattern, known, "layer", "this model", True))
    )


def train_only(model: Any, names: list[str]) -> None:
    """All weights are frozen but those of these layers."""
    model.requires_grad_(False)
    for name in names:
        model.get_submodule(name).requires_grad_(True)


def matching(pattern: str, known: list[str], what: str, where: str, inside: bool = False) -> list[str]:
    """The names that fit, of whole parts: `layers.3` is not in `layers.30`. inside: also of what lies in a part that fits.
    Raises Problem with the nearest name."""
    forms = [pattern, f"*.{pattern}"] + ([f"{pattern}.*", f"*.{pattern}.*"] if inside else [])
    if found := [name for name in known if any(fnmatchcase(name, form) for form in forms)]:
        return found
    alike = sorted({short for name in known for short in parts_of(re.sub(r"\.\d+\.", ".*.", name))})
    nearest = registry.nearest(pattern, alike) if alike else "It has none."
    if len(nearest) > 300:
        nearest = f"Some that there are: {', '.join(alike[:6])}."
    raise Problem(f"There is no {what} called “{shorten(pattern, 80)}” in {where}.", advice=nearest)


def parts_of(name: str) -> list[str]:
    """Of a.b.c: c, b.c, a.b.c; what somebody may have meant to write."""
    pieces = name.split(".")
    return [".".join(pieces[i:]) for i in range(len(pieces))]


# -- names --------------------------------------------------------------------------------------------------------


def ends(name: str, with_this: str) -> bool:
    return name == with_this or name.endswith(f".{with_this}")


def is_in(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")


def name_of(model: Any, module: Any) -> str:
    return next((name for name, one in model.named_modules() if one is module), "")


def input_name(model: Any) -> str:
    return name_of(model, model.get_input_embeddings())


def is_tied(model: Any) -> bool:
    """The output layer's weights are the embeddings."""
    output = model.get_output_embeddings()
    return output is not None and bool(getattr(model.config, "tie_word_embeddings", False))
