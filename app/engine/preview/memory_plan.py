"""Memory and duration of a plan on this machine, from the rows as they are tokenized, and what would make it fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias, TypedDict

from app.core.problems import Problem
from app.engine.model.device import Device, choose_device
from app.engine.model.model_config import load_config
from app.engine.model.model_files import locate_model_files
from app.planning.duration import DurationRange, estimate_duration
from app.planning.memory.changes import MemoryChange, cheapest_changes
from app.planning.memory.estimate import MemoryEstimate, estimate_memory
from app.planning.memory.workload import Workload
from app.planning.resolve import models_in_settings
from app.runs import adapters
from app.setup.model_shape import ModelShape, read_model_shape

if TYPE_CHECKING:
    from app.engine.job import Job
    from app.planning.memory.device_memory import DeviceMemory
    from app.setup.spec import Spec
    from app.setup.step_memory import RowLengths


MemoryQuestion: TypeAlias = "tuple[Spec, ModelShape, RowLengths, DeviceMemory, dict[str, ModelShape]]"


class MemoryPlan(TypedDict):
    """memory: None for a model whose configuration does not say how large it is. memory_changes: empty where it fits."""

    memory: MemoryEstimate | None
    memory_changes: list[MemoryChange]


def plan_memory(job: Job, lengths: RowLengths) -> MemoryPlan:
    """The memory of a job with a resolved Spec on this machine's first card, or on its processor."""
    question = memory_question(job, lengths, Device(choose_device("local")))
    if question is None:
        return {"memory": None, "memory_changes": []}
    return {"memory": estimate_memory(*question), "memory_changes": cheapest_changes(*question)}


def plan_duration(job: Job, lengths: RowLengths, steps: int, step_tokens: float | None) -> DurationRange | None:
    """About how long a job with a resolved Spec takes on this machine; None where only the run itself will tell. step_tokens: of
    an average step, None where they are generated during training."""
    question = memory_question(job, lengths, Device(choose_device("local")))
    if question is None or step_tokens is None:
        return None
    row_tokens = step_tokens / (job.knobs.batch_size * job.knobs.accumulation)
    return estimate_duration(
        Workload(*question),
        steps=steps,
        row_tokens=row_tokens,
        set_sizes=[len(rows) for rows in job.data.evaluated_sets.values()],
    )


def memory_question(job: Job, lengths: RowLengths, device: Device) -> MemoryQuestion | None:
    """What the estimate asks for: (Spec, shape, lengths, memory of the device, shapes of other models); None for a
    model whose configuration does not say how large it is."""
    try:
        shape = read_model_shape(job.model.config.to_dict())
    except Problem:
        return None
    return job.spec, shape, lengths, device.memory(), _other_shapes(job)


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
