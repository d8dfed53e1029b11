"""Moments of a training step at which its memory may be largest: what comes and goes, in bytes, at each of them."""

from __future__ import annotations

from dataclasses import dataclass

from app.planning.memory import activations, weights
from app.planning.memory.activations import FLOAT32
from app.planning.memory.workload import Workload

_LOGITS_LEFT_FOR_CRITIC = 0.25  # the log-probabilities


@dataclass(frozen=True)
class Moment:
    """activations: kept for the backward pass. logits: with what is computed from them. working: intermediate results of
    one block, matrix or correction. casts: copies of weights in half precision."""

    activations: float = 0
    logits: float = 0
    working: float = 0
    casts: float = 0
    gradients: float = 0

    @property
    def total(self) -> float:
        return self.activations + self.logits + self.working + self.casts + self.gradients


def training_moments(workload: Workload) -> list[Moment]:
    """The loss, that of a critic, the beginning of the backward pass in the head and in the last block, its end, and the
    correction. A critic reads after the model, when of its logits only what the backward pass needs is left."""
    stored, block = activations.activation_bytes(
        workload.shape,
        workload.precision,
        workload.step,
        recomputes=workload.recomputes,
        offloads=workload.offloads,
    )
    models = 2 if workload.step.keeps_critic else 1
    casts = _cast_bytes(workload)
    working = _working_bytes(workload)
    gradients = workload.trained.total * FLOAT32 * models
    earlier = gradients if workload.knobs.accumulation > 1 else 0.0  # of batches before
    in_head = earlier or workload.head_gradient_bytes
    logits, logits_in_head = workload.logit_bytes
    corrected = weights.correction_bytes(workload.knobs.optimizer, workload.trained, workload.model_shape)
    return [
        Moment(stored, logits, 0, casts, earlier),
        Moment(models * stored, logits * _LOGITS_LEFT_FOR_CRITIC, 0, casts, earlier),
        *([Moment(models * stored, logits_in_head, 0, casts, in_head)] if in_head else []),
        Moment(models * stored + block, 0, working, casts, in_head),
        Moment(block, 0, working, casts, gradients),
        Moment(0, 0, corrected, 0, gradients),
    ]


def _cast_bytes(workload: Workload) -> float:
    trained, compute = workload.trained, workload.compute_bytes
    return weights.autocast_bytes(trained, workload.model_shape, compute, has_adapter=workload.has_adapter)


def _working_bytes(workload: Workload) -> float:
    """Of gradients inside the block that the backward pass is at, of the matrix that is unpacked for it and of DoRA's."""
    shape, compute = workload.shape, workload.compute_bytes
    working = activations.working_bytes(shape, workload.precision, workload.step)
    working += weights.dequantized_bytes(shape, workload.spec.model.quantization, compute)
    return working + (weights.magnitude_bytes(shape, compute) if workload.spec.adapter.kind == "dora" else 0)
