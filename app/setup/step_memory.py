"""What a training step holds in memory, counted in texts and tokens, as each method declares it; bytes follow from the model's shape in app/planning/memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# How the logits of a step are computed. `whole`: all at once. `tiled`: by TRL's fused head, on a graphics card a few at
# a time. `learned`: as that, but on a processor at the learned positions alone (app/engine/model/trained_positions_head.py).
# `divergence`: as `tiled`, of two models that are compared.
LogitKernel = Literal["whole", "tiled", "learned", "divergence"]


@dataclass(frozen=True, kw_only=True)
class RowLengths:
    """Lengths in tokens that decide about memory: of the longest rows, before the method's own limits.

    text: prompt and answer together. learned: the most that are learned of one text, within the limits. prompt: before
    the answer, with what the chat format adds.
    """

    text: int
    learned: int
    prompt: int


@dataclass(frozen=True, kw_only=True)
class Logits:
    """A tensor of (texts × positions, vocabulary). positions: of each text. copies: how many of that size are alive at
    once, counted in float32; a kernel other than `whole` knows that itself. texts: 0 for all of the step. of_teacher: a
    teacher gives them, whose vocabulary may be another."""

    positions: int
    kernel: LogitKernel = "whole"
    copies: float = 1.0
    texts: int = 0
    of_teacher: bool = False


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """The largest forward and backward pass of a step, and what is kept beside the model.

    texts: in one forward pass with gradients. tokens: of each, padding included. padded: the attention gets a mask.
    logits: of that pass. generated_texts: how many the model writes at once, each of generated_tokens with its prompt;
    0 where it writes none. keeps_start: where all weights are trained, a frozen copy of the initial ones is kept.
    keeps_critic: a second model is trained beside it, which gives scores. depends_on_batch: what a row teaches depends on
    the other rows of its batch, so that accumulation is no full substitute for a large one.
    """

    texts: int
    tokens: int
    logits: tuple[Logits, ...] = ()
    padded: bool = True
    generated_texts: int = 0
    generated_tokens: int = 0
    keeps_start: bool = False
    keeps_critic: bool = False
    depends_on_batch: bool = False
