"""The model imitates the answers it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import field_validator

from app.engine.knob import knob
from app.engine.sampling import parsed
from app.engine.training import TrainingKnobs, learning_rate
from app.problems import Problem

if TYPE_CHECKING:
    from app.engine.job import Job

TITLE = "Imitate examples"
LAYOUTS = ("messages", "prompt_completion", "text")


class Knobs(TrainingKnobs):
    epochs: float = knob(
        3.0, "How often every example is seen. More learns it better, until the model recites instead of understanding.",
        low=0.01, high=1000, safe=(1, 10), unit="passes", everyday=True)  # fmt: skip
    max_length: int = knob(
        1024, "Longer examples are cut off here. Longer takes more memory.", low=8, high=1_000_000, safe=(64, 4096),
        unit="tokens", everyday=True)  # fmt: skip
    learn_from: Literal["auto", "completion", "assistant", "everything"] = knob(
        "auto", "Which tokens are learned.", everyday=True,
        choices={"auto": "The answers: every assistant turn of a conversation, or the completion.",
                 "completion": "Only the completion after the prompt.",
                 "assistant": "Only what the assistant says.",
                 "everything": "All tokens, questions too."})  # fmt: skip
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
    neftune: float = knob(
        0.0, "Noise on the input (NEFTune), against reciting; 5 is usual, 0 is none.", low=0.0, high=100.0)  # fmt: skip

    @field_validator("template_arguments")
    @classmethod
    def named_values(cls, lines: list[str]) -> list[str]:
        parsed(lines)
        return lines


def defaults(adapter: str, parameters: int | None) -> dict[str, Any]:
    """Knobs that depend on what is trained."""
    return {"learning_rate": learning_rate(adapter, parameters)}


def build(job: Job) -> Any:
    """TRL's SFTTrainer; on devices without Triton its head scores only the trained positions."""
    from trl import SFTConfig, SFTTrainer

    from app.engine.head import trained_positions_only

    trainer = job.trainer(judged_alike(SFTTrainer), arguments(job, SFTConfig), eval_dataset=job.held_out_table())
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


def arguments(job: Job, config: type) -> Any:
    """The knobs in the words of TRL's config."""
    knobs, seeing = job.knobs, job.processor is not None
    chosen = job.learn_from(knobs.learn_from)
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
