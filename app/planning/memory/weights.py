"""Bytes of weights at each precision, of an optimizer's state, and of copies of weights during a step."""

from __future__ import annotations

from app.planning.memory.activations import FLOAT32
from app.planning.memory.layers import TrainedWeights, linear_layers
from app.setup.model_shape import ModelShape

# bitsandbytes keeps a scale for 64 weights in 4 bits: 8 bits, with one of 32 bits for 256 of these (double quantization).
_FOUR_BIT_BYTES = 0.5 + (1 + FLOAT32 / 256) / 64
HELD_WORDS = {
    "none": "",
    "nf4": "most of them in 4 bits (NF4)",
    "fp4": "most of them in 4 bits (FP4)",
    "int8": "most of them in 8 bits",
}
# Of a matrix, while it is corrected; others work in place. Muon: the direction, and three results in bfloat16.
_CORRECTION_COPIES = {"adafactor": 2.0, "muon": 2.5}
_TABLE_STATE = 8.0  # AdamW's, in 32 bits: transformers gives it to embeddings also beside an optimizer of 8 bits
# {setting: (bytes for each trained weight, reason)}. In 8 bits a scale of 4 bytes belongs to 256 numbers.
_OPTIMIZER_STATES = {
    "adamw": (8.0, "AdamW remembers two numbers of 4 bytes for each trained weight."),
    "adamw_8bit": (2.04, "AdamW in 8 bits remembers two numbers of 1 byte for each trained weight."),
    "paged_adamw_8bit": (2.04, "AdamW in 8 bits; what does not fit moves to the machine's own memory."),
    "muon": (
        4.0,
        "Muon remembers one number of 4 bytes for each weight of a matrix, AdamW two for each of the others.",
    ),
    "adafactor": (0.02, "Adafactor remembers one number for each row and column of a matrix."),
    "lion": (4.0, "Lion remembers one number of 4 bytes for each trained weight."),
    "sgd": (4.0, "The momentum is one number of 4 bytes for each trained weight."),
}


def optimizer_state(optimizer: str, trained: TrainedWeights) -> tuple[float, str]:
    """(bytes of an optimizer's state, the reason as a sentence) by its setting."""
    per_weight, reason = _OPTIMIZER_STATES[optimizer]
    by_adamw = {"adamw_8bit": trained.embedded, "paged_adamw_8bit": trained.embedded, "muon": trained.not_in_matrices}
    weights = by_adamw.get(optimizer, 0)
    return per_weight * (trained.total - weights) + _TABLE_STATE * weights, reason


def model_bytes(shape: ModelShape, quantization: str, frozen: int) -> float:
    """Bytes of the model's own weights. Only linear layers are quantized: embeddings, head and stacks of experts are not.
    frozen: bytes of a weight that is not quantized."""
    if quantization == "none":
        return shape.num_parameters * frozen
    linear = sum(layer.weights for layer in linear_layers(shape))
    rows = sum(layer.outputs for layer in linear_layers(shape))
    quantized = linear + rows * FLOAT32 if quantization == "int8" else linear * _FOUR_BIT_BYTES
    return quantized + (shape.num_parameters - linear) * frozen


def autocast_bytes(trained: TrainedWeights, shape: ModelShape, compute: int, *, has_adapter: bool) -> float:
    """Bytes of the copies of trained matrices in the precision of the arithmetic, which a forward pass keeps. Embeddings
    are looked up as they are, without a copy."""
    if compute == FLOAT32:
        return 0
    looked_up = 0 if shape.tie_word_embeddings else trained.embedded
    return (trained.adapter if has_adapter else trained.total - looked_up) * compute


def correction_bytes(optimizer: str, trained: TrainedWeights, shape: ModelShape) -> float:
    """Bytes of the intermediate results with which one matrix is corrected."""
    largest = max(trained.embedded, *(layer.weights for layer in linear_layers(shape))) if trained.unfrozen else 0
    return _CORRECTION_COPIES.get(optimizer, 0) * largest * FLOAT32


def magnitude_bytes(shape: ModelShape, compute: int) -> float:
    """Bytes with which DoRA computes the magnitude of one matrix: its adapter multiplied out, scaled, and the sum."""
    return 3 * max(layer.weights for layer in linear_layers(shape)) * compute


def dequantized_bytes(shape: ModelShape, quantization: str, compute: int) -> float:
    """Bytes of the one matrix that is unpacked at a time."""
    if quantization == "none":
        return 0
    return max(layer.weights for layer in linear_layers(shape)) * compute
