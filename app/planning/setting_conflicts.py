"""Settings that contradict each other with some methods."""

from __future__ import annotations

from app.core.problems import Problem
from app.engine.contracts import AnyMethod
from app.setup.spec import Spec
from app.setup.step_memory import RowLengths

_NO_FP8 = "Set the precision to auto."
_UNCOMPILED_ADAPTERS = ("dora", "loha", "lokr")  # PEFT's code for them stops the compiler in each matrix


def check_compilation(spec: Spec) -> None:
    """Raises Problem for adapters whose layers PyTorch would compile in dozens of pieces, and run no quicker."""
    if spec.knobs.get("torch_compile") and spec.adapter.kind in _UNCOMPILED_ADAPTERS:
        raise Problem(
            f"The adapter {spec.adapter.kind} does not become quicker by compilation.",
            advice="Switch torch_compile off, or choose LoRA.",
        )


def check_float8(spec: Spec, method: AnyMethod) -> None:
    """Raises Problem for FP8 where it brings nothing. It is for matrices that are trained: frozen ones would be rounded anew
    at each step. Beside a reference that computes in bfloat16 the rounding would count as a difference."""
    if spec.knobs["precision"] != "fp8":
        return
    if spec.adapter.kind != "none":
        raise Problem(
            "FP8 makes trained matrices quicker, and beside an adapter these stay as they are.", advice=_NO_FP8
        )
    if "torch_compile" not in spec.knobs or _compares_with_start(spec, method):
        raise Problem(f"“{method.title}” does not compute in FP8.", advice=_NO_FP8)
    if not spec.knobs["torch_compile"]:
        raise Problem("Without compilation FP8 is slower than bf16.", advice="Switch torch_compile on too.")


def _compares_with_start(spec: Spec, method: AnyMethod) -> bool:
    """Whether the model is compared with what it was at the start, also where that was asked beforehand."""
    knobs = method.knobs.model_validate(spec.knobs)
    needs_start = method.step_memory(knobs, RowLengths(text=1, learned=1, prompt=1)).keeps_start
    return needs_start or getattr(knobs, "precompute_reference", False)


def check_loftq(spec: Spec, method: AnyMethod) -> None:
    """Raises Problem where a reference is needed: LoftQ begins beside the quantized model, and the reference without the
    adapter would be another model than the start."""
    if spec.adapter.init == "loftq" and _compares_with_start(spec, method):
        raise Problem(
            f"“{method.title}” compares with the model before training, which LoftQ’s adapter changes from the start.",
            advice="Set the initialisation of the adapter to default.",
        )
