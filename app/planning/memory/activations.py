"""Activations and logits: the bytes that one forward pass keeps for its backward pass.

Counted operation by operation for a block of a Llama-like transformer under PyTorch's autograd, PEFT's LoRA and
transformers' RMSNorm, and checked against measured peaks by `python -m tests.bench memory`.
"""

from __future__ import annotations

from dataclasses import dataclass

from app.setup.model_shape import ModelShape
from app.setup.step_memory import Logits, StepMemory

FLOAT32 = 4
HALF = 2
# Families whose attention has no fused kernel in transformers: their scores are kept.
_EAGER_FAMILIES = ("gpt_oss",)
_DROPOUT_FAMILIES = ("gpt2",)  # these drop activations at random: on a processor their attention is not fused either
_QUERY_NORM_FAMILIES = ("qwen3", "gemma3", "olmo2")  # they also normalise queries and keys
_FOUR_NORM_FAMILIES = ("gemma2", "gemma3")  # they normalise what attention and the matrices after it give, too
_CLAMPED_FAMILIES = ("gpt_oss",)  # their experts limit gate and up
_DROPPED_COPIES = 3  # of scores: after the softmax, what is dropped, and the rest

# Of TRL's fused head (trl/kernels/chunked_logprob.py), which computes tiles of so many positions and tokens.
_TILE_POSITIONS = 4096
_TILE_WIDTH = 32768
_TILE_COPIES_ON_CPU = 7.25  # without Triton: temporary float32 results, of the size of the tile, in its backward pass
_DIVERGENCE_COPIES_ON_CPU = 9.0
_LEARNED_COPIES = 3.0  # log-softmax of the logits, its gradient, and that of the logits
_COPIES_LEFT = 2.0  # their gradient, and what it was computed from
_PIECE_ELEMENTS = 2**24  # as in app/engine/model/frozen_head.py
_MAX_LEARNED_LOGITS = 2**28  # beyond, app/engine/model/trained_positions_head.py uses the fused head


@dataclass(frozen=True)
class Precision:
    """compute: bytes of a number in the forward pass. residual: of the stream between blocks. trains_base: gradients of
    the model's own matrices are computed. adapter_rank: of an adapter on every adapted matrix, 0 without.
    scaled_outputs: those of the matrices of a block whose magnitude is learned too (DoRA). merged_weights: weights of the
    experts of a block to which an adapter is added in each pass, and of matrices whose adapter is computed as a whole
    one. shares_inputs: matrices that read the same stream keep one copy of it, also in half precision
    (app/engine/model/fused_lora.py, and PEFT for quantized ones). on_card: computed on a graphics card.
    blocks_without_gradient: so many of the first blocks have nothing to learn, and keep nothing."""

    compute: int
    residual: int
    trains_base: bool
    adapter_rank: int
    adapters_per_block: float
    scaled_outputs: float = 0
    merged_weights: float = 0
    shares_inputs: bool = False
    on_card: bool = False
    blocks_without_gradient: int = 0


def block_bytes(shape: ModelShape, precision: Precision, step: StepMemory) -> float:
    """Bytes that one block keeps for the backward pass, for one token."""
    hidden, queries = shape.hidden_size, shape.num_attention_heads * shape.head_dim
    keys = shape.num_key_value_heads * shape.head_dim
    is_mixed = precision.compute != FLOAT32
    # normalisation works in float32, and its own weight needs the normalised numbers too where it is trained
    num_norms = 4 if shape.model_type.startswith(_FOUR_NORM_FAMILIES) else 2
    norms = num_norms * hidden * FLOAT32 * (2 if precision.trains_base else 1)
    # q, k, v, gate and up read two normalised streams, which autocast, or the adapter of each, casts anew
    casts_inputs = is_mixed and not precision.shares_inputs
    inputs = (5 if casts_inputs else 2) * hidden * precision.compute
    attended = (
        queries if step.padded else keys
    ) * 2 + queries  # with a mask, keys and values are repeated for all heads
    attention = (attended + queries * (2 if casts_inputs and precision.adapter_rank else 1)) * precision.compute
    attention += shape.num_attention_heads * FLOAT32
    if shape.model_type.startswith(_QUERY_NORM_FAMILIES):
        attention += (queries + keys) * FLOAT32
    if shape.model_type in _DROPOUT_FAMILIES:
        attention += (
            2 * hidden * (1 if precision.on_card else FLOAT32)
        )  # what is dropped after it and after the matrices
    adapters = precision.adapter_rank * precision.adapters_per_block * precision.compute
    adapters += 2 * precision.scaled_outputs * precision.compute  # of the matrix and of its adapter, for the magnitude
    return norms + inputs + attention + adapters + _mlp_numbers(shape, precision) * precision.compute


def _mlp_numbers(shape: ModelShape, precision: Precision) -> float:
    """Numbers per token between the matrices after the attention: gate, its activation, up, and their product."""
    per_width = 4 if shape.gated_mlp else 5  # GPT-2's activation is computed step by step
    dense = per_width * shape.intermediate_size
    if not shape.num_experts:
        return dense
    expert_blocks = max(0, shape.num_hidden_layers - shape.dense_layers)
    sparse = shape.num_experts_per_token * _expert_numbers(shape, precision) + 2 * shape.num_experts
    sparse += shape.num_shared_experts * per_width * shape.expert_size
    return (sparse * expert_blocks + dense * shape.dense_layers) / max(1, shape.num_hidden_layers)


def _expert_numbers(shape: ModelShape, precision: Precision) -> float:
    """Of one expert, with its result before it is weighted. What a matrix reads is kept only where it is trained."""
    per_width = 6 if shape.model_type.startswith(_CLAMPED_FAMILIES) else 3
    numbers = per_width * shape.expert_size + shape.hidden_size
    is_trained = precision.trains_base or precision.merged_weights
    return numbers + (shape.expert_size + shape.hidden_size if is_trained else 0)


def activation_bytes(
    shape: ModelShape, precision: Precision, step: StepMemory, *, recomputes: bool, offloads: bool = False
) -> tuple[float, float]:
    """(bytes kept by a whole forward pass, bytes of the one block that is computed again). recomputes: each block keeps
    its input alone (gradient checkpointing). offloads: what blocks keep lies in main memory, and comes back block by
    block: on the device are that of one and of the next."""
    tokens = step.texts * step.tokens
    block = tokens * block_bytes(shape, precision, step) + _score_bytes(shape, precision, step)
    block += precision.merged_weights * precision.residual
    ends = tokens * shape.hidden_size * FLOAT32 * 3  # embeddings, and the last normalisation
    mask = step.texts * step.tokens**2 * (1 + FLOAT32) if step.padded else 0
    if offloads:
        return ends + mask + (0 if recomputes else block), block
    if recomputes:
        inputs = shape.num_hidden_layers * tokens * shape.hidden_size * precision.residual
        return inputs + ends + mask, block
    return (shape.num_hidden_layers - precision.blocks_without_gradient) * block + ends + mask, 0.0


def working_bytes(shape: ModelShape, precision: Precision, step: StepMemory) -> float:
    """Bytes of gradients inside the block that the backward pass is at."""
    width = _mlp_numbers(shape, precision) / 2 + 3 * shape.hidden_size
    return step.texts * step.tokens * width * max(precision.compute, precision.residual)


def _score_bytes(shape: ModelShape, precision: Precision, step: StepMemory) -> float:
    scores = step.texts * shape.num_attention_heads * step.tokens**2
    if shape.model_type.startswith(_EAGER_FAMILIES):
        return scores * (precision.compute if precision.compute == FLOAT32 else precision.compute + FLOAT32)
    if shape.model_type in _DROPOUT_FAMILIES and not precision.on_card:
        return scores * FLOAT32 * _DROPPED_COPIES
    return 0


# -- logits -------------------------------------------------------------------------------------------------------


def logit_bytes(
    shape: ModelShape,
    teacher: ModelShape,
    step: StepMemory,
    compute: int,
    *,
    on_card: bool,
    frozen_head: bool,
) -> tuple[float, float]:
    """(bytes of all logits of a step and of what is computed from them at the same time, those of them that are left when
    the gradient of the head comes). on_card: Triton's kernels are used, which need one tile. frozen_head: the model's own
    head is not trained."""
    sizes = [
        _frozen_head_bytes(shape, step, logits, compute)
        if frozen_head and logits.kernel == "learned" and not on_card and not shape.num_experts
        else _logit_bytes(teacher if logits.of_teacher else shape, step, logits, compute, on_card)
        for logits in step.logits
    ]
    return sum(size for size, _ in sizes), sum(size_in_head for _, size_in_head in sizes)


def _frozen_head_bytes(shape: ModelShape, step: StepMemory, logits: Logits, compute: int) -> tuple[float, float]:
    """Piece by piece, with the gradient of each position's score (app/engine/model/frozen_head.py)."""
    positions = (logits.texts or step.texts) * logits.positions
    rows = min(positions, max(1, _PIECE_ELEMENTS // shape.vocab_size))
    copies = 2 * FLOAT32 + (compute if compute != FLOAT32 else 0)  # logarithms of the probabilities, and these
    gradients = positions * shape.hidden_size * compute
    return rows * shape.vocab_size * copies + gradients, gradients


def _logit_bytes(
    shape: ModelShape, step: StepMemory, logits: Logits, compute: int, on_card: bool
) -> tuple[float, float]:
    positions, vocab_size = (logits.texts or step.texts) * logits.positions, shape.vocab_size
    one_copy = positions * vocab_size * FLOAT32
    if logits.kernel == "whole":
        return one_copy * logits.copies, one_copy * min(logits.copies, _COPIES_LEFT)
    is_small = positions * vocab_size <= _MAX_LEARNED_LOGITS and not shape.num_experts
    if logits.kernel == "learned" and is_small and not on_card:
        return one_copy * _LEARNED_COPIES, one_copy * _COPIES_LEFT
    if not on_card and logits.kernel != "divergence":
        positions = step.texts * step.tokens  # every one is scored, and what is not learned is thrown away
    rows = min(positions, _TILE_POSITIONS)
    size: float = rows * _TILE_WIDTH * (2 * FLOAT32 if logits.kernel == "divergence" else compute)
    if not on_card:
        copies = _DIVERGENCE_COPIES_ON_CPU if logits.kernel == "divergence" else _TILE_COPIES_ON_CPU
        size += rows * min(vocab_size, _TILE_WIDTH) * copies * FLOAT32
    return size, size  # tile by tile the gradient of the head is added up


# -- generation ---------------------------------------------------------------------------------------------------


def cache_bytes(shape: ModelShape, texts: int, tokens: int, compute: int) -> float:
    """Bytes of the keys and values of texts that grow to so many tokens."""
    keys = shape.num_key_value_heads * shape.head_dim
    return 2 * shape.num_hidden_layers * keys * texts * tokens * compute


def next_token_bytes(shape: ModelShape, texts: int) -> float:
    """Bytes of the logits of one more token for each text, and of what it is drawn with."""
    return texts * shape.vocab_size * FLOAT32 * 4
