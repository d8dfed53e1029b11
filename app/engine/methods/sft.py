"""The model imitates the answers it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import field_validator

from app.core.problems import Problem
from app.engine.contracts import Method, Trainer
from app.engine.datasets.eval_tables import eval_tables
from app.engine.generation.sampling import parse_template_arguments
from app.engine.trainer_class import extended
from app.engine.trainers.compilation import CompileKnobs
from app.engine.trainers.device_settings import OffloadingKnobs
from app.engine.trainers.sft import SFT_MIXINS, join_batches
from app.engine.trainers.training_args import TrainingKnobs, default_learning_rate
from app.setup.knob import knob
from app.setup.step_memory import Logits, RowLengths, StepMemory

if TYPE_CHECKING:
    from trl import SFTConfig

    from app.engine.job import Job
    from app.setup.spec import Spec

_ROLES = ("assistant", "user", "system", "tool")


class Knobs(CompileKnobs, OffloadingKnobs, TrainingKnobs):
    epochs: float = knob(
        3.0,
        "How often every example is seen. More learns it better, until the model recites instead of understanding.",
        low=0.01,
        high=1000,
        safe=(1, 10),
        unit="passes",
        everyday=True,
    )
    max_length: int = knob(
        1024,
        "Longer examples are cut off here. Longer takes more memory.",
        low=8,
        high=1_000_000,
        safe=(64, 4096),
        unit="tokens",
        everyday=True,
        affects="rows",
    )
    learn_from: Literal["auto", "completion", "assistant", "everything", "roles", "marks", "template"] = knob(
        "auto",
        "Which tokens are learned.",
        everyday=True,
        choices={
            "auto": "The answers: every assistant turn of a conversation, or the completion; or what the examples themselves mark.",
            "completion": "Only the completion after the prompt.",
            "assistant": "Only what the assistant says.",
            "everything": "All tokens, questions too.",
            "roles": "What the speakers named below say.",
            "marks": "What the examples themselves mark with train or weight, turn by turn or part by part; where they say "
            "nothing, the speakers named below.",
            "template": "What follows a phrase that answers begin with, set below: for models without a chat format.",
        },
        affects="rows",
    )
    roles: list[str] = knob(
        ["assistant"],
        "Whose turns are learned, with roles or marks: assistant, user, system, tool. One on each line.",
        affects="rows",
    )
    last_turn_only: bool = knob(
        False, "Learns only the last answer of a conversation; the earlier ones are only read.", affects="rows"
    )
    end_tokens: Literal["all", "last", "none"] = knob(
        "all",
        "Whether the mark that ends an answer is learned with it.",
        choices={
            "all": "After every learned answer, so that the model knows when to stop.",
            "last": "Only after the last learned answer of a conversation.",
            "none": "Never: the model may not know when to stop.",
        },
        affects="rows",
    )
    response_template: str = knob(
        "",
        "The phrase that answers begin with, such as ### Answer:, or its tokens as numbers, such as [835, 21017]. Used by template.",
        affects="rows",
    )
    instruction_template: str = knob(
        "",
        "The phrase that questions begin with, where several follow each other. Without it only the last answer is learned. Used by template.",
        affects="rows",
    )
    split_thoughts: bool = knob(
        False,
        "Hands thoughts between <think> and </think> to the chat format apart from the answer, as Qwen3’s and others expect.",
        affects="rows",
    )
    loss: Literal["nll", "dft"] = knob(
        "nll",
        "How strongly each token pulls.",
        choices={
            "nll": "The less likely the model finds it, the more: the usual way.",
            "dft": "The likelier it is already, the more (DFT): changes less where the examples surprise the model, and often "
            "forgets less.",
        },
        library_name="loss_type",
        affects="timing",
    )
    chat_format: bool = knob(
        True, "Puts plain prompts and completions into the model's chat format, when it has one.", affects="rows"
    )
    template_arguments: list[str] = knob(
        [],
        "What the model's chat format is told, such as enable_thinking=false. One on each line.",
        library_name="chat_template_kwargs",
        affects="rows",
    )
    packing: bool = knob(
        False, "Fills each batch row with several short examples: quicker on a graphics card.", affects="rows"
    )
    packing_strategy: Literal["bfd", "bfd_split", "wrapped"] = knob(
        "bfd",
        "How examples are packed.",
        choices={
            "bfd": "Best fit; what is too long is cut.",
            "bfd_split": "Best fit; what is too long is split.",
            "wrapped": "One after another, chopped evenly; neighbours see each other.",
        },
        affects="rows",
    )
    padding_free: bool = knob(
        False,
        "Puts the examples of a batch one after another into one row without filler; they do not see each other, and what is "
        "learned is the same. Quicker with flash attention and examples of different length, slower with other attention.",
        affects="timing",
        unused_with={"knobs.packing": [True]},
    )
    group_by_length: bool = knob(
        True, "Batches examples of similar length together: less padding, quicker.", affects="order"
    )
    streaming: bool = knob(
        False,
        "Reads the examples while training instead of before, however many there are; needs a number of steps.",
        affects="timing",
    )
    neftune: float = knob(
        0.0,
        "Noise on the input (NEFTune), against reciting; 5 is usual, 0 is none.",
        low=0.0,
        high=100.0,
        library_name="neftune_noise_alpha",
    )

    label_smoothing: float = knob(
        0.0,
        "Takes this share of the weight off each learned token and spreads it over all others, so that the model does not "
        "become too sure: for examples with mistakes, or classes that are alike.",
        low=0.0,
        high=0.9,
        safe=(0.0, 0.2),
        library_name="label_smoothing_factor",
    )

    @field_validator("roles")
    @classmethod
    def check_roles(cls, roles: list[str]) -> list[str]:
        if unknown := next((role for role in roles if role not in _ROLES), None):
            raise ValueError(f"there is no speaker “{unknown}”; choose among {', '.join(_ROLES)}")
        return roles

    @field_validator("template_arguments")
    @classmethod
    def check_template_arguments(cls, lines: list[str]) -> list[str]:
        parse_template_arguments(lines)
        return lines


def defaults(adapter: str, parameters: int | None) -> dict[str, float]:
    """Settings that depend on adapter and model size."""
    return {"learning_rate": default_learning_rate(adapter, parameters)}


def check(spec: Spec) -> None:
    """Raises Problem where `learn_from` is template without a response template, and for smoothing under a loss without it."""
    if spec.knobs["learn_from"] == "template" and not spec.knobs["response_template"]:
        raise Problem(
            "It is not said what answers begin with.",
            advice="Write the phrase that stands before every answer, such as ### Answer:.",
        )
    if spec.knobs["loss"] == "dft" and spec.knobs["label_smoothing"]:
        raise Problem(
            "Label smoothing and the loss dft contradict each other: one makes the model less sure, the other more.",
            advice="Choose the loss nll, or set label smoothing to 0.",
        )


def step_memory(knobs: Knobs, lengths: RowLengths) -> StepMemory:
    """A batch of texts. With packing all rows are full, and TRL joins those of `bfd` to a single one under a mask."""
    if not knobs.packing:
        tokens, learned = min(lengths.text, knobs.max_length), min(lengths.learned, knobs.max_length)
        if knobs.padding_free:  # one row, of which nothing is shorter than the longest at worst
            tokens, learned, batch_size = tokens * knobs.batch_size, learned * knobs.batch_size, knobs.batch_size
            return StepMemory(texts=1, tokens=tokens, logits=(_logits(knobs, learned, tokens),), padded=batch_size > 1)
        logits = _logits(knobs, learned, tokens)
        return StepMemory(texts=knobs.batch_size, tokens=tokens, logits=(logits,), padded=knobs.batch_size > 1)
    is_joined = knobs.packing_strategy != "wrapped"
    texts, tokens = (1, knobs.batch_size * knobs.max_length) if is_joined else (knobs.batch_size, knobs.max_length)
    learned_share = min(1.0, lengths.learned / max(1, min(lengths.text, knobs.max_length)))
    logits = _logits(knobs, int(tokens * learned_share), tokens)
    return StepMemory(texts=texts, tokens=tokens, logits=(logits,), padded=is_joined)


def _logits(knobs: Knobs, learned: int, tokens: int) -> Logits:
    """With label smoothing all at once, at each position that any row of the batch learns: at worst all of them. Alive are
    the logits, those of the learned positions, and their logarithms; then these with two gradients."""
    if knobs.label_smoothing:
        return Logits(positions=tokens, copies=3.0)
    return Logits(positions=learned, kernel="learned")


def build(job: Job) -> Trainer:
    """TRL's SFTTrainer; on devices without Triton its head computes logits of the trained positions only."""
    from trl import SFTConfig, SFTTrainer

    from app.engine.masking import masked_dataset, select_mask
    from app.engine.model.label_smoothing import smooth_labels
    from app.engine.model.trained_positions_head import score_trained_positions_only

    label_policy = select_mask.resolve_learn_from(job)
    mask = select_mask.build_mask(job, label_policy)
    is_marked = select_mask.has_label_marks(job.data.train)
    trainer_class = masked_dataset.with_masking(
        extended(SFTTrainer, SFT_MIXINS, job), job.trainers_tokenizer, mask, is_marked
    )
    args = config_args(job, SFTConfig, "" if mask else label_policy)
    trainer = job.trainer(trainer_class, args, eval_dataset=eval_tables(job))
    if chat_format := getattr(mask, "chat_template", None):
        trainer.chat_template = job.training_template = chat_format.template
    if job.knobs.padding_free and not job.knobs.packing:
        join_batches(trainer)
    if not job.preview:
        score_trained_positions_only(trainer)
        if job.knobs.label_smoothing:
            smooth_labels(trainer, job.knobs.label_smoothing)
    return trainer


def config_args(job: Job, config: type[SFTConfig], label_policy: str) -> SFTConfig:
    """TRL's config from the knobs. label_policy: for TRL's own loss masks; empty where the mask is made here."""
    knobs: Knobs = job.knobs
    has_images = job.processor is not None
    if has_images and (knobs.packing or knobs.padding_free):
        setting = "packing" if knobs.packing else "padding-free"
        raise Problem("Examples with pictures cannot be joined into rows.", advice=f"Switch {setting} off.")
    groups_by_length = (
        knobs.group_by_length and not knobs.packing and not has_images
    )  # how long a row with pictures is shows on the way
    return job.arguments(
        config,
        max_length=knobs.max_length,
        loss_type=knobs.loss,
        completion_only_loss=label_policy == "completion",
        assistant_only_loss=label_policy == "assistant",
        packing=knobs.packing,
        packing_strategy=knobs.packing_strategy,
        eval_packing=False,
        train_sampling_strategy="group_by_length" if groups_by_length else "random",
        neftune_noise_alpha=knobs.neftune or None,
    )


METHOD = Method(
    title="Imitate examples",
    term="SFT",
    sentence=__doc__,
    row_types=("messages", "prompt_completion", "text", "segments", "tokens"),
    knobs=Knobs,
    build=build,
    step_memory=step_memory,
    defaults=defaults,
    check=check,
)
