"""Device: what this machine computes on, and what it does well."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.engine.job import Job

ROOMY = 0.5  # share of free memory that activations may take before they are computed twice instead


def choose(machine: str) -> str:
    """The device's name before torch is there: `cpu`, or `cuda:N`. `local` takes the first graphics card, if any."""
    if machine not in ("", "local"):
        return machine.removeprefix("local:")
    return (
        "cuda:0"
        if os.path.exists("/proc/driver/nvidia/version") and os.environ.get("CUDA_VISIBLE_DEVICES") != ""
        else "cpu"
    )


def hide_others(name: str) -> None:
    """Lets libraries see only the device whose turn was taken; must run before torch is imported."""
    os.environ["CUDA_VISIBLE_DEVICES"] = name.removeprefix("cuda:") if name.startswith("cuda:") else ""


@dataclass(frozen=True)
class Device:
    """name: `cpu`, `cuda:0` or `mps`."""

    name: str

    @property
    def is_cpu(self) -> bool:
        return self.name == "cpu"

    def bf16(self, precision: str) -> bool:
        """Does it compute in bfloat16: asked for, or automatic on cards made for it (compute capability 8 and up)."""
        import torch

        if precision == "auto":
            return not self.is_cpu and torch.cuda.is_available() and torch.cuda.get_device_capability()[0] >= 8
        return precision == "bf16"

    def dtype(self, precision: str, adapter: str, whole: bool = False) -> Any:
        """Of the weights. Trained weights stay in float32, so that small corrections are not rounded away; a frozen base is
        held in bfloat16 where the device likes it. whole: some of its layers are trained whole beside an adapter."""
        import torch

        return torch.bfloat16 if self.bf16(precision) and adapter != "none" and not whole else torch.float32

    def free_bytes(self) -> int:
        import psutil
        import torch

        return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else psutil.virtual_memory().available

    def arguments(self, job: Job) -> dict[str, Any]:
        """What the training loop is told about this device."""
        knobs = job.knobs
        choice = knobs.checkpointing
        return {
            "use_cpu": self.is_cpu,
            "bf16": self.bf16(knobs.precision),
            "dataloader_pin_memory": not self.is_cpu,
            "gradient_checkpointing": choice == "on"
            or (choice == "auto" and activation_bytes(job) > ROOMY * self.free_bytes()),
        }


def activation_bytes(job: Job) -> int:
    """A rough upper figure of what a batch keeps for the backward pass.

    Per token and layer about 34 hidden sizes of 2 bytes (Korthikanti et al. 2022, without attention scores), plus
    the logits once in float32 with their gradient.
    """
    config = job.model.config.get_text_config()
    length = getattr(job.knobs, "max_length", None) or 512 + getattr(job.knobs, "max_completion_length", 0)
    tokens = job.knobs.batch_size * min(length, getattr(config, "max_position_embeddings", length))
    width = 2 if job.device.bf16(job.knobs.precision) else 4
    return tokens * (config.num_hidden_layers * 17 * config.hidden_size * width + 8 * config.vocab_size)
