"""Optimizer: its settings, and the names under which transformers knows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from app.core.problems import Problem
from app.setup.knob import Knobs, knob

if TYPE_CHECKING:
    from app.engine.model.device import Device

# {setting: (`optim`, `optim_args` of TrainingArguments)}. The first is the default of transformers.
OPTIMIZERS = {
    "adamw": ("adamw_torch_fused", None),
    "adamw_8bit": ("adamw_8bit", None),
    "paged_adamw_8bit": ("paged_adamw_8bit", None),
    "muon": ("adamw_torch_fused", None),  # replaced in weight_groups.py: transformers has no name for it
    "adafactor": ("adafactor", None),
    "lion": ("lion_32bit", None),
    "sgd": ("sgd", "momentum=0.9"),
}


class OptimizerKnobs(Knobs):
    """How corrections are made from gradients."""

    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit", "muon", "adafactor", "lion", "sgd"] = knob(
        "adamw",
        "How corrections are made from what each batch shows.",
        choices={
            "adamw": "AdamW: remembers two numbers for each trained weight. The usual choice.",
            "adamw_8bit": "AdamW that remembers in 8 bits: a quarter of that memory, almost the same result.",
            "paged_adamw_8bit": "The same, moved out of a graphics card's memory when it fills up; needs such a card.",
            "muon": "Muon: turns each matrix evenly in all directions, and AdamW does the rest. Often learns in fewer steps, with "
            "half of the memory and the same learning rate. On a processor it is quick for adapters and slow for all weights.",
            "adafactor": "Remembers far less than AdamW and is a little rougher: for all weights of a large model.",
            "lion": "Remembers one number for each weight. Wants a learning rate three to ten times smaller.",
            "sgd": "Follows the slope with momentum: simple, slow, and wants a learning rate a hundred times larger.",
        },
        library_name="optim",
        affects="timing",
    )
    loraplus_lr_ratio: float = knob(
        1.0,
        "How many times faster the second matrix of each adapter learns than the first (LoRA+): it starts at zero and has "
        "further to go. 16 is usual, with half of the learning rate. 1: both alike.",
        low=1.0,
        high=1000.0,
        safe=(1.0, 32.0),
        unit="times",
        unused_with={"adapter.kind": ["none"]},
    )
    embedding_learning_rate: float | None = knob(
        None,
        "How big corrections of trained embeddings, of the head and of new tokens are, where they should learn at another "
        "rate than the rest. A tenth of the learning rate is usual.",
        low=1e-8,
        high=1e-1,
        log=True,
        empty="the learning rate counts for them too",
    )
    adam_beta1: float = knob(
        0.9,
        "How much of the direction of earlier batches each correction keeps. Higher is steadier and turns later. Used by "
        "AdamW and Lion.",
        low=0.0,
        high=0.9999,
        safe=(0.8, 0.95),
        unused_with={"knobs.optimizer": ["adafactor", "sgd"]},
    )
    adam_beta2: float = knob(
        0.999,
        "How long AdamW remembers how much each weight's gradient varies. 0.95 forgets sooner, which suits short runs and "
        "sudden jumps of the loss. Used by AdamW and Lion.",
        low=0.0,
        high=0.99999,
        safe=(0.9, 0.9995),
        unused_with={"knobs.optimizer": ["adafactor", "sgd"]},
    )
    adam_epsilon: float = knob(
        1e-8,
        "Keeps AdamW from dividing by almost nothing. Higher makes corrections of rarely used weights smaller. Used by AdamW.",
        low=1e-20,
        high=1.0,
        safe=(1e-12, 1e-5),
        log=True,
        unused_with={"knobs.optimizer": ["adafactor", "sgd", "lion"]},
    )
    weight_decay: float = knob(0.0, "Pulls weights gently toward zero, against reciting.", low=0.0, high=1.0)
    max_grad_norm: float = knob(
        1.0, "Caps the size of a single correction, against accidents. 0 switches the cap off.", low=0.0, high=1000
    )


def require_optimizer(knobs: OptimizerKnobs, device: Device) -> None:
    """Raises Problem for an optimizer that needs a GPU; on a CPU the library would silently use another."""
    if device.is_cpu and knobs.optimizer.startswith("paged"):
        raise Problem(
            f"The optimizer {knobs.optimizer} moves its memory out of a graphics card, and this machine trains without one.",
            advice="Choose adamw_8bit, which is as small.",
        )
