"""The model imitates the answers it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import field_validator

from app.core.problems import Problem
from app.engine.generation.sampling import parsed
from app.engine.trainers.training_args import TrainingKnobs, learning_rate
from app.setup.knob import knob

if TYPE_CHECKING:
    from app.engine.job import Job
    from app.setup.spec import Spec

TITLE = "Imitate examples"
LAYOUTS = ("messages", "prompt_completion", "text", "segments", "tokens")
ROLES = ("assistant", "user", "system", "tool")


class Knobs(TrainingKnobs):
    epochs: float = knob(
        3.0, "How often every example is seen. More learns it better, until the model recites instead of understanding.",
        low=0.01, high=1000, safe=(1, 10), unit="passes", everyday=True)  # fmt: skip
    max_length: int = knob(
        1024, "Longer examples are cut off here. Longer takes more memory.", low=8, high=1_000_000, safe=(64, 4096),
        unit="tokens", everyday=True)  # fmt: skip
    learn_from: Literal["auto", "completion", "assistant", "everything", "roles", "marks", "template"] = knob(
        "auto", "Which tokens are learned.", everyday=True,
        choices={"auto": "The answers: every assistant turn of a conversation, or the completion; or what the examples themselves mark.",
                 "completion": "Only the completion after the prompt.",
                 "assistant": "Only what the assistant says.",
                 "everything": "All tokens, questions too.",
                 "roles": "What the speakers named below say.",
                 "marks": "What the examples themselves mark with train or weight, turn by turn or part by part; where they say "
                          "nothing, the speakers named below.",
                 "template": "What follows a phrase that answers begin with, set below: for models without a chat format."})  # fmt: skip
    roles: list[str] = knob(["assistant"], "Whose turns are learned, with roles or marks: assistant, user, system, tool. One on each line.")  # fmt: skip
    last_turn_only: bool = knob(False, "Learns only the last answer of a conversation; the earlier ones are only read.")
    end_tokens: Literal["all", "last", "none"] = knob(
        "all", "Whether the mark that ends an answer is learned with it.",
        choices={"all": "After every learned answer, so that the model knows when to stop.",
                 "last": "Only after the last learned answer of a conversation.",
                 "none": "Never: the model may not know when to stop."})  # fmt: skip
    response_template: str = knob(
        "", "The phrase that answers begin with, such as ### Answer:, or its tokens as numbers, such as [835, 21017]. Used by template.")  # fmt: skip
    instruction_template: str = knob(
        "", "The phrase that questions begin with, where several follow each other. Without it only the last answer is learned. Used by template.")  # fmt: skip
    split_thoughts: bool = knob(
        False, "Hands thoughts between <think> and </think> to the chat format apart from the answer, as Qwen3’s and others expect.")  # fmt: skip
    loss: Literal["nll", "dft"] = knob(
        "nll", "How strongly each token pulls.",
        choices={"nll": "The less likely the model finds it, the more: the usual way.",
                 "dft": "The likelier it is already, the more (DFT): changes less where the examples surprise the model, and often "
                        "forgets less."})  # fmt: skip
    chat_format: bool = knob(True, "Puts plain prompts and completions into the model's chat format, when it has one.")
    template_arguments: list[str] = knob(
        [], "What the model's chat format is told, such as enable_thinking=false. One on each line.")  # fmt: skip
    packing: bool = knob(False, "Fills each batch row with several short examples: quicker on a graphics card.")
    packing_strategy: Literal["bfd", "bfd_split", "wrapped"] = knob(
        "bfd", "How examples are packed.",
        choices={"bfd": "Best fit; what is too long is cut.", "bfd_split": "Best fit; what is too long is split.",
                 "wrapped": "One after another, chopped evenly; neighbours see each other."})  # fmt: skip
    group_by_length: bool = knob(True, "Batches examples of similar length together: less padding, quicker.")
    streaming: bool = knob(False, "Reads the examples while training instead of before, however many there are; needs a number of steps.")  # fmt: skip
    neftune: float = knob(
        0.0, "Noise on the input (NEFTune), against reciting; 5 is usual, 0 is none.", low=0.0, high=100.0)  # fmt: skip

    @field_validator("roles")
    @classmethod
    def known_roles(cls, roles: list[str]) -> list[str]:
        if unknown := next((role for role in roles if role not in ROLES), None):
            raise ValueError(f"there is no speaker “{unknown}”; choose among {', '.join(ROLES)}")
        return roles

    @field_validator("template_arguments")
    @classmethod
    def named_values(cls, lines: list[str]) -> list[str]:
        parsed(lines)
        return lines


def defaults(adapter: str, parameters: int | None) -> dict[str, Any]:
    """Knobs that depend on what is trained."""
    return {"learning_rate": learning_rate(adapter, parameters)}


def check(spec: Spec) -> None:
    """Raises Problem where it is not said what answers begin with."""
    if spec.knobs["learn_from"] == "template" and not spec.knobs["response_template"]:
        raise Problem("It is not said what answers begin with.", advice="Write the phrase that stands before every answer, such as ### Answer:.")  # fmt: skip


def build(job: Job) -> Any:
    """TRL's SFTTrainer; on devices without Triton its head scores only the trained positions."""
    from trl import SFTConfig, SFTTrainer

    from app.engine.masking import masked_dataset, select_mask
    from app.engine.model.trained_positions_head import trained_positions_only

    word = select_mask.chosen(job)
    mask = select_mask.mask_of(job, word)
    marked = select_mask.is_marked(job.data.train)
    masking = masked_dataset.masking(judged_alike(SFTTrainer), job.trainers_tokenizer, mask, marked)
    args = arguments(job, SFTConfig, "" if mask else word)
    trainer = job.trainer(masking, args, eval_dataset=job.held_out_table())
    if form := getattr(mask, "form", None):
        trainer.chat_template = form.template
    if not job.preview:
        trained_positions_only(trainer)
    return trainer


def judged_alike(trainer: type) -> type:
    """The trainer's class, whose tests tell the usual loss whichever it learns by: DFT's own also falls where a model gets worse."""

    class Judged(trainer):
        def evaluate(self, *args: Any, **kwargs: Any) -> Any:
            learned_by, self.args.loss_type = self.args.loss_type, "nll"
            try:
                return super().evaluate(*args, **kwargs)
            finally:
                self.args.loss_type = learned_by

    Judged.__name__ = Judged.__qualname__ = trainer.__name__
    return Judged


def arguments(job: Job, config: type, chosen: str) -> Any:
    """The knobs in the words of TRL's config. chosen: what its own masks say is learned; empty where ours do."""
    knobs, seeing = job.knobs, job.processor is not None
    if seeing and knobs.packing:
        raise Problem("Examples with pictures cannot be joined into full rows.", advice="Switch packing off.")
    grouped = (
        knobs.group_by_length and not knobs.packing and not seeing
    )  # how long a row with pictures is shows on the way
    return job.arguments(
        config,
        max_length=knobs.max_length,
        loss_type=knobs.loss,
        completion_only_loss=chosen == "completion",
        assistant_only_loss=chosen == "assistant",
        packing=knobs.packing,
        packing_strategy=knobs.packing_strategy,
        eval_packing=False,
        train_sampling_strategy="group_by_length" if grouped else "random",
        neftune_noise_alpha=knobs.neftune or None,
    )
