"""The memory of a device, asked without torch, so that the server process can."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from typing import Literal

_MIB = 2**20
_BFLOAT16_CAPABILITY = 8.0  # compute capability of the first cards that compute in bfloat16


@dataclass(frozen=True)
class DeviceMemory:
    """total_bytes, free_bytes: of the device. bfloat16: it computes in bfloat16 where the precision is `auto`."""

    kind: Literal["cpu", "cuda", "mps"]
    total_bytes: int
    free_bytes: int
    bfloat16: bool = False


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
    query = ["nvidia-smi", "--query-gpu=memory.total,memory.free,compute_cap", "--format=csv,noheader,nounits"]
    answer = subprocess.run([*query, f"--id={index}"], capture_output=True, text=True, timeout=10, check=False)
    try:
        total, free, capability = (float(field) for field in answer.stdout.split(","))
    except ValueError:  # a boundary: another program's answer
        return None
    return DeviceMemory("cuda", int(total * _MIB), int(free * _MIB), capability >= _BFLOAT16_CAPABILITY)
