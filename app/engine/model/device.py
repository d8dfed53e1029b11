"""Device that a run computes on: its name, dtype, free memory and settings for the training loop."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from app.core.problems import Problem
from app.planning.memory.device_memory import DeviceMemory, read_processor_memory
from app.planning.memory.workload import recomputes_activations
from app.setup.model_shape import read_model_shape

if TYPE_CHECKING:
    import torch

    from app.engine.job import Job
    from app.setup.knob import Knobs

_BFLOAT16_CAPABILITY = 8  # major compute capability of the first cards that compute in bfloat16


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

    @property
    def is_cuda(self) -> bool:
        return self.name.startswith("cuda")

    def half_dtype(self, precision: str) -> torch.dtype | None:
        """The dtype of its arithmetic where that is in half precision, else None: as the setting says; `auto` is bfloat16
        on GPUs that compute in it (capability 8 and up), and float16 on older ones."""
        import torch

        if precision == "auto":
            if not self.is_cuda or not torch.cuda.is_available():
                return None
            has_bfloat16 = torch.cuda.get_device_capability()[0] >= _BFLOAT16_CAPABILITY
            return torch.bfloat16 if has_bfloat16 else torch.float16
        # with fp8, all that is around the products; see app/engine/model/float8.py
        return {"bf16": torch.bfloat16, "fp8": torch.bfloat16, "fp16": torch.float16}.get(precision)

    def dtype(self, precision: str, adapter: str, has_full_layers: bool = False) -> torch.dtype:
        """dtype of the weights. Trained weights stay in float32, so that small updates are not rounded away; a frozen base is
        in half precision where the device computes in it. has_full_layers: some layers are fully trained
        beside an adapter."""
        import torch

        half = self.half_dtype(precision) if adapter != "none" and not has_full_layers else None
        return half or torch.float32

    def memory(self) -> DeviceMemory:
        """Its memory now."""
        import torch

        if torch.cuda.is_available():
            free, total = torch.cuda.mem_get_info()
            return DeviceMemory("cuda", total, free, torch.cuda.get_device_name())
        memory = read_processor_memory()
        return replace(memory, kind="mps") if self.name == "mps" else memory

    def arguments(self, job: Job) -> dict[str, bool]:
        """Training arguments that depend on this device. In float16 the training loop scales losses."""
        import torch

        half = self.half_dtype(job.knobs.precision)
        return {
            "use_cpu": self.is_cpu,
            "bf16": half == torch.bfloat16,
            "fp16": half == torch.float16,
            "dataloader_pin_memory": not self.is_cpu,
            "gradient_checkpointing": _recomputes_activations(job),
            # a preview builds the trainer on any machine, and other trainers do not know the argument
            **({"activation_offloading": True} if self.is_cuda and not job.preview and _offloads(job.knobs) else {}),
        }


def _offloads(knobs: Knobs) -> bool:
    return getattr(knobs, "activation_offloading", False)


def _recomputes_activations(job: Job) -> bool:
    """Whether activations are computed again: as set, or where those of a step would take too much of the free memory."""
    if job.knobs.checkpointing != "auto":
        return bool(job.knobs.checkpointing == "on")
    try:
        shape = read_model_shape(job.model.config.to_dict())
    except Problem:  # a model of another kind: nothing is known of its activations
        return False
    return recomputes_activations(job.spec, shape, _memory_of_run(job.device))


def _memory_of_run(device: Device) -> DeviceMemory:
    """The memory of a device where what this process holds of it, such as the loaded model, counts as free."""
    import psutil
    import torch

    memory = device.memory()
    held = torch.cuda.memory_reserved() if memory.kind == "cuda" else psutil.Process().memory_info().rss
    return replace(memory, free_bytes=min(memory.total_bytes, memory.free_bytes + held))
