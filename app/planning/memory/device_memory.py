"""The memory of a device, asked without torch, so that the server process can."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import Literal

_MIB = 2**20
CARD_ATTENTION = ("flash_attention_2", "flex_attention")  # implementations that need an NVIDIA card


@dataclass(frozen=True)
class DeviceMemory:
    """total_bytes, free_bytes: of the device. name: of a card, as its driver says it."""

    kind: Literal["cpu", "cuda", "mps"]
    total_bytes: int
    free_bytes: int
    name: str = ""

    @property
    def half_precision(self) -> bool:
        """Whether it computes in bfloat16 or float16 where the precision is `auto`: see app/engine/model/device.py."""
        return self.kind == "cuda"


def read_device_memory(name: str) -> DeviceMemory | None:
    """The memory of `cpu` or `cuda:N`; None for a card that nvidia-smi does not answer about."""
    if not name.startswith("cuda"):
        import psutil

        memory = psutil.virtual_memory()
        return DeviceMemory("cpu", memory.total, memory.available)
    return _read_card(name.partition(":")[2] or "0")


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
