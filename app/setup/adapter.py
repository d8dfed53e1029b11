"""Adapter: what of the model is trained, as the Spec says it."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from app.core.json_types import JsonValue
from app.core.validation import FrozenModel, rename_library_fields

# a name of a layer or a part of one; * matches anything, other characters are literal
LayerPattern = Annotated[str, Field(pattern=r"^[\w.*-]{1,200}$")]

# The initial weights of LoRA, by PEFT's names; `default` is what PEFT calls True.
AdapterInit = Literal["default", "gaussian", "orthogonal", "pissa", "pissa_niter_4", "pissa_niter_16", "olora", "loftq"]
_INITS_WITH_BOTH_HALVES = ("pissa", "pissa_niter_4", "pissa_niter_16", "olora")


class Adapter(FrozenModel):
    """What is trained: a low-rank adapter of rank `r` scaled by alpha/r (rslora: alpha/√r), another kind of adapter, or
    with `none` all weights.

    `oft` rotates the input of a layer in blocks of `r` numbers; `vera` scales `r` fixed random directions. Both have no
    alpha; `ia3`, one factor for each number that a layer gives, and `fourierft`, 1000 waves for each layer, have no rank either.

    targets: “auto”, or the names of the adapted layers, in which * stands for anything. unfreeze: layers whose full
    weights are trained: in addition to an adapter, or with `none` instead of all weights. experts: stacked weights of
    a mixture of experts that get an adapter, by their full names, such as mlp.experts.gate_up_proj. init: how the adapter's weights begin.
    """

    kind: Literal["lora", "dora", "rslora", "ia3", "loha", "lokr", "oft", "vera", "fourierft", "none"] = "lora"
    r: int = Field(default=16, ge=1, le=1024)
    alpha: float = Field(default=32, gt=0, le=4096, json_schema_extra={"library_name": "lora_alpha"})
    dropout: float = Field(default=0.0, ge=0, lt=1, json_schema_extra={"library_name": "lora_dropout"})
    init: AdapterInit = Field(default="default", json_schema_extra={"library_name": "init_lora_weights"})
    # names, never a regular expression
    targets: str = Field(
        default="auto", pattern=r"^[\w.*-]+(,[\w.*-]+)*$", json_schema_extra={"library_name": "target_modules"}
    )
    unfreeze: list[LayerPattern] = Field(
        default=[], max_length=64, json_schema_extra={"library_name": "modules_to_save"}
    )
    experts: list[LayerPattern] = Field(
        default=[], max_length=16, json_schema_extra={"library_name": "target_parameters"}
    )

    @model_validator(mode="before")
    @classmethod
    def _accept_library_names(cls, data: JsonValue) -> JsonValue:
        """Fields may have the names of PEFT's LoraConfig."""
        return rename_library_fields(cls, data) if isinstance(data, dict) else data

    @field_validator("init", mode="before")
    @classmethod
    def _accept_true(cls, value: JsonValue) -> JsonValue:
        """PEFT's name of the default."""
        return "default" if value is True else value

    @property
    def is_lora(self) -> bool:
        """Whether it is LoRA or a variant, which PEFT supports in most combinations."""
        return self.kind in ("lora", "dora", "rslora")

    @property
    def has_rank(self) -> bool:
        """Whether `r` decides its size."""
        return self.kind not in ("none", "ia3", "fourierft")

    @property
    def has_low_rank(self) -> bool:
        """Whether what a layer reads passes through `r` numbers."""
        return self.is_lora or self.kind == "vera"

    @property
    def has_strength(self) -> bool:
        """Whether `alpha` scales it."""
        return self.is_lora or self.kind in ("loha", "lokr")

    @property
    def computes_whole_matrices(self) -> bool:
        """Whether each step computes a matrix as large as the layer from it."""
        return self.kind in ("loha", "lokr", "fourierft")

    @property
    def as_stored(self) -> Adapter:
        """The ordinary adapter that this one is held and saved as.

        PiSSA and OLoRA begin with a part of the base weights. What was learned is the difference between the trained
        part and the initial one, which is an adapter of twice the rank and of the same scale; see
        app/engine/model/adapter_init.py.
        """
        stored: dict[str, JsonValue] = {"init": "default"}
        if self.init in _INITS_WITH_BOTH_HALVES and self.kind != "none":
            stored |= {"r": 2 * self.r, "alpha": self.alpha * (math.sqrt(2) if self.kind == "rslora" else 2)}
        return self.model_copy(update=stored)
