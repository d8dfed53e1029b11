"""Changes of a setup that make it fit: first those that leave what is learned unchanged, each on top of those before."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict

from app.core.problems import Problem
from app.planning.memory.device_memory import DeviceMemory
from app.planning.memory.estimate import MemoryEstimate, estimate_memory
from app.planning.memory.workload import Workload
from app.planning.resolve import resolve
from app.setup.model_shape import ModelShape
from app.setup.set_value import set_values
from app.setup.spec import Spec, parse_spec
from app.setup.step_memory import RowLengths

_SHORTEST_LENGTH = 128  # tokens: below, little of an example is left
_LENGTH_KNOBS = ("max_length", "max_completion_length")
Effect = Literal["same", "slight", "other"]


class MemoryChange(TypedDict):
    """One change on top of those before it in the list. settings: {path in the Spec: its new setting}, as `--set` takes
    them. effect: on what is learned: the same, slightly different, or something else. saved, low, high: bytes."""

    name: str
    title: str
    reason: str
    effect: Effect
    settings: dict[str, Any]
    saved: int
    low: int
    high: int
    fits: Literal["yes", "tight", "no"]


@dataclass(frozen=True)
class _Proposal:
    name: str
    title: str
    reason: str
    effect: Effect
    settings: dict[str, Any]


def cheapest_changes(
    spec: Spec,
    shape: ModelShape,
    lengths: RowLengths,
    device: DeviceMemory,
    other_shapes: Mapping[str, ModelShape] | None = None,
    until_it_fits: bool = True,
) -> list[MemoryChange]:
    """The changes after which a resolved Spec fits, in the order in which to try them; empty where it fits as it is.
    Where all of them together are not enough, the last one does not fit either. until_it_fits: False for all changes
    that save memory, also where the estimate says that it fits."""
    workload = Workload(spec, shape, lengths, device, other_shapes or {})
    estimate = _estimate(workload)
    changes: list[MemoryChange] = []
    for propose in _PROPOSERS:
        for proposal in propose(workload):
            if until_it_fits and estimate["fits"] == "yes":
                return changes
            changed = _apply(workload, proposal.settings)
            if changed is None:
                continue
            changed_estimate = _estimate(changed)
            saved = estimate["high"] - changed_estimate["high"]
            if saved <= 0:
                continue
            changes.append(_memory_change(proposal, saved, changed_estimate))
            workload, estimate = changed, changed_estimate
    return changes


def _estimate(workload: Workload) -> MemoryEstimate:
    return estimate_memory(workload.spec, workload.shape, workload.lengths, workload.device, workload.other_shapes)


def _memory_change(proposal: _Proposal, saved: int, estimate: MemoryEstimate) -> MemoryChange:
    return {
        "name": proposal.name,
        "title": proposal.title,
        "reason": proposal.reason,
        "effect": proposal.effect,
        "settings": proposal.settings,
        "saved": saved,
        "low": estimate["low"],
        "high": estimate["high"],
        "fits": estimate["fits"],
    }


def _apply(workload: Workload, settings: Mapping[str, Any]) -> Workload | None:
    """The workload with changed settings; None where the method does not allow them."""
    fields = set_values(workload.spec.to_dict(), settings)
    try:
        return replace(workload, spec=resolve(parse_spec(fields)))
    except Problem:  # such as a batch that its groups do not divide
        return None


# -- what can be changed ------------------------------------------------------------------------------------------


def _recompute(workload: Workload) -> Iterator[_Proposal]:
    if not workload.recomputes:
        yield _Proposal(
            "recompute",
            "Compute parts twice",
            "Each block is computed again when it is needed: the same result, about a third slower.",
            "same",
            {"knobs.checkpointing": "on"},
        )


def _precompute_reference(workload: Workload) -> Iterator[_Proposal]:
    knobs = workload.knobs
    if workload.step.keeps_start and not workload.has_adapter and hasattr(knobs, "precompute_reference"):
        yield _Proposal(
            "precompute_reference",
            "Ask the untouched model beforehand",
            "Its copy is gone before training begins: the same result, after a longer start.",
            "same",
            {"knobs.precompute_reference": True},
        )


def _shrink_batch(workload: Workload) -> Iterator[_Proposal]:
    """The largest batch that fits, with as much more accumulation; else the smallest there is."""
    proposal = None
    smaller: Workload | None = workload
    while smaller is not None and (settings := _halved_batch(smaller)) and (smaller := _apply(smaller, settings)):
        proposal = _batch_proposal(settings, depends_on_batch=workload.step.depends_on_batch)
        if _estimate(smaller)["fits"] == "yes":
            break
    if proposal:
        yield proposal


def _halved_batch(workload: Workload) -> dict[str, Any]:
    """Settings with which half as many texts are read at once and a correction looks at as many as before; {} for none."""
    knobs = workload.knobs
    twice = {"knobs.accumulation": 2 * knobs.accumulation}
    more_pieces = _apply(workload, twice)
    if more_pieces is not None and 0 < more_pieces.step.texts < workload.step.texts:
        return twice  # where the batch is what a round consists of, as in PPO
    return twice | {"knobs.batch_size": knobs.batch_size // 2} if knobs.batch_size % 2 == 0 else {}


def _batch_proposal(settings: dict[str, Any], *, depends_on_batch: bool) -> _Proposal:
    size = f"{settings['knobs.batch_size']} at once, " if "knobs.batch_size" in settings else ""
    effect = "almost the same result, since answers are compared within a batch" if depends_on_batch else "the same result"  # fmt: skip
    return _Proposal(
        "batch",
        "Smaller batches, added up",
        f"{size}{settings['knobs.accumulation']} times before each correction: {effect}, a little slower.",
        "slight" if depends_on_batch else "same",
        settings,
    )


def _offload(workload: Workload) -> Iterator[_Proposal]:
    if workload.device.kind == "cuda" and hasattr(workload.knobs, "activation_offloading") and not workload.offloads:
        yield _Proposal(
            "offload",
            "Keep intermediate results in main memory",
            "What each step has to remember leaves the card until it is needed: the same result, slower, and as much main "
            "memory has to be free.",
            "same",
            {"knobs.activation_offloading": True},
        )


def _shrink_optimizer(workload: Workload) -> Iterator[_Proposal]:
    if workload.knobs.optimizer == "adamw":
        yield _Proposal(
            "optimizer",
            "Remember corrections in 8 bits",
            "AdamW keeps a quarter of the bytes: the result differs slightly.",
            "slight",
            {"knobs.optimizer": "adamw_8bit"},
        )


def _halve_precision(workload: Workload) -> Iterator[_Proposal]:
    if workload.knobs.precision == "fp32" and workload.device.half_precision(workload.shape.num_parameters):
        yield _Proposal(
            "precision",
            "Compute in half precision",
            "The arithmetic takes 2 bytes a number: the result differs slightly, and it is quicker.",
            "slight",
            {"knobs.precision": "auto"},
        )


def _add_adapter(workload: Workload) -> Iterator[_Proposal]:
    if not workload.has_adapter and not workload.spec.adapter.unfreeze:
        defaults = workload.method.defaults("lora", workload.shape.num_parameters)
        yield _Proposal(
            "adapter",
            "Learn an adapter instead of all weights",
            "The model stays as it is beside a small file (LoRA): it learns a little less, and forgets less.",
            "other",
            {"adapter.kind": "lora"} | {f"knobs.{name}": setting for name, setting in defaults.items()},
        )


def _quantize(workload: Workload) -> Iterator[_Proposal]:
    takes_quantization = workload.has_adapter and not workload.spec.adapter.computes_whole_matrices
    if takes_quantization and workload.spec.model.quantization in ("none", "int8"):
        yield _Proposal(
            "quantization",
            "Hold the model in 4 bits",
            "The frozen weights take a quarter of the bytes or less (NF4): a little coarser, and slower.",
            "other",
            {"model.quantization": "nf4"},
        )


def _shorten(workload: Workload) -> Iterator[_Proposal]:
    """Shorter texts, by halves, each tried on top of the one before."""
    lengths = {name: getattr(workload.knobs, name) for name in _LENGTH_KNOBS if hasattr(workload.knobs, name)}
    while any(length > _SHORTEST_LENGTH for length in lengths.values()):
        lengths = {name: max(min(length, _SHORTEST_LENGTH), length // 2) for name, length in lengths.items()}
        yield _Proposal(
            "length",
            "Shorter texts",
            f"Texts end after {' and '.join(f'{length:,}' for length in lengths.values())} tokens: what is beyond is not learned.",
            "other",
            {f"knobs.{name}": length for name, length in lengths.items()},
        )


_PROPOSERS: tuple[Callable[[Workload], Iterator[_Proposal]], ...] = (
    _recompute,
    _precompute_reference,
    _shrink_batch,
    _offload,
    _shrink_optimizer,
    _halve_precision,
    _add_adapter,
    _quantize,
    _shorten,
)
