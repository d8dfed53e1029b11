"""What becomes of the model once its trainer is built, in the order in which it must happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engine.model.adapter_init import initialize_adapter
from app.engine.model.quantization import fix_trainable_weights

if TYPE_CHECKING:
    from app.engine.job import Job
    from app.engine.trainers.mixin_bases import TrainerBase


def finish_model(job: Job, trainer: TrainerBase) -> None:
    """Corrects the dtypes of trained weights, initializes the adapter, and chooses how the layers compute."""
    from app.engine.model.compiled_layers import compile_layers
    from app.engine.model.float8 import multiply_in_float8
    from app.engine.model.fused_lora import fuse_lora

    model = trainer.model
    fix_trainable_weights(model, job.dtype)
    initialize_adapter(job, trainer)
    fuse_lora(model)
    if job.knobs.precision == "fp8" and job.device.is_cuda:  # elsewhere a trainer is only used to score and answer
        multiply_in_float8(model)
    if getattr(job.knobs, "torch_compile", False):
        compile_layers(model, has_equal_batches=getattr(job.knobs, "packing", False))
