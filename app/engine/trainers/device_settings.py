"""Settings that not every device computes, and what it lacks for them: refused before the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core.problems import Problem
from app.engine.trainers.compilation import require_compiler
from app.engine.trainers.optimizer import require_optimizer
from app.engine.trainers.training_args import TrainingKnobs
from app.planning.memory.device_memory import CARD_ATTENTION
from app.setup.knob import Knobs, knob

if TYPE_CHECKING:
    from app.engine.model.device import Device

_FLOAT8_CAPABILITY = (8, 9)  # compute capability of the first cards that multiply in 8 bits: Ada, then Hopper
_OTHER_PRECISION = "Set the precision to auto."


class OffloadingKnobs(Knobs):
    """Settings of methods whose trainer in TRL can keep activations in main memory."""

    activation_offloading: bool = knob(
        False,
        "Keeps what each step has to remember in the machine’s main memory instead of the card’s: the same result with less "
        "memory on the card, slower. Needs an NVIDIA card, and as much free main memory.",
        affects="timing",
    )


def require_device(knobs: TrainingKnobs, device: Device) -> None:
    """Raises Problem for what this device does not compute; a library would use something else without a word, or fail late."""
    require_optimizer(knobs, device)
    if not device.is_cuda and knobs.precision == "fp16":
        raise Problem("This machine does not train in fp16.", advice="Choose bf16 or fp32.")
    if not device.is_cuda and knobs.attention in CARD_ATTENTION:
        raise Problem(
            f"The attention {knobs.attention} needs an NVIDIA card, and this machine trains without one.",
            advice="Leave it on automatic.",
        )
    if not device.is_cuda and getattr(knobs, "activation_offloading", False):
        raise Problem(
            "Activation offloading moves memory off an NVIDIA card, and this machine trains without one.",
            advice="Switch it off.",
        )
    if knobs.attention == "flash_attention_2":
        _require_flash_attention(knobs, device)
    if knobs.precision == "fp8":
        _require_float8(device)
    require_compiler(knobs, device)


def _require_flash_attention(knobs: TrainingKnobs, device: Device) -> None:
    from transformers.utils import is_flash_attn_2_available, is_kernels_available

    if device.half_dtype(knobs.precision) is None:
        raise Problem("Flash attention computes in half precision alone.", advice="Set the precision to auto.")
    if not (is_flash_attn_2_available() or is_kernels_available()):
        raise Problem(
            "Flash attention needs the package flash-attn or kernels, which is not installed.",
            advice="Install it with pip install kernels, or leave the attention on automatic.",
        )


def _require_float8(device: Device) -> None:
    import torch
    from accelerate.utils import is_torchao_available

    if not device.is_cuda:
        raise Problem("FP8 needs an NVIDIA card, and this machine trains without one.", advice=_OTHER_PRECISION)
    if torch.cuda.is_available() and torch.cuda.get_device_capability() < _FLOAT8_CAPABILITY:
        raise Problem(
            f"FP8 needs a card from Ada or Hopper on, and {torch.cuda.get_device_name()} is older.",
            advice=_OTHER_PRECISION,
        )
    if not is_torchao_available():
        raise Problem(
            "FP8 needs the package torchao, which is not installed.",
            advice="Install it with pip install torchao, or set the precision to auto.",
        )
