"""The model learns what a bigger model would say at every word of given answers, and of some that it writes itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.engine.knob import knob
from app.engine.tables.data import table
from app.engine.teachers import copying
from app.engine.teachers.dialogues import dialogues, held_out

if TYPE_CHECKING:
    from app.engine.job import Job

TITLE = "Copy a bigger model on examples"
FAMILY = "copy"
LAYOUTS = ("messages", "prompt_completion")
EXPERIMENTAL = True
MEASURES, defaults, measure, remark = copying.MEASURES, copying.defaults, copying.agreement, copying.remark


class Knobs(copying.ExampleKnobs):
    teacher_writes: bool = knob(
        False,
        "Where the model does not write the answer itself, the teacher writes one, and the given ones are not used.",
    )


def build(job: Job) -> Any:
    """TRL's GKDTrainer on rows that its own collator has cut into tokens beforehand."""
    from trl.experimental.gkd import GKDConfig, GKDTrainer

    model, words = copying.teacher_of_same_words(job)
    rows, aside = dialogues(job), held_out(job)
    knobs = job.knobs
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
    more = {"train_dataset": table(rows), "eval_dataset": table(aside) if aside else None}
    trainer = job.trainer(GKDTrainer, args, teacher_model=model, processing_class=job.tokenizer, **more)
    trainer.teacher_words = words
    return trainer
