"""Training: the knobs that every method shares, and how they become arguments of the training loop."""

from __future__ import annotations

from typing import Any, Literal

from app.engine.knob import Knobs, knob

SMALL = 50_000_000  # weights; models below this learn well from larger steps


class TrainingKnobs(Knobs):
    """Shared by all methods; a method overrides one by declaring it again."""

    learning_rate: float | None = knob(
        None, "How big each correction is. Too big and the model forgets or breaks, too small and nothing changes.",
        low=1e-7, high=1e-1, log=True, everyday=True)  # fmt: skip
    epochs: float = knob(
        1.0, "How often every example is seen. More learns it better, until the model recites instead of understanding.",
        low=0.01, high=1000, safe=(1, 10), unit="passes", everyday=True)  # fmt: skip
    steps: int | None = knob(
        None, "Stop after this many corrections instead of counting passes.", low=1, high=10_000_000, unit="steps",
        empty="passes are counted")  # fmt: skip
    batch_size: int = knob(
        8, "How many examples each correction looks at together. More is steadier and takes more memory.",
        low=1, high=4096, safe=(4, 64), unit="examples", everyday=True)  # fmt: skip
    accumulation: int = knob(
        1, "Adds up this many batches before correcting: the effect of a larger batch in the memory of a small one.",
        low=1, high=4096, unit="batches")  # fmt: skip
    schedule: Literal["linear", "cosine", "constant", "constant_with_warmup"] = knob(
        "linear", "How the size of corrections changes over the run.",
        choices={"linear": "Falls steadily to zero.", "cosine": "Falls slowly, then fast, then slowly.",
                 "constant": "Stays the same.", "constant_with_warmup": "Rises at first, then stays."})  # fmt: skip
    warmup: float = knob(
        0.0, "Share of the run in which corrections grow from zero, which protects the start.", low=0.0, high=0.9,
        unit="of the run")  # fmt: skip
    weight_decay: float = knob(0.0, "Pulls weights gently toward zero, against reciting.", low=0.0, high=1.0)
    max_grad_norm: float = knob(
        1.0, "Caps the size of a single correction, against accidents. 0 switches the cap off.", low=0.0, high=1000)  # fmt: skip
    evaluations: int = knob(
        2, "How often the held-out examples are tested on the way, beside the start and the end.", low=0, high=1000,
        unit="times")  # fmt: skip
    eval_answers: int = knob(
        64, "How many held-out prompts the model answers at each test.", low=0, high=10_000, unit="answers")  # fmt: skip
    eval_length: int = knob(128, "How long each of those answers may get.", low=1, high=100_000, unit="tokens")
    saves: int = knob(
        4, "How often a checkpoint to resume from is saved on the way.", low=0, high=10_000, unit="times")  # fmt: skip
    save_minutes: float = knob(
        10.0, "Also saves a checkpoint whenever this long has passed since the last.", low=0.01, high=10_000, unit="minutes")  # fmt: skip
    precision: Literal["auto", "fp32", "bf16"] = knob(
        "auto", "Number format of the arithmetic.",
        choices={"auto": "What this device does well.", "fp32": "Exact, slower on a graphics card.",
                 "bf16": "Half the memory, a little coarser."})  # fmt: skip
    checkpointing: Literal["auto", "on", "off"] = knob(
        "auto", "Computes parts twice to save memory.",
        choices={"auto": "Only when memory needs it.", "on": "Always: slower, smaller.", "off": "Never: faster, larger."})  # fmt: skip


def learning_rate(adapter: str, parameters: int | None) -> float:
    """A good start by adapter and size: 2e-4 for adapters, 2e-5 for all weights (the seeds' ranges are 1e-4 to 3e-4
    and 1e-5 to 5e-5); models under 50 million weights take ten times that, measured on the practice model.
    """
    base = 2e-5 if adapter == "none" else 2e-4
    return base * (10 if parameters and parameters < SMALL else 1)


def loop_arguments(knobs: Any, seed: int) -> dict[str, Any]:
    """What transformers' training loop is told by the shared knobs.

    Saving and testing are asked for by app/engine/story.py, so the loop's own clocks are off, and every step is logged
    with its real loss: by default a NaN is shown as 0.0.
    """
    return {
        "learning_rate": knobs.learning_rate,
        "num_train_epochs": knobs.epochs,
        "max_steps": knobs.steps or -1,
        "per_device_train_batch_size": knobs.batch_size,
        "per_device_eval_batch_size": knobs.batch_size,
        "gradient_accumulation_steps": knobs.accumulation,
        "lr_scheduler_type": knobs.schedule,
        "warmup_steps": knobs.warmup,  # below 1 it is a share of the run
        "weight_decay": knobs.weight_decay,
        "max_grad_norm": knobs.max_grad_norm,
        "seed": seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
