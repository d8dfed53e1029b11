"""The model writes answers itself, and at every word learns what a bigger model would have said there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engine.contracts import Method, Trainer
from app.engine.generation.sampling import TemplateKnobs, add_stop_tokens, sampling_arguments
from app.engine.trainer_class import extended
from app.engine.trainers.distillation import agreement, settings, teacher
from app.engine.trainers.distillation.sample_logging import DistillationLoggingMixin
from app.setup.knob import knob
from app.setup.step_memory import Logits, RowLengths, StepMemory

if TYPE_CHECKING:
    from app.engine.job import Job


class Knobs(settings.TeacherKnobs, TemplateKnobs):
    batch_size: int = knob(
        32,
        "How many answers each correction looks at together. More is steadier and takes more memory.",
        low=1,
        high=4096,
        safe=(4, 128),
        unit="answers",
        everyday=True,
    )
    temperature: float = knob(
        1.0,
        "How adventurous the answers are. Higher shows the model more of the teacher, and more nonsense.",
        low=0.05,
        high=5.0,
        safe=(0.5, 1.2),
    )
    beta: float = knob(
        1.0,
        "Which way the copy may err: 0 covers all that the teacher might say, 1 keeps to what the teacher finds likeliest.",
        low=0.0,
        high=1.0,
        everyday=True,
    )
    samples_every: int = knob(10, "Shows some of the answers every so many steps.", low=1, high=10_000, unit="steps")


# The outermost first: `super()` in each is the one below it, and in the last TRL's trainer.
DISTILLATION_MIXINS = (
    DistillationLoggingMixin,  # shows a few of the student's answers as events of the run
    teacher.TeacherMixin,  # keeps the teacher's tokenizer, with which its answers are compared
)


def step_memory(knobs: Knobs, lengths: RowLengths) -> StepMemory:
    """A batch of answers, compared with the teacher tile by tile; those of all accumulated batches are written at once."""
    tokens = lengths.prompt + knobs.max_completion_length
    return StepMemory(
        texts=knobs.batch_size,
        tokens=tokens,
        logits=(Logits(positions=knobs.max_completion_length, kernel="divergence"),),
        generated_texts=knobs.batch_size * knobs.accumulation,
        generated_tokens=tokens,
    )


def build(job: Job) -> Trainer:
    """TRL's DistillationTrainer: the loss compares both full distributions, token by token."""
    from trl import DistillationConfig, DistillationTrainer

    teacher_model, teacher_tokenizer = teacher.load_teacher_with_same_vocabulary(job)
    knobs: Knobs = job.knobs
    add_stop_tokens(job.model, job.tokenizer, knobs.stop)
    args = job.arguments(
        DistillationConfig,
        beta=knobs.beta,
        max_completion_length=knobs.max_completion_length,
        chat_template_kwargs=job.template_arguments,
        **sampling_arguments(knobs),
    )
    trainer_class = extended(DistillationTrainer, DISTILLATION_MIXINS, job)
    return job.trainer(trainer_class, args, teacher_model=teacher_model, tokenizer_of_teacher=teacher_tokenizer)


METHOD = Method(
    title="Copy a bigger model",
    term="On-policy distillation",
    sentence=__doc__,
    family="copy",
    row_types=("prompt",),
    knobs=Knobs,
    build=build,
    step_memory=step_memory,
    defaults=settings.defaults,
    prepares_rows_with_teacher=True,
    generation_note="It writes the answers itself, and the teacher says of each word what it would have said there.",
    eval_metrics=agreement.EVAL_METRICS,
    measure=agreement.teacher_agreement,
)
