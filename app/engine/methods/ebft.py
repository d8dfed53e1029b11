"""The model learns to write answers that mean the same as the examples, without copying them word by word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import field_validator, model_validator

from app.core.problems import Problem
from app.engine.contracts import Method, Metrics, Trainer
from app.engine.generation.sampling import TemplateKnobs
from app.engine.trainers.group_rl import settings
from app.planning.memory.device_memory import CARD_ATTENTION
from app.setup.knob import knob
from app.setup.step_memory import Logits, RowLengths, StepMemory

if TYPE_CHECKING:
    from app.engine.job import Job


class Knobs(TemplateKnobs):
    batch_size: int = knob(
        8,
        "How many examples each correction looks at. Every one of them is attempted several times.",
        low=1,
        high=4096,
        safe=(4, 64),
        unit="examples",
        everyday=True,
        library_name=None,
    )
    attempts: int = knob(
        4,
        "How many answers are tried for each example. They are compared with it and with one another.",
        low=1,
        high=256,
        safe=(4, 8),
        unit="answers",
        everyday=True,
        library_name="num_generations",
        affects="order",
    )
    ce_weight: float = knob(
        0.0,
        "How much it also learns the examples' very words. 0 matches meaning alone, 0.03 balances, from 0.1 on words win.",
        low=0.0,
        high=10.0,
        safe=(0.0, 0.1),
        title="Weight of the words",
        everyday=True,
        affects="timing",
    )
    mode: Literal["auto", "structured", "strided"] = knob(
        "auto",
        "What is attempted.",
        choices={
            "auto": "Whole answers to questions; of plain text, short pieces.",
            "structured": "Whole answers to questions.",
            "strided": "Short pieces at many places of each text at once.",
        },
        affects="rows",
    )
    turns: Literal["first", "last", "all", "conversation"] = knob(
        "all",
        "Which answers of a conversation are learned from.",
        choices={
            "first": "The first.",
            "last": "The last, after all that came before it.",
            "all": "Each of them, after the true ones before it.",
            "conversation": "All of them in turn, each after the model's own earlier ones; compared as a whole.",
        },
        affects="rows",
    )
    chat_format: bool = knob(
        True, "Puts plain prompts and completions into the model's chat format, when it has one.", affects="rows"
    )
    temperature: float = knob(
        0.6,
        "How adventurous the attempts are. Too low and they are all alike, and nothing can be learned.",
        low=0.05,
        high=5.0,
        safe=(0.5, 1.2),
    )
    answer_length: float = knob(
        1.5,
        "Attempts may get so many times as long as the longest true answer beside them. 0: as long as allowed.",
        low=0.0,
        high=100.0,
        safe=(1.0, 3.0),
        unit="times",
        affects="timing",
    )
    alignment: float = knob(1.0, "How strongly attempts are drawn toward the example's meaning.", low=0.0, high=100.0)
    diversity: float = knob(
        1.0,
        "How strongly attempts at the same example are kept from all saying the same. Raise it when they do.",
        low=0.0,
        high=100.0,
    )
    whitening: bool = knob(
        False,
        "Evens out what attempts have in common before they are compared. Strongly recommended; its authors found nothing "
        "to matter more.",
        affects="timing",
    )
    layers: list[float] = knob(
        [0.25, 0.5, 0.75],
        "How deep in the model meaning is read: shares of its depth, each between 0 and 1.",
        affects="timing",
    )
    pooling: Literal["last_token", "mean_pooling", "completion_mean", "concat"] = knob(
        "last_token",
        "Where in a text its meaning is read.",
        choices={
            "last_token": "At its end, which sums it up.",
            "mean_pooling": "Everywhere, question and answer alike.",
            "completion_mean": "Everywhere in the answer.",
            "concat": "After a quarter, a half and three quarters of it.",
        },
        affects="timing",
    )
    rl_weight: float = knob(
        1.0,
        "How much the attempts count beside the examples' very words.",
        low=0.0,
        high=100.0,
        title="Weight of the attempts",
        affects="timing",
    )
    loss: Literal["grpo", "dapo", "dr_grpo", "bnpo"] = knob(
        "grpo",
        "How the tokens of whole answers are averaged.",
        choices={
            "grpo": "Over each answer first.",
            "dapo": "Over all tokens of the batch.",
            "dr_grpo": "Over a fixed length: no favour for long or short.",
            "bnpo": "Over the tokens of this part of the batch.",
        },
        library_name="loss_type",
    )
    clip: float = knob(
        0.2,
        "How far one correction may go from the model that wrote the answers.",
        low=0.01,
        high=1.0,
        library_name="epsilon",
    )
    estimator: Literal["rloo", "group_norm", "reinforce"] = knob(
        "rloo",
        "What a short piece is compared with.",
        choices={
            "rloo": "The mean of the other attempts at its place.",
            "group_norm": "The mean and spread of all attempts at its place.",
            "reinforce": "Nothing: its reward counts as it is. So it is when there is one attempt.",
        },
    )
    stride: int = knob(
        8,
        "So many tokens lie between the places where short pieces are tried.",
        low=1,
        high=100_000,
        unit="tokens",
        affects="rows",
    )
    context: int = knob(
        8,
        "So many tokens of a text are read before the first piece.",
        low=1,
        high=100_000,
        unit="tokens",
        affects="rows",
    )
    context_only: bool = knob(
        False,
        "Each short piece sees only as many tokens before it as the context has, instead of all that stand there.",
        affects="rows",
    )
    generate: int = knob(
        8, "How long a short piece is.", low=1, high=100_000, safe=(4, 64), unit="tokens", affects="rows"
    )
    skip: int = knob(
        0,
        "So many tokens of an answer come before its first short piece.",
        low=0,
        high=100_000,
        unit="tokens",
        affects="rows",
    )
    max_length: int = knob(
        512,
        "Texts in which short pieces are tried are cut off here. Longer takes more memory.",
        low=8,
        high=1_000_000,
        safe=(64, 4096),
        unit="tokens",
        affects="rows",
    )

    @field_validator("layers")
    @classmethod
    def check_layers_are_fractions(cls, layers: list[float]) -> list[float]:
        if not layers or not all(0 <= layer <= 1 for layer in layers):
            raise ValueError("it should list shares between 0 and 1, such as 0.25, 0.5, 0.75")
        return layers

    @model_validator(mode="after")
    def check_it_can_learn(self) -> Knobs:
        if not self.rl_weight and not self.ce_weight:
            raise ValueError("rl_weight and ce_weight are both 0, so nothing would be learned")
        if self.attention in CARD_ATTENTION:  # they take no mask of our own, which the attempts at a text need
            raise ValueError(f"attention {self.attention} cannot compute several attempts at a text at once: use auto")
        return self


def step_memory(knobs: Knobs, lengths: RowLengths) -> StepMemory:
    """All attempts at a batch of examples in one forward pass, and where the examples' words count too, these."""
    texts = knobs.batch_size * knobs.attempts
    if knobs.mode == "strided" or not lengths.prompt:  # plain text has no prompt
        length = min(lengths.text, knobs.max_length)
        blocks = max(1, (length - knobs.context - knobs.generate) // knobs.stride + 1)
        tokens = length + blocks * knobs.generate
        logits = Logits(positions=blocks * knobs.generate, copies=4.0)
    else:
        tokens = lengths.prompt + knobs.max_completion_length
        logits = Logits(positions=tokens, kernel="tiled")
    return StepMemory(
        texts=texts, tokens=tokens, logits=(logits,), generated_texts=texts, generated_tokens=tokens, keeps_start=True
    )


def build(job: Job) -> Trainer:
    """The trainer that fits the rows: TRL's GRPOTrainer with a feature reward for whole completions, an own one for text blocks."""
    from app.engine.trainers.ebft import build

    return build.build_strided(job) if _uses_blocks(job) else build.build_structured(job)


def _uses_blocks(job: Job) -> bool:
    """Whether blocks of texts are generated instead of whole completions. Raises Problem where there are no prompts."""
    knobs: Knobs = job.knobs
    is_plain_text = "text" in next(iter(job.data.train))
    if is_plain_text and knobs.mode == "structured":
        raise Problem(
            "Plain text holds no questions that whole answers could be written to.",
            advice="Try short pieces of it instead (strided), or bring prompts and answers.",
            reason="wrong_column",
        )
    return is_plain_text or knobs.mode == "strided"


def remark(job: Job) -> str:
    """A sentence for the preview about what its rows do not show."""
    knobs: Knobs = job.knobs
    imitation_clause = " and, a little, their words" if knobs.ce_weight else ", not their words"
    if _uses_blocks(job):
        return (
            f"The model writes {knobs.generate} tokens of its own at every {knobs.stride}th place of a text, and learns the "
            f"meaning of what the text says there{imitation_clause}."
        )
    return f"The model writes answers of its own to each question, and learns the meaning of those shown here{imitation_clause}."


def measure(job: Job, trainer: Trainer) -> Metrics:
    """{"alignment": similarity of greedy and true completions in the features of the initial model, "loss"}."""
    from app.engine.trainers.ebft import held_out_eval
    from app.engine.trainers.ebft.strided import StridedMixin
    from app.engine.trainers.ebft.structured import StructuredMixin

    knobs: Knobs = job.knobs
    if isinstance(trainer, StridedMixin):
        return held_out_eval.evaluate_blocks(trainer, job.data.holdout, knobs.turns, knobs.eval_answers)
    assert isinstance(trainer, StructuredMixin), "as `build` makes it"
    return held_out_eval.evaluate_completions(trainer, job.data.holdout, knobs.turns, knobs.eval_answers)


METHOD = Method(
    title="Match the meaning of examples",
    term="EBFT",
    sentence=__doc__,
    family="imitate",
    row_types=("messages", "prompt_completion", "text"),
    knobs=Knobs,
    build=build,
    step_memory=step_memory,
    defaults=settings.defaults,
    curves=settings.CURVES
    | {
        "ebft/alignment": ("ebft/alignment", "agreement with the examples"),
        "ebft/likeness": ("ebft/likeness", "likeness in meaning"),
        "ebft/diversity": ("ebft/diversity", "attempts that say the same"),
        "ebft/cfm": ("ebft/cfm", "distance between the attempts and the example"),
        "ce": ("train/ce", "loss on the examples’ own words"),
    },
    eval_metrics={"alignment": "likeness in meaning to the true answers"},
    measure=measure,
    remark=remark,
)
