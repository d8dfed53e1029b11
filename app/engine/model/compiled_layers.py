"""Layers of a model compiled by PyTorch, each class of them once.

`TrainingArguments.torch_compile` compiles the model as a whole. Here its repeated layers are compiled instead, which is most
of the work of a step (PyTorch calls it regional compilation): layers of one class share what is compiled, so that a model
with 30 of them starts many times sooner; what is around them, such as the choice of the trained positions, need not be
compiled; and the model remains the same object with the same names of weights, which checkpoints and results are saved under.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from transformers import Cache
from transformers.modeling_layers import GradientCheckpointingLayer

from app.core.problems import Problem

if TYPE_CHECKING:
    from torch.nn import Module

_MAX_VARIANTS = 64  # of one layer's code: by dtype, shape of the batch, kind of attention, and adapter


def compile_layers(model: Module, *, has_equal_batches: bool) -> None:
    """Compiles the forward pass of each layer, and so the backward pass. Raises Problem for a model without layers.

    Only what is learned from is compiled: while answers are written or held-out rows scored, the layers compute as before,
    since what they read changes in shape all the time. has_equal_batches: all batches have the same shape, for which is
    compiled then; otherwise for any shape, so that no step later stops to compile again.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise Problem("This model has no repeated layers that could be compiled.", advice="Switch compilation off.")
    dynamic = None if has_equal_batches else True
    forwards = {
        layer_class: _learning_forward(layer_class, dynamic) for layer_class in {type(layer) for layer in layers}
    }
    for layer in layers:
        layer.forward = types.MethodType(forwards[type(layer)], layer)  # a method is copied with its layer


def _learning_forward(layer_class: type[Module], dynamic: bool | None) -> Callable[..., Any]:
    """The forward pass of a class of layers: compiled where it is learned from. dynamic: as in `torch.compile`."""
    original = layer_class.forward
    compiled: Callable[..., Any] = torch.compile(original, dynamic=dynamic, recompile_limit=_MAX_VARIANTS)  # type: ignore[call-overload]

    def forward(self: Module, *args: Any, **kwargs: Any) -> Any:
        is_writing = any(isinstance(argument, Cache) for argument in (*args, *kwargs.values()))
        return (compiled if self.training and not is_writing else original)(self, *args, **kwargs)

    return forward
