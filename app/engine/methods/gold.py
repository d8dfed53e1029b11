"""The model learns from a bigger model that cuts text into other tokens: texts are aligned, and likelihoods compared where both cut."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import model_validator

from app.core.problems import Problem
from app.engine.contracts import Method, Trainer
from app.engine.datasets.eval_tables import eval_tables
from app.engine.datasets.load import build_table
from app.engine.trainer_class import extended
from app.engine.trainers.distillation import agreement, cross_tokenizer, settings, teacher
from app.engine.trainers.distillation.conversations import eval_conversations_table, tokenize_conversations
from app.setup.knob import knob
from app.setup.step_memory import Logits, RowLengths, StepMemory

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl.experimental.gold import GOLDConfig

    from app.engine.job import Job


class Knobs(settings.ExampleKnobs):
    teacher_reads: Literal["own", "same"] = knob(
        "own",
        "How the teacher is asked.",
        choices={
            "own": "In its own chat format: at its best.",
            "same": "With the very text that this model reads, marks of its chat format and all.",
        },
        affects="rows",
    )
    compare: Literal["both", "shared", "order"] = knob(
        "both",
        "What is compared where both models cut the text.",
        choices={
            "both": "Tokens that both have by name, the others by how likely each next one is; weighed by how many are shared.",
            "shared": "Only tokens that both have.",
            "order": "Only how likely the likeliest, the second and so on are, whatever they are (ULD).",
        },
        affects="timing",
    )
    examples_weight: float = knob(
        0.5,
        "How much the model also imitates the given answers themselves: it says which of two alike tokens is meant.",
        low=0.0,
        high=10.0,
        safe=(0.0, 1.0),
        library_name="uld_crossentropy_weight",
    )
    own_share: float = knob(
        0.0,
        "In how many of the batches the model writes the answers itself instead of reading those given. Where the tokens differ much, that can ruin it.",
        low=0.0,
        high=1.0,
        safe=(0.0, 0.5),
        unit="of the batches",
    )
    top_p: float = knob(
        0.95,
        "Leaves out the least likely words beyond this share of probability.",
        low=0.01,
        high=1.0,
        affects="timing",
    )

    @model_validator(mode="after")
    def check_settings_fit(self) -> Knobs:
        if self.own_share and self.examples_weight:
            raise ValueError(
                "with an examples_weight it would imitate the answers it writes itself too; set that or own_share to 0"
            )
        if self.max_completion_length >= self.max_length:
            raise ValueError(
                f"an answer of {self.max_completion_length} tokens (max_completion_length) leaves no room for a question within "
                f"the {self.max_length} of max_length"
            )
        return self


# The outermost first: `super()` in each is the one below it, and in the last TRL's trainer.
GOLD_MIXINS = (
    cross_tokenizer.CrossTokenizerMixin,  # the teacher reads prompts in its own chat template
    cross_tokenizer.MicroBatchMeanMixin,  # declares that the loss is a mean over each micro-batch
)
SHARED_TEXT_GOLD_MIXINS = (
    teacher.TeacherMixin,  # keeps the teacher's tokenizer, with which its answers are compared
    cross_tokenizer.MicroBatchMeanMixin,  # as above
)


def step_memory(knobs: Knobs, lengths: RowLengths) -> StepMemory:
    """A batch of texts, with the logits of all their tokens by both models, and the probabilities of the answers sorted and
    aligned, those of the teacher for one text after the other; the model may write some of the batches."""
    learned = min(lengths.learned, lengths.text, knobs.max_length)
    beside = (
        Logits(positions=learned, copies=5.0),  # kept for the backward pass
        Logits(positions=learned, copies=3.0, texts=1),
        Logits(positions=learned, copies=3.0, texts=1, of_teacher=True),
    )
    return settings.example_memory(knobs, lengths, copies=3.0 if knobs.examples_weight else 1.0, beside=beside)


def build(job: Job) -> Trainer:
    """TRL's GOLDTrainer with its cross-tokenizer loss; probabilities of merged tokens follow the chain rule."""
    from trl.experimental.gold import GOLDConfig, GOLDTrainer

    teacher_model, teacher_tokenizer = teacher.load_teacher(job)
    _require_byte_level_tokenizers(job, teacher_tokenizer)
    knobs: Knobs = job.knobs
    uses_teacher_template = knobs.teacher_reads == "own"
    if uses_teacher_template:
        cross_tokenizer.require_chat_template(job, teacher_tokenizer)
    mixins = GOLD_MIXINS if uses_teacher_template else SHARED_TEXT_GOLD_MIXINS
    train_rows = [{"messages": row["messages"]} for row in tokenize_conversations(job)]
    return job.trainer(
        extended(GOLDTrainer, mixins, job),
        _gold_config(job, GOLDConfig, teacher_tokenizer),
        train_dataset=build_table(train_rows),
        eval_dataset=eval_tables(job, partial(eval_conversations_table, job, columns=("messages",))),
        processing_class=job.tokenizer,
        teacher_model=teacher_model,
        tokenizer_of_teacher=teacher_tokenizer,
    )


def _gold_config(job: Job, config: type[GOLDConfig], teacher_tokenizer: PreTrainedTokenizerBase) -> GOLDConfig:
    """TRL's GOLDConfig from the knobs."""
    knobs: Knobs = job.knobs
    uses_teacher_template = knobs.teacher_reads == "own"
    return job.arguments(
        config,
        lmbda=knobs.own_share,
        beta=knobs.beta,
        temperature=knobs.temperature,
        top_p=knobs.top_p,
        max_completion_length=knobs.max_completion_length,
        max_length=knobs.max_length,
        disable_dropout=False,
        use_uld_loss=True,
        uld_token_merge_strategy="bayesian",
        uld_use_hybrid_loss=knobs.compare != "order",
        uld_hybrid_matched_weight=1.0 if knobs.compare == "shared" else None,
        uld_hybrid_unmatched_weight=0.0 if knobs.compare == "shared" else None,
        uld_crossentropy_weight=knobs.examples_weight,
        uld_skip_student_eos=not uses_teacher_template,
        uld_skip_teacher_eos=not uses_teacher_template,
        teacher_tokenizer_name_or_path=teacher_tokenizer.name_or_path,
    )


def _require_byte_level_tokenizers(job: Job, teacher_tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises Problem where a tokenizer is not byte-level: texts are aligned byte by byte."""
    from trl.experimental.utils import is_byte_level_tokenizer

    tokenizers = {"This model": job.tokenizer, f"The teacher “{job.knobs.teacher}”": teacher_tokenizer}
    for name, tokenizer in tokenizers.items():
        if not (getattr(tokenizer, "backend_tokenizer", None) and is_byte_level_tokenizer(tokenizer.backend_tokenizer)):
            raise Problem(
                f"{name} does not cut text into bytes, so the two cannot be aligned.",
                advice="Choose another teacher, or let the model imitate the teacher's answers.",
            )


METHOD = Method(
    title="Copy a model that reads otherwise",
    term="GOLD",
    sentence=__doc__,
    family="copy",
    experimental=True,
    row_types=("messages", "prompt_completion"),
    knobs=Knobs,
    build=build,
    step_memory=step_memory,
    defaults=settings.defaults,
    prepares_rows_with_teacher=True,
    curves={
        "on_policy_loss": ("copy/own_answers", "loss on its own answers"),
        "off_policy_loss": ("copy/given_answers", "loss on the answers given"),
        "matched_loss": ("copy/shared_tokens", "on tokens that both have"),
        "unmatched_loss": ("copy/other_tokens", "on tokens that only one has"),
    },
    eval_metrics=agreement.EVAL_METRICS,
    measure=agreement.teacher_agreement,
    remark=settings.remark,
)
