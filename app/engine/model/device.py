"""Device that a run computes on: its name, dtype, free memory and settings for the training loop."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.core.problems import Problem
from app.planning.memory.device_memory import DeviceMemory
from app.planning.memory.workload import recomputes_activations
from app.setup.model_shape import read_model_shape

if TYPE_CHECKING:
    import torch

    from app.engine.job import Job


def choose_device(machine: str) -> str:
    """The device's name, without torch: `cpu` or `cuda:N`. machine: `BACKEND:DEVICE` as in launch.json, or a backend
    alone, which means the first GPU, if there is one."""
    device = machine.partition(":")[2]
    if device:
        return device
    return (
        "cuda:0"
        if os.path.exists("/proc/driver/nvidia/version") and os.environ.get("CUDA_VISIBLE_DEVICES") != ""
        else "cpu"
    )


def hide_other_devices(name: str) -> None:
    """Lets libraries see only the device that the queue gave to this process; must run before torch is imported."""
    os.environ["CUDA_VISIBLE_DEVICES"] = name.removeprefix("cuda:") if name.startswith("cuda:") else ""


@dataclass(frozen=True)
class Device:
    """name: `cpu`, `cuda:0` or `mps`."""

    name: str

    @property
    def is_cpu(self) -> bool:
        return self.name == "cpu"

    def uses_bfloat16(self, precision: str) -> bool:
        """Whether it computes in bfloat16: as the setting says, or `auto`, on GPUs of compute capability 8 and up."""
        import torch

        if precision == "auto":
            return not self.is_cpu and torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 8
        return precision == "bf16"

    def dtype(self, precision: str, adapter: str, has_full_layers: bool = False) -> torch.dtype:
        """dtype of the weights. Trained weights stay in float32, so that small updates are not rounded away; a frozen base is
        in bfloat16 where the device computes in it. has_full_layers: some layers are fully trained
        beside an adapter."""
        import torch

        return (
            torch.bfloat16
            if self.uses_bfloat16(precision) and adapter != "none" and not has_full_layers
            else torch.float32
        )

    def memory(self) -> DeviceMemory:
        """Its memory now, and whether it computes in bfloat16 where the precision is `auto`."""
        import psutil
        import torch

        if torch.cuda.is_available():
            free, total = torch.cuda.mem_get_info()
            return DeviceMemory("cuda", total, free, self.uses_bfloat16("auto"))
        memory = psutil.virtual_memory()
        return DeviceMemory("mps" if self.name == "mps" else "cpu", memory.total, memory.available)

    def arguments(self, job: Job) -> dict[str, bool]:
        """Training arguments that depend on this device."""
        return {
            "use_cpu": self.is_cpu,
            "bf16": self.uses_bfloat16(job.knobs.precision),
            "dataloader_pin_memory": not self.is_cpu,
            "gradient_checkpointing": _recomputes_activations(job),
        }


def _recomputes_activations(job: Job) -> bool:
    """Whether activations are computed again: as set, or where those of a step would take too much of the free memory."""
    if job.knobs.checkpointing != "auto":
        return bool(job.knobs.checkpointing == "on")
    try:
        shape = read_model_shape(job.model.config.to_dict())
    except Problem:  # a model of another kind: nothing is known of its activations
        return False
    return recomputes_activations(job.spec, shape, job.device.memory())
