"""Held: how the frozen weights lie in memory, as they are or in 8 or 4 bits, and how a result remembers it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.setup.spec import Model

if TYPE_CHECKING:
    from app.engine.job import Job

NOTE = "tunesmith.json"  # beside a result: what loading it must know and its own files do not say
HEADS = ("score", "classifier")  # as transformers calls what stands on top of a model that scores
BITS = {"nf4": 4, "fp4": 4, "int8": 8}
NOTED = ("quantization", "embedding_multiple")  # of a Spec's model
MOST_ROWS = 1024  # that a note may ask for


def quantization(kind: str, dtype: Any, whole: Sequence[str] = ()) -> Any:
    """bitsandbytes' config of how frozen weights are held; None for as they are. whole: layers that are trained themselves,
    which few bits cannot do, and so keep theirs."""
    from transformers import BitsAndBytesConfig

    if kind == "none":
        return None
    kept = ["lm_head", *HEADS, *whole]
    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=True,
                              bnb_4bit_compute_dtype=dtype, llm_int8_skip_modules=kept)  # fmt: skip


def loaded(shape: Any, name: str, kind: str, dtype: Any, whole: Sequence[str] = (), **how: Any) -> Any:
    """A model of transformers' class `shape`, its frozen weights held as `kind` says."""
    held = quantization(kind, dtype, whole)
    model = shape.from_pretrained(name, dtype=dtype, **how, **({"quantization_config": held} if held else {}))
    keep_layout(model)
    return model


def keep_layout(model: Any) -> None:
    """On processors with AVX512-BF16, bitsandbytes 0.50 lays 4-bit weights out anew at the first evaluation, for a kernel
    that rounds to bfloat16 and passes no gradient back: what is trained after a test would learn from a part of the slope."""
    for module in model.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False):
            module.support_avx512bf16_for_cpu = False


def settle(model: Any, dtype: Any) -> None:
    """What TRL's constructor leaves that we need otherwise. dtype: of the weights that are not held in few bits.

    Beside weights in few bits it turns all that is trained into bfloat16, which rounds small corrections away: in float32
    everything stays so, rows of words and heads always, and layers trained whole are as what flows through them. And an adapter is
    saved without the embeddings that carry it: grown ones fit only a base that grew alike, and the learned rows are enough.
    """
    import torch

    if not hasattr(model, "peft_config"):
        return
    for name, weight in model.named_parameters():
        if weight.requires_grad and "modules_to_save" in name and not {*name.split(".")} & {*HEADS}:
            weight.data = weight.data.to(dtype)
        elif weight.requires_grad and ("trainable_tokens" in name or dtype == torch.float32):
            weight.data = weight.data.float()
    keep_heads_exact(model)
    give_bias(model)
    model.save_pretrained = partial(model.save_pretrained, save_embedding_layers=False)


def keep_heads_exact(model: Any) -> None:
    """A new head that scores is trained whole beside an adapter: in float32, which what flows into it becomes too."""
    for name, module in model.named_modules():
        parts = name.split(".")
        if parts[-2:-1] == ["modules_to_save"] and {*parts} & {*HEADS}:
            module.float()
            module.register_forward_pre_hook(lambda module, given: tuple(one.float() for one in given))


def give_bias(model: Any) -> None:
    """To heads with new words: TRL asks them for one, and peft's have none."""
    for module in model.modules():
        if type(module).__name__ == "TrainableTokensWrapper":
            module.__dict__["bias"] = getattr(module.original_module, "bias", None)


def noting(trainer: type, job: Job) -> type:
    """The trainer's class, whose results say what loading them must know."""

    class Noting(trainer):
        def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
            super().save_model(output_dir, _internal_call)
            note(job, Path(output_dir or self.args.output_dir))

    Noting.__name__ = Noting.__qualname__ = trainer.__name__
    return Noting


def note(job: Job, folder: Path) -> None:
    """An adapter trained beside weights held in few bits fits those, embeddings trained whole fit a base that grew alike, and a
    template's arguments belong to the answers."""
    told, usual = job.spec.model, Model()
    noted = {name: getattr(told, name) for name in NOTED if getattr(told, name) != getattr(usual, name)}
    if noted:
        (folder / NOTE).write_text(json.dumps(noted) + "\n", encoding="utf-8")
    if job.template_arguments:
        job.tokenizer.save_pretrained(folder)


def of_result(note: Path | None) -> str:
    """How the base of a result was held while it was trained, by the note beside it."""
    kind = json.loads(note.read_text(encoding="utf-8")).get("quantization") if note else "none"
    return kind if kind in BITS else "none"  # the note may be a stranger's


def multiple_of(note: Path | None) -> int:
    """To a multiple of how many rows the embeddings of a result grew, by the note beside it."""
    usual = Model().embedding_multiple
    found = json.loads(note.read_text(encoding="utf-8")).get("embedding_multiple", usual) if note else usual
    return found if type(found) is int and 1 <= found <= MOST_ROWS else usual  # the note may be a stranger's


def weights(model: Any) -> list[tuple[int, bool]]:
    """(how many numbers, is it trained) of each of a model's weights; two 4-bit numbers share a byte."""
    return [(p.numel() * (2 if type(p).__name__ == "Params4bit" else 1), p.requires_grad) for p in model.parameters()]


def footprint(model: Any) -> int:
    """Bytes of the weights as they lie in memory, with what unpacking those in few bits needs."""
    return sum(p.numel() * p.element_size() + scales(p) for p in model.parameters())


def scales(weight: Any) -> int:
    """Bytes of what stands beside a packed weight: how large each block of it is."""
    state = getattr(weight, "quant_state", None)
    if state is not None:
        nested = [state.state2.absmax, state.state2.code, state.offset] if state.nested else []
        return sum(part.numel() * part.element_size() for part in (state.absmax, state.code, *nested))
    rows = getattr(weight, "SCB", None)
    return rows.numel() * rows.element_size() if rows is not None else 0
