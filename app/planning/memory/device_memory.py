"""The memory of a device, asked without torch, so that the server process can."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import Literal

from app.core.processor_speed import MIN_PARAMETERS, MIN_SPEEDUP, read_bfloat16_speedup
from app.core.workspace import local_workspace

_MIB = 2**20
CARD_ATTENTION = ("flash_attention_2", "flex_attention")  # implementations that need an NVIDIA card


@dataclass(frozen=True)
class DeviceMemory:
    """total_bytes, free_bytes: of the device. name: of a card, as its driver says it. bfloat16_speedup: of a processor,
    where it was measured."""

    kind: Literal["cpu", "cuda", "mps"]
    total_bytes: int
    free_bytes: int
    name: str = ""
    bfloat16_speedup: float | None = None

    def half_precision(self, parameters: int) -> bool:
        """Whether it computes in bfloat16 or float16 where the precision is `auto`: see app/engine/model/device.py and
        processor_precision.py beside it. parameters: of the model."""
        if self.kind == "cpu":
            return (self.bfloat16_speedup or 1.0) >= MIN_SPEEDUP and parameters >= MIN_PARAMETERS
        return self.kind == "cuda"


def read_device_memory(name: str) -> DeviceMemory | None:
    """The memory of `cpu` or `cuda:N`; None for a card that nvidia-smi does not answer about."""
    if not name.startswith("cuda"):
        return read_processor_memory()
    return _read_card(name.partition(":")[2] or "0")


def read_processor_memory() -> DeviceMemory:
    """The memory of this machine, with the speed of its processor where that was measured."""
    import psutil

    memory = psutil.virtual_memory()
    speedup = read_bfloat16_speedup(local_workspace())
    return DeviceMemory("cpu", memory.total, memory.available, bfloat16_speedup=speedup)


def _read_card(index: str) -> DeviceMemory | None:
    if not shutil.which("nvidia-smi"):
        return None
    query = ["nvidia-smi", "--query-gpu=memory.total,memory.free,name", "--format=csv,noheader,nounits"]
    answer = subprocess.run([*query, f"--id={index}"], capture_output=True, text=True, timeout=10, check=False)
    try:
        total, free, name = answer.stdout.split(",", maxsplit=2)
        return DeviceMemory("cuda", int(float(total) * _MIB), int(float(free) * _MIB), name.strip())
    except ValueError:  # a boundary: another program's answer
        return None
