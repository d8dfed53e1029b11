"""Settings of the methods that copy a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.engine.generation.sampling import TemplateArgumentKnobs
from app.engine.trainers.training_args import TrainingKnobs, default_learning_rate
from app.setup.knob import knob
from app.setup.step_memory import Logits, RowLengths, StepMemory

if TYPE_CHECKING:
    from app.engine.job import Job


class TeacherKnobs(TrainingKnobs):
    """Settings of all methods that have a teacher."""

    teacher: str = knob(
        "pocket-teacher",
        "The model that is copied: one on the Hub, a run of yours, or the practice model's own teacher.",
        picks="model",
        everyday=True,
        library_name="teacher_model_name_or_path",
        affects="rows",
    )
    teacher_revision: str = knob(
        "",
        "Which version of a teacher on the Hub: a branch, a tag or a commit. Empty takes the newest.",
        library_name="teacher_model_revision",
        affects="rows",
    )
    beta: float = knob(
        0.5,
        "Which way the copy may err: 0 covers all that the teacher might say, 1 keeps to what the teacher finds likeliest.",
        low=0.0,
        high=1.0,
    )


class ExampleKnobs(TeacherKnobs, TemplateArgumentKnobs):
    """Settings of the methods whose teacher scores dataset answers and answers that the student generates."""

    max_length: int = knob(
        1024,
        "Longer conversations are left out. Longer takes more memory.",
        low=8,
        high=1_000_000,
        safe=(128, 4096),
        unit="tokens",
        affects="rows",
    )
    own_share: float = knob(
        0.5,
        "In how many of the batches the model writes the answers itself instead of reading those given. Writing is slower, and corrects what it really says.",
        low=0.0,
        high=1.0,
        unit="of the batches",
        everyday=True,
        library_name="lmbda",
        affects="timing",
    )
    max_completion_length: int = knob(
        128,
        "Answers that the model writes itself are cut off here. Shorter is much quicker.",
        low=1,
        high=1_000_000,
        safe=(4, 1024),
        unit="tokens",
        everyday=True,
        affects="rows",
    )
    temperature: float = knob(
        0.9,
        "How adventurous the answers are that the model writes itself.",
        low=0.05,
        high=5.0,
        safe=(0.5, 1.2),
        affects="timing",
    )


def remark(job: Job) -> str:
    """A note for the preview on what the examples do not show; empty where there is none."""
    share = f"{job.knobs.own_share * 100:g} %"
    text = f"In {share} of the batches the model writes the answers itself instead of reading these."
    return text if job.knobs.own_share else ""


def defaults(adapter: str, parameters: int | None) -> dict[str, float]:
    """Default settings.

    The learning rate is that of SFT: the teacher's distribution is as strong a signal as examples.
    """
    return {"learning_rate": default_learning_rate(adapter, parameters)}


def example_memory(
    knobs: ExampleKnobs, lengths: RowLengths, copies: float, beside: Sequence[Logits] = ()
) -> StepMemory:
    """A step on whole texts, of whose tokens both models give all logits. copies: of the model's own. beside: what is
    computed from them at the learned positions."""
    written = min(lengths.prompt + knobs.max_completion_length, knobs.max_length) if knobs.own_share else 0
    tokens = written if knobs.own_share == 1 else max(written, min(lengths.text, knobs.max_length))
    return StepMemory(
        texts=knobs.batch_size,
        tokens=tokens,
        logits=(Logits(positions=tokens, copies=copies), Logits(positions=tokens, of_teacher=True), *beside),
        generated_texts=knobs.batch_size if knobs.own_share else 0,
        generated_tokens=written,
    )
