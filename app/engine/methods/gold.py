"""The model learns from a bigger model that cuts text into other tokens: texts are aligned, and likelihoods compared where both cut."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from app.core.problems import Problem
from app.engine.datasets.load import table
from app.engine.trainers.distillation import cross_tokenizer, distillation
from app.engine.trainers.distillation.conversations import dialogues, held_out
from app.setup.knob import knob

if TYPE_CHECKING:
    from app.engine.job import Job

TITLE = "Copy a model that reads otherwise"
FAMILY = "copy"
LAYOUTS = ("messages", "prompt_completion")
EXPERIMENTAL = True
CURVES = {
    "on_policy_loss": ("copy/own_answers", "loss on its own answers"),
    "off_policy_loss": ("copy/given_answers", "loss on the answers given"),
    "matched_loss": ("copy/shared_tokens", "on tokens that both have"),
    "unmatched_loss": ("copy/other_tokens", "on tokens that only one has"),
}
MEASURES, defaults, measure, remark = (
    distillation.MEASURES,
    distillation.defaults,
    distillation.agreement,
    distillation.remark,
)


class Knobs(distillation.ExampleKnobs):
    teacher_reads: Literal["own", "same"] = knob(
        "own", "How the teacher is asked.",
        choices={"own": "In its own chat format: at its best.",
                 "same": "With the very text that this model reads, marks of its chat format and all."})  # fmt: skip
    compare: Literal["both", "shared", "order"] = knob(
        "both", "What is compared where both models cut the text.",
        choices={"both": "Tokens that both have by name, the others by how likely each next one is; weighed by how many are shared.",
                 "shared": "Only tokens that both have.",
                 "order": "Only how likely the likeliest, the second and so on are, whatever they are (ULD)."})  # fmt: skip
    examples_weight: float = knob(
        0.5, "How much the model also imitates the given answers themselves: it says which of two alike tokens is meant.", low=0.0,
        high=10.0, safe=(0.0, 1.0))  # fmt: skip
    own_share: float = knob(
        0.0, "In how many of the batches the model writes the answers itself instead of reading those given. Where the tokens differ much, that can ruin it.",
        low=0.0, high=1.0, safe=(0.0, 0.5), unit="of the batches")  # fmt: skip
    top_p: float = knob(0.95, "Leaves out the least likely words beyond this share of probability.", low=0.01, high=1.0)

    @model_validator(mode="after")
    def fits_together(self) -> Knobs:
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


def build(job: Job) -> Any:
    """TRL's GOLDTrainer with its loss across tokenizers, merged by the chain rule: position by position what stands there."""
    from trl.experimental.gold import GOLDConfig, GOLDTrainer

    model, words = distillation.teacher(job)
    require_bytes(job, words)
    knobs, own = job.knobs, job.knobs.teacher_reads == "own"
    if own:
        cross_tokenizer.require_format(job, words)
    rows, aside = ([{"messages": row["messages"]} for row in told] for told in (dialogues(job), held_out(job)))
    args = job.arguments(
        GOLDConfig,
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
        uld_skip_student_eos=not own,
        uld_skip_teacher_eos=not own,
        teacher_tokenizer_name_or_path=words.name_or_path,
    )
    more = {"train_dataset": table(rows), "eval_dataset": table(aside) if aside else None}
    # its loss is a mean over each part of a batch, which it does not say
    kind = type("GOLDTrainer", (GOLDTrainer,), {"loss_is_scaled_for_ga": False})
    kind = cross_tokenizer.translating(kind, words) if own else kind
    trainer = job.trainer(kind, args, teacher_model=model, processing_class=job.tokenizer, **more)
    trainer.teacher_words = words
    return trainer


def require_bytes(job: Job, words: Any) -> None:
    """Texts are aligned byte by byte, which needs tokenizers that are made so. Raises Problem."""
    from trl.experimental.utils import is_byte_level_tokenizer

    named = {"This model": job.tokenizer, f"The teacher “{job.knobs.teacher}”": words}
    for name, one in named.items():
        if not (getattr(one, "backend_tokenizer", None) and is_byte_level_tokenizer(one.backend_tokenizer)):
            raise Problem(f"{name} does not cut text into bytes, so the two cannot be aligned.",
                          advice="Choose another teacher, or let the model imitate the teacher's answers.")  # fmt: skip
