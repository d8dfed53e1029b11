"""Quantization of frozen weights to 8 or 4 bits, and the note beside a result that says how its base was loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from app.engine.trainers.mixin_bases import TrainerBase
from app.setup.spec import Model

if TYPE_CHECKING:
    import torch
    from torch.nn import Module
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForImageTextToText,
        AutoModelForSequenceClassification,
        AutoModelForTokenClassification,
        BitsAndBytesConfig,
        PreTrainedConfig,
        PreTrainedModel,
    )

    from app.engine.job import Job

    AutoModelClass = type[
        AutoModelForCausalLM
        | AutoModelForImageTextToText
        | AutoModelForSequenceClassification
        | AutoModelForTokenClassification
    ]

NOTE_FILE = "tunesmith.json"  # beside a result: what loading it needs and its other files do not contain
SCORE_HEADS = ("score", "classifier")  # transformers' names of the heads of scoring models
_BITS = {"nf4": 4, "fp4": 4, "int8": 8}
_NOTED_FIELDS = ("quantization", "embedding_multiple")  # fields of the Spec's model that the note has
_SECOND_PACKING = "support_avx512bf16_for_cpu"  # attribute of bitsandbytes' 4-bit layers
_MAX_MULTIPLE = 1024  # of a note that may be from anywhere


def bitsandbytes_config(kind: str, dtype: torch.dtype, full_layers: Sequence[str] = ()) -> BitsAndBytesConfig | None:
    """bitsandbytes' config for frozen weights; None for weights that are not quantized. full_layers: fully trained layers, which
    cannot be quantized."""
    from transformers import BitsAndBytesConfig

    if kind == "none":
        return None
    skipped_modules = ["lm_head", *SCORE_HEADS, *full_layers]
    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped_modules)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=kind,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=skipped_modules,
    )


def load_quantized(
    model_type: AutoModelClass,
    location: tuple[str, str | None],
    config: PreTrainedConfig,
    dtype: torch.dtype,
    quantization_config: BitsAndBytesConfig | None,
) -> PreTrainedModel:
    """A model of the class `model_type`, quantized where there is a config for it. location: (folder or Hub name, revision)."""
    name, revision = location
    model = model_type.from_pretrained(
        name,
        dtype=dtype,
        revision=revision,
        config=config,
        **({"quantization_config": quantization_config} if quantization_config else {}),
    )
    _keep_packed_layout(model)
    return model


def _keep_packed_layout(model: Module) -> None:
    """Turns off a second packing of 4-bit weights. On processors with AVX512-BF16, bitsandbytes 0.50 packs them anew at the first
    evaluation, for a kernel that rounds to bfloat16 and passes no gradient back: training after an evaluation would use
    only a part of the gradient."""
    for module in model.modules():
        if getattr(module, _SECOND_PACKING, False):
            setattr(module, _SECOND_PACKING, False)


def fix_trainable_weights(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Corrects what TRL's constructor does to trained weights. dtype: of the weights that are not quantized.

    Beside quantized weights TRL casts all trained weights to bfloat16, which rounds small updates away. Here, with
    dtype float32, all of them are float32; embedding rows and heads always are, and fully trained layers get the dtype
    of their inputs. An adapter is saved without the embeddings: grown ones fit only a base that grew alike, and the
    trained rows are enough."""
    import torch

    if not hasattr(model, "peft_config"):
        return
    for name, weight in model.named_parameters():
        if weight.requires_grad and "modules_to_save" in name and not {*name.split(".")} & {*SCORE_HEADS}:
            weight.data = weight.data.to(dtype)
        elif weight.requires_grad and ("trainable_tokens" in name or dtype == torch.float32):
            weight.data = weight.data.float()
    keep_heads_in_float32(model)
    add_bias_attribute(model)
    model.save_pretrained = partial(model.save_pretrained, save_embedding_layers=False)  # type: ignore[method-assign]


def keep_heads_in_float32(model: Module) -> None:
    """Keeps a new scoring head, which is fully trained beside an adapter, in float32, and casts its inputs to it."""
    for name, module in model.named_modules():
        name_segments = name.split(".")
        if name_segments[-2:-1] == ["modules_to_save"] and {*name_segments} & {*SCORE_HEADS}:
            module.float()
            module.register_forward_pre_hook(lambda module, args: tuple(arg.float() for arg in args))


def add_bias_attribute(model: Module) -> None:
    """Gives output layers with trained token rows a `bias` attribute: TRL reads it, and peft's wrapper has none."""
    for module in model.modules():
        if type(module).__name__ == "TrainableTokensWrapper":
            module.__dict__["bias"] = getattr(module.original_module, "bias", None)


class ResultNoteMixin(TrainerBase):
    """Writes a note beside the results that the trainer saves."""

    job: Job

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        super().save_model(output_dir, _internal_call)
        _write_note(self.job, Path(output_dir or self.args.output_dir or self.job.folder))


def _write_note(job: Job, folder: Path) -> None:
    """Writes the Spec's settings that loading the result must know, where they are not the defaults: an adapter fits only a base that is
    quantized alike and whose embeddings grew alike. Also saves the tokenizer where its chat template has arguments."""
    model_spec, default_spec = job.spec.model, Model()
    note = {
        name: getattr(model_spec, name)
        for name in _NOTED_FIELDS
        if getattr(model_spec, name) != getattr(default_spec, name)
    }
    if note:
        (folder / NOTE_FILE).write_text(json.dumps(note) + "\n", encoding="utf-8")
    if job.template_arguments:
        job.tokenizer.save_pretrained(folder)


def read_quantization(note_file: Path | None) -> str:
    """How the base of a result was quantized during training, from the note beside it."""
    kind = json.loads(note_file.read_text(encoding="utf-8")).get("quantization") if note_file else "none"
    return kind if kind in _BITS else "none"  # the note may be from anywhere


def read_embedding_multiple(note_file: Path | None) -> int:
    """The multiple that the embedding rows of a result grew to, from the note beside it."""
    default_multiple = Model().embedding_multiple
    multiple = (
        json.loads(note_file.read_text(encoding="utf-8")).get("embedding_multiple", default_multiple)
        if note_file
        else default_multiple
    )
    is_valid = type(multiple) is int and 1 <= multiple <= _MAX_MULTIPLE  # the note may be from anywhere
    return multiple if is_valid else default_multiple


def count_parameters(model: Module) -> list[tuple[int, bool]]:
    """(number of parameters, is trained) of each weight of a model; two 4-bit parameters share a byte."""
    return [
        (weight.numel() * (2 if type(weight).__name__ == "Params4bit" else 1), weight.requires_grad)
        for weight in model.parameters()
    ]


def memory_footprint(model: Module) -> int:
    """Bytes of the weights in memory, with the scales of quantized ones."""
    return sum(weight.numel() * weight.element_size() + scale_bytes(weight) for weight in model.parameters())


def scale_bytes(weight: torch.Tensor) -> int:
    """Bytes of the scales beside a quantized weight."""
    state = getattr(weight, "quant_state", None)
    if state is not None:
        nested = [state.state2.absmax, state.state2.code, state.offset] if state.nested else []
        return sum(tensor.numel() * tensor.element_size() for tensor in (state.absmax, state.code, *nested))
    row_scales = getattr(weight, "SCB", None)
    return row_scales.numel() * row_scales.element_size() if row_scales is not None else 0
