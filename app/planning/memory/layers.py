"""The layers of a model by their usual names and sizes, and how many weights of them are trained."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache

from app.setup.adapter import Adapter
from app.setup.model_shape import ModelShape
from app.setup.spec import Spec

_FOURIER_FREQUENCIES = 1000  # trained for each layer, PEFT's default
_TABLES = ("embed_tokens", "lm_head")
_ALL_LINEAR = ("auto", "all-linear")  # targets: of the blocks, without the head
_MLP_NAMES = {3: ("gate_proj", "up_proj", "down_proj"), 2: ("up_proj", "down_proj")}


@dataclass(frozen=True)
class Layer:
    """A matrix of (outputs, inputs). count: of equal ones under this name, as in a stack of experts."""

    name: str
    inputs: int
    outputs: int
    count: int = 1

    @property
    def weights(self) -> int:
        return self.inputs * self.outputs * self.count


@lru_cache(maxsize=64)
def linear_layers(shape: ModelShape) -> tuple[Layer, ...]:
    """The matrices of all blocks, without embeddings and head. Routed experts are stacks: they are no linear layers."""
    return tuple(_linear_layers(shape))


def _linear_layers(shape: ModelShape) -> Iterator[Layer]:
    hidden, queries = shape.hidden_size, shape.num_attention_heads * shape.head_dim
    keys = shape.num_key_value_heads * shape.head_dim
    attention = (("q_proj", hidden, queries), ("k_proj", hidden, keys), ("v_proj", hidden, keys), ("o_proj", queries, hidden))  # fmt: skip
    for index in range(shape.num_hidden_layers):
        for name, inputs, outputs in attention:
            yield Layer(f"layers.{index}.self_attn.{name}", inputs, outputs)
        if shape.num_experts and index >= shape.dense_layers:
            yield from _expert_layers(shape, index)
        else:
            yield from _mlp_layers(shape, f"layers.{index}.mlp", shape.intermediate_size)


def expert_stacks(shape: ModelShape) -> Iterator[Layer]:
    """The stacked weights of routed experts, in blocks that have some."""
    if not shape.num_experts:
        return
    for index in range(shape.dense_layers, shape.num_hidden_layers):
        prefix = f"layers.{index}.mlp.experts"
        yield Layer(
            f"{prefix}.gate_up_proj", shape.hidden_size, (shape.mlp_matrices - 1) * shape.expert_size, shape.num_experts
        )
        yield Layer(f"{prefix}.down_proj", shape.expert_size, shape.hidden_size, shape.num_experts)


def _mlp_layers(shape: ModelShape, prefix: str, width: int) -> Iterator[Layer]:
    *inner_names, last_name = _MLP_NAMES[shape.mlp_matrices]
    for name in inner_names:
        yield Layer(f"{prefix}.{name}", shape.hidden_size, width)
    yield Layer(f"{prefix}.{last_name}", width, shape.hidden_size)


def _expert_layers(shape: ModelShape, index: int) -> Iterator[Layer]:
    for number in range(shape.num_shared_experts):
        yield from _mlp_layers(shape, f"layers.{index}.mlp.shared_experts.{number}", shape.expert_size)


# -- what is trained ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainedWeights:
    """Counts. adapter: new weights beside the model. unfrozen: weights of the model's own that are trained whole;
    embedded: those of them in the table of the input embeddings. not_in_matrices: those of them in either table or in
    stacks of experts, and so not in a matrix of a block. adapted_layers: linear layers that carry an adapter;
    adapted_outputs: their outputs together. merged_weights: of experts that carry one, and of layers whose adapter is
    computed as a whole matrix."""

    adapter: int
    unfrozen: int
    embedded: int = 0
    not_in_matrices: int = 0
    adapted_layers: int = 0
    adapted_outputs: int = 0
    merged_weights: int = 0

    @property
    def total(self) -> int:
        return self.adapter + self.unfrozen


def count_trained(spec: Spec, shape: ModelShape) -> TrainedWeights:
    """What a Spec trains in a model of this shape."""
    adapter = spec.adapter.as_stored
    layers = [*linear_layers(shape)]
    trains_all = _trains_all(adapter)
    embedded = shape.vocab_size * shape.hidden_size if trains_all or _matches(_TABLES[0], adapter.unfreeze) else 0
    not_in_matrices = _weights_not_in_matrices(shape, ["*"] if trains_all else adapter.unfreeze)
    if adapter.kind == "none":
        unfrozen = shape.num_parameters if trains_all else _unfrozen_weights(adapter, shape, layers)
        return TrainedWeights(0, unfrozen, embedded, not_in_matrices)
    adapted = [  # what is trained whole carries none
        layer
        for layer in layers
        if _is_target(layer.name, adapter.targets) and not _matches(layer.name, adapter.unfreeze)
    ]
    stacks = [stack for stack in expert_stacks(shape) if _matches(stack.name, adapter.experts)]
    weights = sum(_adapter_weights(adapter, layer) for layer in (*adapted, *stacks))
    weights += len(spec.model.new_tokens) * shape.hidden_size
    return TrainedWeights(
        adapter=weights,
        unfrozen=_unfrozen_weights(adapter, shape, layers),
        embedded=embedded,
        not_in_matrices=not_in_matrices,
        adapted_layers=len(adapted),
        adapted_outputs=sum(layer.outputs for layer in adapted),
        merged_weights=sum(layer.weights for layer in (*stacks, *(adapted if adapter.computes_whole_matrices else ()))),
    )


def _adapter_weights(adapter: Adapter, layer: Layer) -> int:
    """Weights of the adapter of a layer, as PEFT makes them."""
    if adapter.kind == "ia3":
        return layer.inputs if layer.name.endswith("down_proj") else layer.outputs
    if adapter.kind == "lokr":
        return _kronecker_weights(adapter.r, layer)
    if adapter.kind == "oft":
        return layer.inputs * (_nearest_divisor(layer.inputs, adapter.r) - 1) // 2
    if adapter.kind == "vera":
        return adapter.r + layer.outputs
    if adapter.kind == "fourierft":
        return _FOURIER_FREQUENCIES
    low_rank = adapter.r * (layer.inputs + layer.outputs) * layer.count
    return low_rank * (2 if adapter.kind == "loha" else 1) + (layer.outputs if adapter.kind == "dora" else 0)


def _kronecker_weights(r: int, layer: Layer) -> int:
    """Of a small matrix, and of a larger one that has a low rank where that saves weights."""
    (rows, large_rows), (columns, large_columns) = _near_square(layer.outputs), _near_square(layer.inputs)
    is_full = r >= max(large_rows, large_columns) / 2
    return rows * columns + (large_rows * large_columns if is_full else r * (large_rows + large_columns))


def _nearest_divisor(number: int, wanted: int) -> int:
    """The size of a block that PEFT takes where the wanted one does not divide the number."""
    divisors = (divisor for divisor in range(1, number + 1) if number % divisor == 0)
    return min(divisors, key=lambda divisor: (abs(divisor - wanted), divisor))


def _near_square(number: int) -> tuple[int, int]:
    """Two factors of a number, the smaller first, as near to each other as can be."""
    small = next(factor for factor in range(math.isqrt(number), 0, -1) if number % factor == 0)
    return small, number // small


def _is_target(layer_name: str, targets: str) -> bool:
    return targets in _ALL_LINEAR or any(
        fnmatchcase(f".{layer_name}", f"*.{name.removeprefix('model.')}") for name in targets.split(",")
    )


def _weights_not_in_matrices(shape: ModelShape, patterns: list[str]) -> int:
    """Of the layers that the patterns name; a head that shares the table of the embeddings counts once."""
    names = _TABLES[:1] if shape.tie_word_embeddings else _TABLES
    tables = [Layer(name, shape.hidden_size, shape.vocab_size) for name in names]
    return sum(layer.weights for layer in (*expert_stacks(shape), *tables) if _matches(layer.name, patterns))


def has_frozen_head(spec: Spec, shape: ModelShape) -> bool:
    """Whether the matrix that gives logits stays as it is: it is not trained, has no adapter, and no token of it is new."""
    adapter, names = spec.adapter.as_stored, _TABLES if shape.tie_word_embeddings else _TABLES[1:]
    targets = "" if adapter.kind == "none" or adapter.targets in _ALL_LINEAR else adapter.targets
    is_learned = any(_is_target(name, targets) or _matches(name, adapter.unfreeze) for name in names)
    return not (is_learned or _trains_all(adapter) or spec.model.new_tokens)


def first_trained_block(spec: Spec, shape: ModelShape) -> int:
    """The number of the first block, from 0, that the backward pass has to reach; the count of blocks where it reaches none."""
    adapter = spec.adapter.as_stored
    if _trains_all(adapter) or spec.model.new_tokens or _matches(_TABLES[0], adapter.unfreeze):
        return 0
    names = [layer.name for layer in (*linear_layers(shape), *expert_stacks(shape))]
    learned = (
        name
        for name in names
        if _matches(name, [*adapter.unfreeze, *adapter.experts])
        or (adapter.kind != "none" and _is_target(name, adapter.targets))
    )
    return min((int(name.split(".")[1]) for name in learned), default=shape.num_hidden_layers)


def _trains_all(adapter: Adapter) -> bool:
    return adapter.kind == "none" and not adapter.unfreeze


def _unfrozen_weights(adapter: Adapter, shape: ModelShape, layers: list[Layer]) -> int:
    tables = [Layer(name, shape.hidden_size, shape.vocab_size) for name in _TABLES]
    if not adapter.unfreeze:
        return 0
    return sum(
        layer.weights for layer in (*layers, *expert_stacks(shape), *tables) if _matches(layer.name, adapter.unfreeze)
    )


def _matches(name: str, patterns: list[str]) -> bool:
    """As app/engine/model/adapter.py matches: whole segments, and the layers inside a module that is named."""
    padded_name = f".{name}."
    return any(fnmatchcase(padded_name, f"*.{pattern.removeprefix('model.')}.*") for pattern in patterns)
