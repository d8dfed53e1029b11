"""How much faster this processor multiplies in bfloat16 than in float32: measured once, kept, and read without torch."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import version
from pathlib import Path

from app.core import cache
from app.core.workspace import Workspace

# Large models train in bfloat16 from this factor on; the matrices of smaller ones are too small to gain by it.
MIN_SPEEDUP = 1.2
MIN_PARAMETERS = 50_000_000
_NAMESPACE = "processor"


def read_bfloat16_speedup(workspace: Workspace) -> float | None:
    """The factor; None where it was not measured on this machine with this version of torch."""
    speedup = cache.get(workspace, _NAMESPACE, _machine_key())
    return speedup if isinstance(speedup, float) else None


def store_bfloat16_speedup(workspace: Workspace, speedup: float) -> None:
    """Keeps a measured factor."""
    cache.put(workspace, _NAMESPACE, _machine_key(), speedup)


def _machine_key() -> str:
    """Of the model of the processor and the version of torch: a home may be shared by several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # boundary: not Linux
        lines = []
    models = [line for line in lines if line.startswith(("model name", "stepping", "flags"))][:3]
    text = "\n".join([platform.machine(), platform.processor(), version("torch"), *models])
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
