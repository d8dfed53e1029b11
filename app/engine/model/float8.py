"""Products in 8 bits (FP8) where the model learns, by torchao.

The trained weights stay in float32. Of each product the factors are scaled and rounded to 8 bits on the way, as is the
gradient in the backward pass; what is around the products computes in bfloat16.
"""

from __future__ import annotations

import types
from typing import TYPE_CHECKING

from torch.nn import Linear

from app.core.problems import Problem

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from torchao.float8 import Float8LinearConfig


def multiply_in_float8(model: Module, config: Float8LinearConfig | None = None) -> None:
    """Makes the linear layers of a model compute so while it learns, but for the first and the last, as accelerate chooses
    them, and those with a side that is no multiple of 16. Weights and their names stay the same. Raises Problem where no
    layer is left. config: None, for a scale for each tensor, which cards from Ada on compute.

    While answers are written or held-out rows scored, the layers compute as those of the result will.
    """
    from accelerate.utils.ao import convert_model_to_fp8_ao
    from torchao.float8 import Float8LinearConfig
    from torchao.float8.float8_linear import Float8Linear

    # padded, since the tokens of a batch are seldom a multiple of 16
    convert_model_to_fp8_ao(model, config=config or Float8LinearConfig(pad_inner_dim=True))
    layers = [module for module in model.modules() if isinstance(module, Float8Linear)]
    if not layers:
        raise Problem("This model has no layers that can compute in FP8.", advice="Set the precision to auto.")
    for layer in layers:
        layer.forward = types.MethodType(_learning_forward, layer)


def _learning_forward(layer: Linear, batch: Tensor) -> Tensor:
    return type(layer).forward(layer, batch) if layer.training else Linear.forward(layer, batch)
