"""A setup with all that its memory follows from: the model's shape, the lengths of its rows and the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from app.engine.contracts import AnyMethod, load_method
from app.planning.memory import activations, weights
from app.planning.memory.activations import FLOAT32, HALF, Precision
from app.planning.memory.device_memory import DeviceMemory
from app.planning.memory.layers import TrainedWeights, count_trained, first_trained_block, has_frozen_head
from app.setup.model_shape import ModelShape
from app.setup.spec import Spec
from app.setup.step_memory import RowLengths, StepMemory

_MAX_SHARE = (
    0.75  # of free memory, taken by weights and a step: above it, checkpointing “auto” computes activations again
)
_SCALED_SHARE = {
    "dora": 1.0,
    "ia3": 0.5,
    "vera": 0.5,
}  # of the outputs that are kept twice, with and without their factor
_PLAIN_LORA = ("lora", "rslora")
_LONGEST_TEXT, _LONGEST_PROMPT = 4096, 512  # tokens, where rows are not tokenized yet


@dataclass(frozen=True)
class Workload:
    """A resolved Spec with all that its memory follows from."""

    spec: Spec
    shape: ModelShape
    lengths: RowLengths
    device: DeviceMemory
    other_shapes: Mapping[str, ModelShape]

    @property
    def model_shape(self) -> ModelShape:
        """Of the model as it is trained: one that gives scores has no table to write tokens with."""
        return without_head(self.shape) if self.method.produces != "causal" else self.shape

    @cached_property
    def method(self) -> AnyMethod:
        return load_method(self.spec.method)

    @cached_property
    def knobs(self) -> Any:
        return self.method.knobs.model_validate(self.spec.knobs)

    @cached_property
    def step(self) -> StepMemory:
        return self.method.step_memory(self.knobs, self.lengths)

    @cached_property
    def trained(self) -> TrainedWeights:
        return count_trained(self.spec, self.model_shape)

    @property
    def model_bytes(self) -> float:
        return weights.model_bytes(self.model_shape, self.spec.model.quantization, self.frozen_bytes)

    @property
    def adapter_bytes(self) -> int:
        return self.trained.adapter * FLOAT32

    @property
    def unfrozen_bytes(self) -> int:
        """Of the layers that are trained whole beside an adapter: their weights are kept a second time."""
        return self.trained.unfrozen * FLOAT32 if self.has_adapter else 0

    @property
    def gradient_bytes(self) -> int:
        return self.trained.total * FLOAT32

    @property
    def optimizer_bytes(self) -> float:
        return weights.optimizer_state(self.knobs.optimizer, self.trained)[0]

    @property
    def has_adapter(self) -> bool:
        return self.spec.adapter.kind != "none"

    @property
    def computes_in_half_precision(self) -> bool:
        precision = self.knobs.precision
        return precision in ("bf16", "fp16", "fp8") or (  # of fp8, what the backward pass needs stays in bfloat16
            precision == "auto" and self.device.half_precision(self.shape.num_parameters)
        )

    @property
    def compute_bytes(self) -> int:
        """Of a number in the forward pass."""
        return HALF if self.computes_in_half_precision else FLOAT32

    @property
    def frozen_bytes(self) -> int:
        """Of a weight that is not trained and not quantized; see app/engine/model/device.py."""
        is_small = self.computes_in_half_precision and self.has_adapter and not self.spec.adapter.unfreeze
        return HALF if is_small else FLOAT32

    @property
    def precision(self) -> Precision:
        blocks = max(1, self.shape.num_hidden_layers)
        return Precision(
            compute=self.compute_bytes,
            residual=self.frozen_bytes,
            trains_base=not self.has_adapter,
            adapter_rank=self.spec.adapter.as_stored.r if self.spec.adapter.has_low_rank else 0,
            adapters_per_block=self.trained.adapted_layers / blocks,
            scaled_outputs=self.trained.adapted_outputs / blocks * _SCALED_SHARE.get(self.spec.adapter.kind, 0),
            merged_weights=self.trained.merged_weights / blocks,
            shares_inputs=self.spec.adapter.kind in _PLAIN_LORA,
            on_card=self.device.kind == "cuda",
            blocks_without_gradient=first_trained_block(self.spec, self.model_shape),
        )

    @cached_property
    def recomputes(self) -> bool:
        """Whether activations are computed again (gradient checkpointing)."""
        return recomputes_activations(self.spec, self.shape, self.device)

    @property
    def offloads(self) -> bool:
        """Whether activations wait in main memory for the backward pass."""
        return self.device.kind == "cuda" and getattr(self.knobs, "activation_offloading", False)

    @property
    def logit_bytes(self) -> tuple[float, float]:
        """(of logits at the loss, what is left of them when the gradient of the head comes)."""
        on_card = self.device.kind == "cuda"
        teacher = self.other_shapes.get(getattr(self.knobs, "teacher", ""), self.shape)
        frozen_head = has_frozen_head(self.spec, self.shape)
        return activations.logit_bytes(
            self.shape, teacher, self.step, self.compute_bytes, on_card=on_card, frozen_head=frozen_head
        )

    @property
    def head_gradient_bytes(self) -> float:
        """Bytes of the gradient of the table that logits are computed with: it comes first in the backward pass."""
        is_trained = not self.has_adapter and not self.spec.adapter.unfreeze and self.step.logits
        return self.shape.vocab_size * self.shape.hidden_size * FLOAT32 if is_trained else 0


def without_head(shape: ModelShape) -> ModelShape:
    """The same model with embeddings alone, and a head so small that it does not count."""
    return replace(shape, tie_word_embeddings=True)


def _trained_model_bytes(workload: Workload) -> float:
    """Of a model with all that learning keeps beside it."""
    learned = workload.adapter_bytes + workload.unfrozen_bytes + workload.gradient_bytes + workload.optimizer_bytes
    return workload.model_bytes + learned


def recomputes_activations(spec: Spec, shape: ModelShape, device: DeviceMemory) -> bool:
    """Whether a run computes activations again: as set, or with `auto` where weights and a step could take too much of what
    is free. The run decides before its rows are tokenized, so each is taken to be as long as the settings allow."""
    longest = shape.max_position_embeddings or _LONGEST_TEXT
    lengths = RowLengths(text=longest, learned=longest, prompt=min(_LONGEST_PROMPT, longest))
    workload = Workload(spec, shape, lengths, device, {})
    if workload.knobs.checkpointing != "auto":
        return bool(workload.knobs.checkpointing == "on")
    stored, _ = activations.activation_bytes(
        workload.shape, workload.precision, workload.step, recomputes=False, offloads=workload.offloads
    )
    one_model = _trained_model_bytes(workload) + stored
    taken = one_model * (2 if workload.step.keeps_critic else 1) + workload.logit_bytes[0]
    return taken > _MAX_SHARE * device.free_bytes
