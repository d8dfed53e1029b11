"""Memory estimate of a run: its parts in bytes and their total as a range, from a Spec and shapes of models alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypedDict

from app.planning.memory import activations, moments, weights
from app.planning.memory.activations import FLOAT32, HALF
from app.planning.memory.device_memory import DeviceMemory
from app.planning.memory.layers import count_trained
from app.planning.memory.workload import Workload, without_head
from app.planning.resolve import models_in_settings
from app.setup.model_shape import ModelShape
from app.setup.spec import Spec
from app.setup.step_memory import RowLengths

# The measured peak lies between these shares of the sum of the parts; their ratio stays below 1.3.
_LOW_SHARE, _HIGH_SHARE = 0.88, 1.13
# What a process needs before the first tensor: the CUDA context with its libraries, or Python with PyTorch and TRL.
_PROGRAM_BYTES = {"cuda": 600_000_000, "cpu": 700_000_000, "mps": 700_000_000}
_FRAGMENTED_SHARE = 0.04  # of what comes and goes in each step, which the CUDA allocator cannot use again

When = Literal["always", "training", "writing"]


class MemoryPart(TypedDict):
    """One part of the memory. when: it is there always, while the model learns, or while it writes. at_peak: it counts
    toward the total: of learning and writing only the larger one does. reason: one sentence for the page."""

    name: str
    title: str
    term: str
    bytes: int
    when: When
    at_peak: bool
    reason: str


class MemoryEstimate(TypedDict):
    """low, high: bytes on the device in all. tensors_low, tensors_high: those that PyTorch counts, without the program
    itself and what is lost between tensors. device_bytes, free_bytes: of the device in all, and now. fits: into what is
    free; `tight` where only the low end does. recomputes: activations are computed again (gradient checkpointing)."""

    parts: list[MemoryPart]
    low: int
    high: int
    tensors_low: int
    tensors_high: int
    device_bytes: int
    free_bytes: int
    fits: Literal["yes", "tight", "no"]
    recomputes: bool


def estimate_memory(
    spec: Spec,
    shape: ModelShape,
    lengths: RowLengths,
    device: DeviceMemory,
    other_shapes: Mapping[str, ModelShape] | None = None,
) -> MemoryEstimate:
    """The memory of a resolved Spec on one device. other_shapes: {name in the settings: shape} of teachers and reward
    models; one that is missing is taken to be as large as the model."""
    workload = Workload(spec, shape, lengths, device, other_shapes or {})
    parts = [part for part in (*_lasting_parts(workload), *_passing_parts(workload)) if part["bytes"] > 0]
    tensors = sum(part["bytes"] for part in parts if part["at_peak"])
    overhead = _overhead_parts(workload, parts)
    extra = sum(part["bytes"] for part in overhead)
    low, high = int(_LOW_SHARE * tensors), int(_HIGH_SHARE * tensors)
    return {
        "parts": [*parts, *overhead],
        "low": low + extra,
        "high": high + extra,
        "tensors_low": low,
        "tensors_high": high,
        "device_bytes": device.total_bytes,
        "free_bytes": device.free_bytes,
        "fits": _judge_fit(low + extra, high + extra, device),
        "recomputes": workload.recomputes,
    }


def _judge_fit(low: int, high: int, device: DeviceMemory) -> Literal["yes", "tight", "no"]:
    """Against what is free now: another program may hold the rest."""
    return "yes" if high <= device.free_bytes else "tight" if low <= device.free_bytes else "no"


# -- parts --------------------------------------------------------------------------------------------------------


def _part(
    name: str, title: str, size: float, reason: str, *, term: str = "", when: When = "always", at_peak: bool = True
) -> MemoryPart:
    return {
        "name": name,
        "title": title,
        "term": term,
        "bytes": int(size),
        "when": when,
        "at_peak": at_peak,
        "reason": reason,
    }


def _count(number: int) -> str:
    return f"{number / 1e9:.3g} billion" if number >= 1e9 else f"{number / 1e6:.3g} million"


def _lasting_parts(workload: Workload) -> list[MemoryPart]:
    """What is there from the beginning to the end."""
    quantization, trained, shape = workload.spec.model.quantization, workload.trained, workload.model_shape
    held = weights.HELD_WORDS[quantization] or f"{workload.frozen_bytes} bytes each"
    state, optimizer_reason = weights.optimizer_state(workload.knobs.optimizer, trained)
    return [
        _part("weights", "The model", workload.model_bytes, f"{_count(shape.num_parameters)} weights, {held}.", term="weights"),
        _part("adapter", "What is learned beside it", workload.adapter_bytes,
              f"{_count(trained.adapter)} new weights, 4 bytes each.", term="adapter"),
        _part("unfrozen", "Layers trained whole", workload.unfrozen_bytes, "Their weights are kept a second time, in 4 bytes each.", term="modules_to_save"),
        _part("optimizer", "Memory of the corrections", state, optimizer_reason, term="optimizer state"),
        *_critic_parts(workload),
        *_other_models(workload),
    ]  # fmt: skip


def _critic_parts(workload: Workload) -> list[MemoryPart]:
    """A second model that is trained beside the first, its adapter and its optimizer state."""
    if not workload.step.keeps_critic:
        return []
    shape = without_head(workload.shape)
    trained = count_trained(workload.spec, shape)
    size = weights.model_bytes(shape, workload.spec.model.quantization, workload.frozen_bytes)
    size += trained.adapter * FLOAT32 + weights.optimizer_state(workload.knobs.optimizer, trained)[0]
    reason = "A second model of this size learns to foretell rewards."
    return [_part("critic", "The critic", size, reason, term="value model")]


def _other_models(workload: Workload) -> list[MemoryPart]:
    """Models that are used and not trained."""
    spec, step = workload.spec, workload.step
    parts = []
    if step.keeps_start:
        whole_copy = 0 if workload.has_adapter else workload.shape.num_parameters
        copied = workload.trained.total if step.keeps_critic else whole_copy  # PPO swaps the trained weights alone
        reason = "What it has become is compared with a copy of its start."
        parts.append(_part("start", "The model as it began", copied * FLOAT32, reason, term="reference model"))
    frozen = HALF if workload.computes_in_half_precision else FLOAT32
    for name in models_in_settings(spec):
        shape = workload.other_shapes.get(name, workload.shape)
        size_note = "" if name in workload.other_shapes else " Its size is not known here, so it is taken to be as large as the model."  # fmt: skip
        parts.append(
            _part("other_model", f"“{name}”", shape.num_parameters * frozen,
                  f"It is asked about every answer and stays as it is.{size_note}", term="teacher or reward model")
        )  # fmt: skip
    return parts


def _passing_parts(workload: Workload) -> list[MemoryPart]:
    """What comes and goes in each step: of its moments, the largest is its peak. What is gone by then is listed too."""
    step = workload.step
    loss, *later = moments.training_moments(workload)
    peak = max((loss, *later), key=lambda moment: moment.total)
    written = activations.cache_bytes(
        workload.shape, step.generated_texts, step.generated_tokens, workload.compute_bytes
    )
    written += activations.next_token_bytes(workload.shape, step.generated_texts)
    is_training = peak.total >= written
    again = "; each block is computed a second time, which keeps this small" if workload.recomputes else ""
    reasons = {
        "activations": ("What was read, kept for learning", "activations",
                        f"A step reads {step.texts:,} texts of up to {step.tokens:,} tokens at once{again}."),
        "logits": ("How likely each next token is", "logits",
                   f"One number for each of {workload.shape.vocab_size:,} tokens at each place that is scored."),
        "working": ("Intermediate results", "workspace", "Gradients inside the block that is being worked on."),
        "casts": ("Weights in half precision", "autocast",
                  "The arithmetic reads a copy of the trained weights in 2 bytes each."),
        "gradients": ("Directions of the corrections", "gradients", "One number of 4 bytes for each trained weight."),
    }  # fmt: skip
    training_parts = []
    for name, (title, term, reason) in reasons.items():
        at_peak = getattr(peak, name)
        size = at_peak or getattr(loss, name)
        training_parts.append(
            _part(name, title, size, reason, term=term, when="training", at_peak=bool(at_peak) and is_training)
        )
    reason = (
        f"{step.generated_texts:,} answers at once, up to {step.generated_tokens:,} tokens each with their prompts."
    )
    return [*training_parts, _part("cache", "Answers being written", written, reason, term="KV cache", when="writing", at_peak=not is_training)]  # fmt: skip


def _overhead_parts(workload: Workload, parts: list[MemoryPart]) -> list[MemoryPart]:
    passing = sum(part["bytes"] for part in parts if part["when"] != "always" and part["at_peak"])
    kind = workload.device.kind
    overhead = [
        _part("program", "The program itself", _PROGRAM_BYTES[kind],
              "The libraries take this before the first weight is loaded.", term="CUDA context" if kind == "cuda" else "process"),
        _part("gaps", "Gaps between the parts", _FRAGMENTED_SHARE * passing if kind == "cuda" else 0,
              "Memory that is given back in pieces cannot all be used again.", term="fragmentation"),
    ]  # fmt: skip
    return [part for part in overhead if part["bytes"] > 0]
