"""The model learns the language of plain text, from where it is or from nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engine.contracts import Method, Trainer
from app.engine.datasets.eval_tables import eval_tables
from app.engine.trainers.compilation import CompileKnobs
from app.engine.trainers.device_settings import OffloadingKnobs
from app.engine.trainers.training_args import TrainingKnobs, default_learning_rate
from app.setup.knob import knob
from app.setup.step_memory import Logits, RowLengths, StepMemory

if TYPE_CHECKING:
    from app.engine.job import Job


class Knobs(CompileKnobs, OffloadingKnobs, TrainingKnobs):
    max_length: int = knob(
        512,
        "How much text the model sees at once. Longer takes more memory.",
        low=8,
        high=1_000_000,
        safe=(64, 4096),
        unit="tokens",
        everyday=True,
        affects="rows",
    )
    packing: bool = knob(True, "Joins texts into full rows, so that nothing is wasted on padding.", affects="rows")
    from_scratch: bool = knob(
        False, "Forgets everything first: keeps the model's shape and tokenizer, not its weights."
    )
    streaming: bool = knob(
        False, "Reads the text while training instead of before; needs a number of steps.", affects="timing"
    )


def defaults(adapter: str, parameters: int | None) -> dict[str, float]:
    """Settings that depend on adapter and model size."""
    return {"learning_rate": default_learning_rate(adapter, parameters)}


def step_memory(knobs: Knobs, lengths: RowLengths) -> StepMemory:
    """A batch of texts, of which every token is learned; with packing each row is full."""
    tokens = knobs.max_length if knobs.packing else min(lengths.text, knobs.max_length)
    is_padded = not knobs.packing and knobs.batch_size > 1
    logits = Logits(positions=tokens, kernel="tiled")
    return StepMemory(texts=knobs.batch_size, tokens=tokens, logits=(logits,), padded=is_padded)


def build(job: Job) -> Trainer:
    """TRL's SFTTrainer on raw text with a loss on every token; texts are concatenated and split into rows of equal length."""
    from trl import SFTConfig, SFTTrainer

    knobs: Knobs = job.knobs
    args = job.arguments(
        SFTConfig,
        max_length=knobs.max_length,
        completion_only_loss=False,
        packing=knobs.packing,
        packing_strategy="wrapped",
        eval_packing=False,
    )
    return job.trainer(SFTTrainer, args, eval_dataset=eval_tables(job))


METHOD = Method(
    title="Read plain text",
    term="Pretraining",
    sentence=__doc__,
    row_types=("text",),
    knobs=Knobs,
    build=build,
    step_memory=step_memory,
    defaults=defaults,
)
