"""Device that a run computes on: its name, dtype, free memory and settings for the training loop."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from app.engine.job import Job

MAX_ACTIVATION_SHARE = 0.5  # of free memory; above it activations are recomputed (gradient checkpointing)


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

    def free_bytes(self) -> int:
        import psutil
        import torch

        return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else psutil.virtual_memory().available

    def arguments(self, job: Job) -> dict[str, bool]:
        """Training arguments that depend on this device."""
        knobs = job.knobs
        checkpointing = knobs.checkpointing
        return {
            "use_cpu": self.is_cpu,
            "bf16": self.uses_bfloat16(knobs.precision),
            "dataloader_pin_memory": not self.is_cpu,
            "gradient_checkpointing": checkpointing == "on"
            or (checkpointing == "auto" and activation_bytes(job) > MAX_ACTIVATION_SHARE * self.free_bytes()),
        }


def activation_bytes(job: Job) -> int:
    """A rough upper bound of the bytes that a batch keeps for the backward pass.

    Per token and layer about 34 hidden sizes of 2 bytes (Korthikanti et al. 2022, without attention scores), plus
    the logits once in float32 with their gradient.
    """
    config = job.model.config.get_text_config()
    length = getattr(job.knobs, "max_length", None) or 512 + getattr(job.knobs, "max_completion_length", 0)
    tokens = job.knobs.batch_size * min(length, getattr(config, "max_position_embeddings", length))
    width = 2 if job.device.uses_bfloat16(job.knobs.precision) else 4
    return tokens * (config.num_hidden_layers * 17 * config.hidden_size * width + 8 * config.vocab_size)
