"""Compilation by PyTorch: the setting, and what a machine needs for it."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.problems import Problem
from app.setup.knob import Knobs, knob

if TYPE_CHECKING:
    from app.engine.model.device import Device

_TRITON_CAPABILITY = (7, 0)  # compute capability of the first cards that Triton compiles for


class CompileKnobs(Knobs):
    """Settings of methods whose steps PyTorch can compile."""

    torch_compile: bool = knob(
        False,
        "Compiles the layers of the model for the device. The first steps take about a minute longer, later ones less time: on "
        "a processor about a fifth less, on a graphics card as a rule more. Worth it for runs of many steps.",
        affects="timing",
    )


def require_compiler(knobs: object, device: Device) -> None:
    """Raises Problem where the layers should be compiled and this machine lacks what PyTorch compiles with."""
    if not getattr(knobs, "torch_compile", False):
        return
    if not (device.is_cpu or device.is_cuda):
        raise Problem(
            "PyTorch compiles training for processors and NVIDIA cards, and this machine trains on another device.",
            advice="Switch compilation off.",
        )
    if missing := _missing_for_processor() if device.is_cpu else _missing_for_card():
        raise Problem(f"Compilation needs {missing}.", advice="Install it, or switch compilation off.")


def _missing_for_processor() -> str:
    """What PyTorch lacks to compile for a processor; empty where it lacks nothing."""
    from torch._inductor import exc
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        get_cpp_compiler()
    except (exc.InvalidCxxCompiler, RuntimeError):  # the latter on Windows
        return "a C++ compiler such as g++, and there is none on this machine"
    return _missing_headers()


def _missing_for_card() -> str:
    """What PyTorch lacks to compile for an NVIDIA card: it writes kernels in Triton, which compiles their launcher in C."""
    import torch
    from transformers.utils import is_triton_available

    if not is_triton_available():
        return "the package triton, which is not installed"
    if torch.cuda.is_available() and torch.cuda.get_device_capability() < _TRITON_CAPABILITY:
        return f"a card of compute capability {_TRITON_CAPABILITY[0]}.{_TRITON_CAPABILITY[1]} or later, and this one is older"
    if not any(shutil.which(name) for name in (os.environ.get("CC", ""), "gcc", "clang", "cl") if name):
        return "a C compiler such as gcc, and there is none on this machine"
    return _missing_headers()


def _missing_headers() -> str:
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    return "" if header.is_file() else "the headers of Python (python3-dev), which are not installed"
