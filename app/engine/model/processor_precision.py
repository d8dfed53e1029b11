"""Precision on a processor: what the setting `auto` means for large models there, by a measurement."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING

from app.core.json_files import write_json
from app.core.problems import Problem
from app.core.processor_speed import (
    MIN_PARAMETERS,
    MIN_SPEEDUP,
    read_bfloat16_speedup,
    store_bfloat16_speedup,
)
from app.core.workspace import Workspace, local_workspace
from app.engine.model.model_config import load_config
from app.runs.store import Run
from app.setup import models
from app.setup.model_shape import read_model_shape

if TYPE_CHECKING:
    import torch

    from app.setup.spec import Model

_ROWS, _COLUMNS = 512, 1024  # of the matrices, as in a layer of a small language model
_ROUNDS = 5


def automatic_precision(model: Model) -> str:
    """The precision in which a processor trains this model where the setting is `auto`: bf16 where it is clearly faster,
    else fp32. Small models, and those of an unknown kind, stay at `auto`, which is fp32."""
    if model.id in models.SHIPPED_MODELS:
        return "auto"
    try:
        config = load_config(models.locate_model(model.id), model.revision)
        is_large = read_model_shape(config.to_dict()).num_parameters >= MIN_PARAMETERS
    except Problem:  # a model of another kind: nothing is known of its size
        return "auto"
    if not is_large:
        return "auto"
    return "bf16" if bfloat16_speedup(local_workspace()) >= MIN_SPEEDUP else "fp32"


def pin_precision(run: Run, precision: str) -> None:
    """Stores in the run's Spec what `auto` means on this machine, so that it holds when the run goes on or is repeated
    elsewhere."""
    spec = run.spec
    pinned = spec.model_copy(update={"knobs": spec.knobs | {"precision": precision}})
    write_json(run.path / "spec.json", pinned.to_dict())


def bfloat16_speedup(workspace: Workspace) -> float:
    """How much faster this processor multiplies in bfloat16, measured where that is not known yet."""
    speedup = read_bfloat16_speedup(workspace)
    if speedup is None:
        speedup = _measure_speedup()
        store_bfloat16_speedup(workspace, speedup)
    return speedup


@lru_cache(maxsize=1)
def _measure_speedup() -> float:
    """From the quickest of several rounds each, in turn, so that other programs matter little."""
    import torch

    seconds: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    for _ in range(_ROUNDS):
        for dtype, rounds in seconds.items():
            rounds.append(_seconds_of_layer(dtype))
    return min(seconds[torch.float32]) / min(seconds[torch.bfloat16])


def _seconds_of_layer(dtype: torch.dtype) -> float:
    """A layer forward and backward."""
    import torch

    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(_ROWS, _COLUMNS, generator=generator).to(dtype)
    weights = torch.randn(_COLUMNS, _COLUMNS, generator=generator).to(dtype)
    start = time.perf_counter()
    (inputs @ weights) @ weights.T
    return time.perf_counter() - start
