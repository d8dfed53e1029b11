"""The model learns what a bigger model would say at every word of given answers, and of some that it writes itself."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from app.engine.contracts import Method, Trainer
from app.engine.datasets.eval_tables import eval_tables
from app.engine.datasets.load import build_table
from app.engine.trainer_class import extended
from app.engine.trainers.distillation import agreement, settings, teacher
from app.engine.trainers.distillation.conversations import eval_conversations_table, tokenize_conversations
from app.setup.knob import knob
from app.setup.step_memory import RowLengths, StepMemory

if TYPE_CHECKING:
    from app.engine.job import Job


class Knobs(settings.ExampleKnobs):
    max_completion_length: int = knob(
        128,
        "Answers that the model writes itself are cut off here. Shorter is much quicker.",
        low=1,
        high=1_000_000,
        safe=(4, 1024),
        unit="tokens",
        everyday=True,
        library_name="max_new_tokens",
    )
    teacher_writes: bool = knob(
        False,
        "Where the model does not write the answer itself, the teacher writes one, and the given ones are not used.",
        library_name="seq_kd",
        affects="timing",
    )


GKD_MIXINS = (
    teacher.TeacherMixin,  # keeps the teacher's tokenizer, with which its answers are compared
)


def step_memory(knobs: Knobs, lengths: RowLengths) -> StepMemory:
    """A batch of texts, with the logits of all their tokens by both models and, between the extremes of beta, what their
    mixture is computed with; the model writes some of the batches."""
    return settings.example_memory(knobs, lengths, copies=15.0 if 0 < knobs.beta < 1 else 8.0)


def build(job: Job) -> Trainer:
    """TRL's GKDTrainer on rows that its own collator has tokenized beforehand."""
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    teacher_model, teacher_tokenizer = teacher.load_teacher_with_same_vocabulary(job)
    train_rows = tokenize_conversations(job)
    knobs: Knobs = job.knobs
    args = job.arguments(
        GKDConfig,
        lmbda=knobs.own_share,
        beta=knobs.beta,
        temperature=knobs.temperature,
        max_new_tokens=knobs.max_completion_length,
        max_length=knobs.max_length,
        seq_kd=knobs.teacher_writes,
        disable_dropout=False,
    )
    return job.trainer(
        extended(GKDTrainer, GKD_MIXINS, job),
        args,
        train_dataset=build_table(train_rows),
        eval_dataset=eval_tables(job, partial(eval_conversations_table, job)),
        processing_class=job.tokenizer,
        teacher_model=teacher_model,
        tokenizer_of_teacher=teacher_tokenizer,
    )


METHOD = Method(
    title="Copy a bigger model on examples",
    term="GKD",
    sentence=__doc__,
    family="copy",
    experimental=True,
    row_types=("messages", "prompt_completion"),
    knobs=Knobs,
    build=build,
    step_memory=step_memory,
    defaults=settings.defaults,
    prepares_rows_with_teacher=True,
    eval_metrics=agreement.EVAL_METRICS,
    measure=agreement.teacher_agreement,
    remark=settings.remark,
)
