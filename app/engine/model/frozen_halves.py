"""Halves of trained weights that stay as they are, whatever the optimizer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from transformers import TrainerCallback

if TYPE_CHECKING:
    import torch
    from torch.nn import Parameter


class FrozenHalf(NamedTuple):
    """The second half of a trained weight, along a dimension, which stays as it was at the start."""

    weight: Parameter
    dimension: int

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """A view of this half of a tensor of the weight's shape."""
        half = self.weight.shape[self.dimension] // 2
        return tensor.narrow(self.dimension, half, half)


class FreezeHalves(TrainerCallback):
    """Keeps halves of trained weights as they are: they get no gradient, and what an optimizer changes without one, such
    as by weight decay, is undone."""

    def __init__(self, halves: list[FrozenHalf]):
        self.halves = halves
        self.initial: list[torch.Tensor] = []
        for half in halves:
            half.weight.register_hook(lambda gradient, half=half: _without_half(gradient, half))

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """After the weights of a checkpoint are loaded, which a resumed run goes on from."""
        self.initial = [half.of(half.weight.data).clone() for half in self.halves]

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        """After each step."""
        for half, initial in zip(self.halves, self.initial, strict=True):
            half.of(half.weight.data).copy_(initial)


def _without_half(gradient: torch.Tensor, half: FrozenHalf) -> torch.Tensor:
    masked = gradient.clone()
    half.of(masked).zero_()
    return masked
