"""Loaded result: the model of a run, in the precision in which it was trained, kept in memory for the next question.

It is on the graphics card only while it answers, so that the next run finds the card's memory free.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from app.core.workspace import local_workspace
from app.engine.generation.end_tokens import add_end_tokens
from app.engine.generation.sampling import add_stop_tokens
from app.engine.model import init_from
from app.engine.model.device import Device, choose_device
from app.engine.model.load_model import load_base_model, load_tuned
from app.runs import store
from app.setup import models

if TYPE_CHECKING:
    import torch
    from torch.nn import Module
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Arithmetic(NamedTuple):
    """weights: dtype of frozen weights. half: of the arithmetic where that is in mixed precision."""

    weights: torch.dtype
    half: torch.dtype | None


def run_with_result(run_id: str) -> store.Run:
    """The requested run. Raises Problem when it has no result."""
    run = store.find_run(local_workspace(), run_id)
    store.result_folder(run)
    return run


def load_result(run_id: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """(model, tokenizer) of the run's result, with its stop tokens. Raises Problem when there is none."""
    run = store.find_run(local_workspace(), run_id)
    folder = store.result_folder(run)
    model, tokenizer = _cached_result(folder, folder.stat().st_mtime_ns, _arithmetic_of(run))
    add_end_tokens(model, run.facts.get("end_tokens", []))  # answers end where they ended in training
    if stops := run.spec.knobs.get("stop"):
        add_stop_tokens(model, tokenizer, stops)
    return model, tokenizer


def load_base_of(run_id: str) -> PreTrainedModel:
    """The model that the run started with, of a run that trained all weights."""
    run = store.find_run(local_workspace(), run_id)
    return _cached_base(models.locate_model(run.spec.model.id), run.spec.model.revision, _arithmetic_of(run))


@contextlib.contextmanager
def on_device(*loaded: Module) -> Iterator[None]:
    """Has the models on this machine's first device in the body, and in the main memory again after it."""
    import torch

    device = _answering_device()
    if device.is_cpu:
        yield
        return
    try:
        for model in loaded:
            model.to(device.name)
        yield
    finally:
        for model in loaded:
            model.to("cpu")
        torch.cuda.empty_cache()


def _answering_device() -> Device:
    return Device(choose_device("local"))


def _arithmetic_of(run: store.Run) -> Arithmetic:
    """How the run computed, as far as this machine can: in another precision its result would answer a little differently."""
    precision, device = run.spec.knobs.get("precision", "auto"), _answering_device()
    if device.is_cpu and precision == "fp16":
        precision = "fp32"  # processors compute in fp16 only by way of fp32
    has_full_layers = bool(init_from.fully_trained_layers(str(store.result_folder(run))))
    return Arithmetic(device.dtype(precision, run.spec.adapter.kind, has_full_layers), device.half_dtype(precision))


@lru_cache(maxsize=1)  # one model in memory at a time; `_changed` tells a resumed run's new result from the old
def _cached_result(
    folder: Path, _changed: int, arithmetic: Arithmetic
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    return load_as_trained(folder, arithmetic)


def load_as_trained(folder: Path, arithmetic: Arithmetic) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """(model, tokenizer) of a result that computes as it did at the end of its training."""
    model, tokenizer = load_tuned(folder, dtype=arithmetic.weights)
    _compute_as_trained(model, arithmetic.half)
    return model, tokenizer


@lru_cache(maxsize=1)
def _cached_base(name: str, revision: str | None, arithmetic: Arithmetic) -> PreTrainedModel:
    model = load_base_model("causal", name, revision, dtype=arithmetic.weights).eval()
    _compute_as_trained(model, arithmetic.half)
    return model


def _compute_as_trained(model: Any, half: torch.dtype | None) -> None:
    """Has the outermost forward convert what it computes with (autocast), as the training loop does in mixed precision; what
    an adapter's `generate` calls lies below it, there as here."""
    import torch

    if half is None:
        return
    forward = model.forward

    @functools.wraps(forward)  # generate() checks its arguments against the signature
    def autocast_forward(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(model.device.type, half):
            return forward(*args, **kwargs)

    model.forward = autocast_forward
