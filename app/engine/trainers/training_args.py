"""Settings that every method shares, and the training arguments of transformers that they become."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from app.engine.trainers.lr_schedule import ScheduleKnobs, lr_scheduler_type
from app.engine.trainers.optimizer import OPTIMIZERS, OptimizerKnobs
from app.setup.knob import Knobs, knob
from app.setup.spec import MAX_STEPS

SMALL_MODEL_PARAMETERS = 50_000_000  # models below this learn well at much higher learning rates
# ((parameters below which, how many times the rate of large models), …): measured on the practice model and on
# SmolLM2-135M, which at the rate of large models learns the words of answers and not yet what they say.
_RATE_FACTORS = ((SMALL_MODEL_PARAMETERS, 10), (300_000_000, 5))


class StepKnobs(Knobs):
    """How many steps there are, and how large each is."""

    learning_rate: float | None = knob(
        None,
        "How big each correction is. Too big and the model forgets or breaks, too small and nothing changes.",
        low=1e-7,
        high=1e-1,
        log=True,
        everyday=True,
    )
    epochs: float = knob(
        1.0,
        "How often every example is seen. More learns it better, until the model recites instead of understanding.",
        low=0.01,
        high=1000,
        safe=(1, 10),
        unit="passes",
        everyday=True,
        library_name="num_train_epochs",
        affects="length",
        unused_with={"knobs.steps": []},
    )
    steps: int | None = knob(
        None,
        "Stop after this many corrections instead of counting passes.",
        low=1,
        high=MAX_STEPS,
        unit="steps",
        empty="passes are counted",
        library_name="max_steps",
        affects="length",
    )
    batch_size: int = knob(
        8,
        "How many examples each correction looks at together. More is steadier and takes more memory.",
        low=1,
        high=4096,
        safe=(1, 64),
        unit="examples",
        everyday=True,
        library_name="per_device_train_batch_size",
        affects="order",
    )
    accumulation: int = knob(
        1,
        "Adds up this many batches before correcting: the effect of a larger batch in the memory of a small one.",
        low=1,
        high=4096,
        unit="batches",
        library_name="gradient_accumulation_steps",
        affects="order",
    )


class TrainingKnobs(ScheduleKnobs, OptimizerKnobs, StepKnobs):
    """Settings of all methods; a method overrides one by declaring it again."""

    evaluations: int = knob(
        2,
        "How often the held-out examples are tested on the way, beside the start and the end.",
        low=0,
        high=1000,
        unit="times",
        affects="evaluation",
    )
    eval_answers: int = knob(
        64,
        "How many held-out prompts the model answers at each test.",
        low=0,
        high=10_000,
        unit="answers",
        affects="evaluation",
    )
    eval_length: int = knob(
        128, "How long each of those answers may get.", low=1, high=100_000, unit="tokens", affects="evaluation"
    )
    saves: int = knob(
        4,
        "How often a checkpoint to resume from is saved on the way.",
        low=0,
        high=10_000,
        unit="times",
        affects="evaluation",
    )
    save_minutes: float = knob(
        10.0,
        "Also saves a checkpoint whenever this long has passed since the last.",
        low=0.01,
        high=10_000,
        unit="minutes",
        affects="evaluation",
    )
    keep_best: bool = knob(
        True,
        "The result is the checkpoint that did best on the held-out examples. Off: always that of the last step. Both stay, "
        "so you can change your mind afterwards.",
        library_name="load_best_model_at_end",
        affects="evaluation",
    )
    best_metric: str = knob(
        "",
        "The held-out measure that decides which checkpoint is best: loss, where lower is better, or the name of a reward "
        "or of the method's own measure, where higher is better.",
        empty="the first of the rewards or of the method's own measures, else the loss",
        library_name="metric_for_best_model",
        affects="evaluation",
    )
    early_stopping_patience: int | None = knob(
        None,
        "Stops when this many tests in a row brought nothing better on the held-out examples, and so spares the steps in "
        "which a model only recites. Test often enough: with 10 tests, 3 is a good choice.",
        low=1,
        high=1000,
        safe=(2, 10),
        unit="tests",
        empty="the run goes to its end",
        affects="evaluation",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16", "fp8"] = knob(
        "auto",
        "Number format of the arithmetic.",
        choices={
            "auto": "What this device does well.",
            "fp32": "Exact, slower on a graphics card.",
            "bf16": "Half the memory, a little coarser.",
            "fp16": "As small and finer, but it overflows: losses are scaled up to keep it from that. For graphics cards "
            "that do not compute in bf16.",
            "fp8": "The large products in 8 bits, the rest in bf16: quicker for large models whose weights are all trained. Needs "
            "an NVIDIA card from Ada or Hopper on, the package torchao, and compilation.",
        },
        affects="timing",
    )
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2", "flex_attention"] = knob(
        "auto",
        "How it is computed which earlier tokens each token looks at. The result is the same but for rounding.",
        choices={
            "auto": "What the model’s library chooses, mostly sdpa.",
            "sdpa": "PyTorch’s own, on every device.",
            "eager": "Step by step: slow, and needs memory with the square of the length. To compare with.",
            "flash_attention_2": "Quickest for long texts. Needs an NVIDIA card, half precision and the package flash-attn or kernels.",
            "flex_attention": "Compiled for the pattern at hand, when training starts. Needs an NVIDIA card.",
        },
        library_name="attn_implementation",
        affects="timing",
    )
    checkpointing: Literal["auto", "on", "off"] = knob(
        "auto",
        "Computes parts twice to save memory.",
        choices={
            "auto": "Only when memory needs it.",
            "on": "Always: slower, smaller.",
            "off": "Never: faster, larger.",
        },
        library_name="gradient_checkpointing",
        affects="timing",
    )

    dataloader_workers: int = knob(
        0,
        "How many processes put batches together beside the training. Helps a fast card that waits for images or long texts; "
        "what is learned, and in which order, stays the same.",
        low=0,
        high=64,
        safe=(0, 8),
        unit="processes",
        library_name="dataloader_num_workers",
        affects="timing",
    )
    profile_steps: int | None = knob(
        None,
        "Records what the device computes in so many steps and says where their time went. For those who tune the machine; "
        "these steps take longer.",
        low=1,
        high=20,
        safe=(1, 5),
        unit="steps",
        empty="nothing is recorded",
        affects="timing",
    )

    @field_validator("best_metric")
    @classmethod
    def _accept_event_names(cls, name: str) -> str:
        """Also `eval_loss` as in transformers, and `eval/NAME` as in events."""
        name = name.strip().removeprefix("eval/")
        return "loss" if name == "eval_loss" else name


def default_learning_rate(adapter: str, parameters: int | None) -> float:
    """The default by adapter and model size: 2e-4 for adapters, 2e-5 for all weights (recommended are 1e-4 to 3e-4 and 1e-5
    to 5e-5), 2e-3 for the few factors of IA³ (its paper takes 3e-3) and VeRA (4e-3); ten times that for models under 50
    million parameters and five times under 300 million.
    """
    base = {"none": 2e-5, "ia3": 2e-3, "vera": 2e-3}.get(adapter, 2e-4)
    return base * next((factor for limit, factor in _RATE_FACTORS if parameters and parameters < limit), 1)


def training_kwargs(knobs: TrainingKnobs, seed: int) -> dict[str, str | float | None]:
    """Keyword arguments of TrainingArguments from the shared settings.

    app/engine/callback.py requests checkpoints and evaluations, so the loop's own schedules for these are off; so is
    `load_best_model_at_end`, see app/engine/evaluation/eval_scores.py. Every step is logged with its real loss: by
    default transformers shows a NaN as 0.0.
    """
    return {
        "learning_rate": knobs.learning_rate,
        "num_train_epochs": knobs.epochs,
        "max_steps": knobs.steps or -1,
        "per_device_train_batch_size": knobs.batch_size,
        "per_device_eval_batch_size": knobs.batch_size,
        "gradient_accumulation_steps": knobs.accumulation,
        "optim": OPTIMIZERS[knobs.optimizer][0],
        "optim_args": OPTIMIZERS[knobs.optimizer][1],
        "lr_scheduler_type": lr_scheduler_type(knobs),
        "warmup_steps": knobs.warmup if knobs.warmup_steps is None else knobs.warmup_steps,  # below 1: a share
        "weight_decay": knobs.weight_decay,
        "adam_beta1": knobs.adam_beta1,
        "adam_beta2": knobs.adam_beta2,
        "adam_epsilon": knobs.adam_epsilon,
        "max_grad_norm": knobs.max_grad_norm,
        "dataloader_num_workers": knobs.dataloader_workers,
        "seed": seed,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "save_strategy": "no",
        "eval_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
