"""The model learns to answer without a hint as it answers with one, and so keeps what else it can do."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Literal

from pydantic import field_validator, model_validator

from app.core.problems import Problem
from app.engine.contracts import Method, Metrics, Trainer
from app.engine.generation.sampling import TemplateKnobs, add_stop_tokens, sampling_arguments
from app.engine.trainer_class import extended
from app.engine.trainers.distillation import agreement, settings
from app.engine.trainers.distillation.sample_logging import SelfDistillationLoggingMixin
from app.engine.trainers.distillation.teacher import TokenizedAnswers
from app.engine.trainers.mixin_bases import SDFTTrainerBase
from app.setup.knob import knob
from app.setup.step_memory import Logits, RowLengths, StepMemory

if TYPE_CHECKING:
    from app.engine.job import Job


_PLACEHOLDERS = ("{prompt}", "{privileged_context}")


class Knobs(TemplateKnobs):
    batch_size: int = knob(
        32,
        "How many answers each correction looks at together: questions times attempts.",
        low=1,
        high=4096,
        safe=(8, 128),
        unit="answers",
        everyday=True,
    )
    hint_form: str = knob(
        "{prompt}\n\n{privileged_context}",
        "How the question, {prompt}, and its hint, {privileged_context}, are put together for the teacher.",
        everyday=True,
        library_name="teacher_prompt_template",
        affects="rows",
    )
    teacher_is: Literal["start", "now"] = knob(
        "start",
        "Who reads the hint.",
        choices={
            "start": "The model as it was before this run: a steady aim.",
            "now": "The model as it has become: what it learns, it also teaches.",
        },
        library_name="teacher_model_kind",
        affects="timing",
    )
    attempts: int = knob(
        1,
        "How many answers it writes to each question.",
        low=1,
        high=256,
        safe=(1, 8),
        unit="answers",
        library_name="num_generations",
        affects="order",
    )
    temperature: float = knob(1.0, "How adventurous its answers are.", low=0.05, high=5.0, safe=(0.5, 1.2))
    beta: float = knob(
        0.5,
        "Which way it may err: 0 covers all that it might say with the hint, 1 keeps to what it finds likeliest then.",
        low=0.0,
        high=1.0,
        library_name="distillation_alpha",
    )
    likeliest: int = knob(
        100,
        "How many of the likeliest tokens are compared at each place. More is more exact, and takes more memory.",
        low=1,
        high=1_000_000,
        safe=(20, 1000),
        unit="tokens",
        library_name="distillation_topk",
        affects="timing",
    )
    samples_every: int = knob(10, "Shows some of the answers every so many steps.", low=1, high=10_000, unit="steps")

    @field_validator("hint_form")
    @classmethod
    def check_hint_form(cls, hint_form: str) -> str:
        rest = hint_form
        for placeholder in _PLACEHOLDERS:
            if hint_form.count(placeholder) != 1:
                raise ValueError(f"it should hold {placeholder} once")
            rest = rest.replace(placeholder, "")
        if "{" in rest or "}" in rest:
            raise ValueError("it may hold no other braces")
        return hint_form

    @model_validator(mode="after")
    def check_batch_divides_into_groups(self) -> Knobs:
        if self.batch_size * self.accumulation % self.attempts:
            raise ValueError(
                f"a batch of {self.batch_size * self.accumulation} answers cannot be split into groups of {self.attempts} attempts"
            )
        return self


class SelfTeachingMixin(SDFTTrainerBase):
    """The teacher is a copy of the model where all weights are trained; TRL would load the base model again."""

    job: Job

    def __init__(self, *args: Any, **kwargs: Any):
        self.teacher_answers: dict[
            str, TokenizedAnswers
        ] = {}  # to the prompts of each evaluated set, once they were needed
        super().__init__(*args, **kwargs)

    def _setup_teacher_model(self) -> None:
        if self.job.preview:
            self.teacher_model = self.model
        elif self.job.knobs.teacher_is == "start" and self.job.spec.adapter.kind == "none":
            self.teacher_model = copy.deepcopy(self.model).requires_grad_(False).eval()
        else:
            super()._setup_teacher_model()


# The outermost first: `super()` in each is the one below it, and in the last TRL's trainer.
SDFT_MIXINS = (
    SelfTeachingMixin,  # keeps who reads the hint where all weights are trained
    SelfDistillationLoggingMixin,  # shows a few of the model's answers as events of the run
)


def step_memory(knobs: Knobs, lengths: RowLengths) -> StepMemory:
    """A batch of answers, with their logits by the model and by the one who reads the hint."""
    tokens = lengths.prompt + knobs.max_completion_length
    return StepMemory(
        texts=knobs.batch_size,
        tokens=tokens,
        logits=(Logits(positions=knobs.max_completion_length, copies=5.0),),
        generated_texts=knobs.batch_size * knobs.accumulation,
        generated_tokens=tokens,
        keeps_start=knobs.teacher_is == "start",
    )


def build(job: Job) -> Trainer:
    """TRL's SDFTTrainer; the teacher is the model itself, with the hint in its prompt."""
    from trl.experimental.sdft import SDFTConfig, SDFTTrainer

    _require_reachable_start(job)
    knobs: Knobs = job.knobs
    add_stop_tokens(job.model, job.tokenizer, knobs.stop)
    args = job.arguments(
        SDFTConfig,
        teacher_model_kind="base" if knobs.teacher_is == "start" else "live",
        teacher_prompt_template=knobs.hint_form,
        num_generations=knobs.attempts,
        max_completion_length=knobs.max_completion_length,
        max_prompt_length=None,
        chat_template_kwargs=job.template_arguments,
        **sampling_arguments(knobs),
        distillation_alpha=knobs.beta,
        distillation_topk=min(knobs.likeliest, job.model.config.get_text_config().vocab_size),
        disable_dropout=False,
    )
    return job.trainer(extended(SDFTTrainer, SDFT_MIXINS, job), args)


def _require_reachable_start(job: Job) -> None:
    """Raises Problem where the initial model is not reachable: TRL gets it by disabling the adapter, also one that training continues."""
    if (
        job.knobs.teacher_is == "start"
        and job.spec.model.start_from
        and job.peft_config is None
        and job.spec.adapter.kind != "none"
    ):
        raise Problem(
            "Going on from an adapter, the one who reads the hint would be the model without it.",
            advice="Set teacher_is to now.",
        )


def measure(job: Job, trainer: Trainer) -> Metrics:
    """{"agreement": the share of tokens of completions with the hint that are the most likely ones without it}."""
    assert isinstance(trainer, SelfTeachingMixin), "as `build` makes it"
    if job.evaluated_set not in trainer.teacher_answers:
        trainer.teacher_answers[job.evaluated_set] = _completions_with_hints(job, trainer)
    return agreement.agreement(job, trainer, trainer.teacher_answers[job.evaluated_set])


def _completions_with_hints(job: Job, trainer: SelfTeachingMixin) -> TokenizedAnswers:
    from app.engine.evaluation.evaluate import eval_completion_length
    from app.engine.generation.generate import complete_in_one_batch, render_prompt

    rows = job.data.holdout[: job.knobs.eval_answers]
    prompts, hints = ([row[name] for row in rows] for name in ("prompt", "privileged_context"))
    hinted_prompts = [
        render_prompt(job.tokenizer, prompt, job.prompts_are_chat)
        for prompt in trainer.teacher_context_builder.select_generation_prompts(prompts, hints)
    ]
    with trainer._get_teacher_context_for_self_distillation():
        completions = (
            complete_in_one_batch(trainer.teacher_model, job.tokenizer, hinted_prompts, eval_completion_length(job))
            if hinted_prompts
            else []
        )
    return agreement.tokenize_answers(
        job, [render_prompt(job.tokenizer, prompt, job.prompts_are_chat) for prompt in prompts], completions
    )


METHOD = Method(
    title="Learn from its own answers to hints",
    term="SDFT",
    sentence=__doc__,
    family="copy",
    experimental=True,
    row_types=("hinted",),
    knobs=Knobs,
    build=build,
    step_memory=step_memory,
    defaults=settings.defaults,
    prepares_rows_with_teacher=True,
    generation_note="It writes the answers itself, and is told at each word what it would have said with the hint before it.",
    curves={
        "self_distillation/distillation_loss": ("copy/distance", "distance from what it says with the hint"),
        "sdft/distillation_loss": ("copy/distance", "distance from what it says with the hint"),
    },
    eval_metrics={"agreement": "the same next word as with the hint"},
    measure=measure,
)
