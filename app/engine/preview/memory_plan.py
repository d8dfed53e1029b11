"""Memory of a plan: the estimate for this machine's device from the rows as they are tokenized, and what would make it fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from app.core.problems import Problem
from app.engine.model.device import Device, choose_device
from app.engine.model.model_config import load_config
from app.engine.model.model_files import locate_model_files
from app.planning.memory.changes import MemoryChange, cheapest_changes
from app.planning.memory.estimate import MemoryEstimate, estimate_memory
from app.planning.resolve import models_in_settings
from app.runs import adapters
from app.setup.model_shape import ModelShape, read_model_shape

if TYPE_CHECKING:
    from app.engine.job import Job
    from app.setup.step_memory import RowLengths


class MemoryPlan(TypedDict):
    """memory: None for a model whose configuration does not say how large it is. memory_changes: empty where it fits."""

    memory: MemoryEstimate | None
    memory_changes: list[MemoryChange]


def plan_memory(job: Job, lengths: RowLengths) -> MemoryPlan:
    """The memory of a job with a resolved Spec on this machine's first card, or on its processor."""
    device = Device(choose_device("local")).memory()
    try:
        shape = read_model_shape(job.model.config.to_dict())
    except Problem:
        return {"memory": None, "memory_changes": []}
    arguments = (job.spec, shape, lengths, device, _other_shapes(job))
    return {"memory": estimate_memory(*arguments), "memory_changes": cheapest_changes(*arguments)}


def _other_shapes(job: Job) -> dict[str, ModelShape]:
    """{name: shape} of the teachers and reward models in the settings, those left out that cannot be read."""
    shapes = {}
    for name in models_in_settings(job.spec):
        try:
            files = locate_model_files(adapters.locate_model_or_adapter(name))
            shapes[name] = read_model_shape(load_config(*files.base).to_dict())
        except (Problem, OSError, ValueError):  # a boundary: the Hub, or somebody's folder
            continue
    return shapes
