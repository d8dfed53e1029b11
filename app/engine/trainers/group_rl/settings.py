"""Settings and curves that GRPO and RLOO share, which sample a group of completions for each prompt and compare them."""

from __future__ import annotations

from pydantic import model_validator

from app.engine.generation.sampling import TemplateKnobs
from app.engine.trainers.training_args import SMALL_MODEL_PARAMETERS, default_learning_rate
from app.setup.knob import knob
from app.setup.step_memory import Logits, RowLengths, StepMemory

CURVES = {
    "entropy": ("policy/entropy", "how undecided the model is"),
    "kl": ("policy/kl", "distance from the start"),
    "clip_ratio/region_mean": ("policy/clipped", "share of tokens held back by the clip"),
    "clip_ratio/low_mean": ("policy/clipped_down", "share of tokens held back on their way down"),
    "clip_ratio/high_mean": ("policy/clipped_up", "share of tokens held back on their way up"),
    "completions/mean_length": ("policy/length", "length of an answer, in tokens"),
    "completions/clipped_ratio": ("policy/cut_off", "share of answers cut off"),
    "silent_groups": ("policy/silent_groups", "share of prompts that taught nothing"),
    "length_correlation": ("probe/length_correlation", "how closely the reward follows the length of the answers"),
    "distinct_answers": ("probe/distinct_answers", "different answers in a round"),
    "replayed": ("policy/replayed", "groups learned from again"),
    "rerolled": ("policy/rerolled", "failed prompts tried again"),
    "tools/call_frequency": ("tools/calls", "calls of a tool for each answer"),
    "tools/failure_frequency": ("tools/failed", "share of calls that failed"),
}


class GroupKnobs(TemplateKnobs):
    """Shared by methods that compare several attempts at one prompt."""

    batch_size: int = knob(
        64,
        "How many answers each correction looks at: prompts times attempts. A multiple of the attempts.",
        low=2,
        high=65_536,
        safe=(8, 512),
        unit="answers",
        everyday=True,
    )
    attempts: int = knob(
        8,
        "How many answers are tried for each prompt. They are compared with one another.",
        low=2,
        high=256,
        safe=(4, 16),
        unit="answers",
        everyday=True,
        library_name="num_generations",
        affects="order",
    )
    times_used: int = knob(
        1,
        "How often each answer is learned from before new ones are written. More is quicker, and further from what the model "
        "would say by then.",
        low=1,
        high=100,
        safe=(1, 4),
        unit="times",
        library_name="num_iterations",
        affects="order",
    )
    skip_silent: bool = knob(
        True,
        "Spends nothing on answers that teach nothing, because all attempts at their prompt earned the same. A step that has "
        "no others leaves the model as it is.",
        affects="timing",
    )
    replay: int = knob(
        0,
        "Remembers this many groups of attempts that differed, the most telling ones, and learns from them again in place of "
        "groups that teach nothing. 0 remembers none.",
        low=0,
        high=100_000,
        unit="groups",
        affects="timing",
    )
    reroll_after: float = knob(
        1.0,
        "From this share of the run on, prompts at which every attempt failed are tried again, in the place of new ones, which "
        "are then not asked in that pass. 1 never does.",
        low=0.0,
        high=1.0,
        unit="of the run",
        affects="order",
    )
    reroll_groups: int = knob(
        1,
        "How many such prompts are tried again in each round of answers, at most.",
        low=1,
        high=1_000,
        unit="prompts",
        affects="order",
    )

    @model_validator(mode="after")
    def check_batch_divides_into_groups(self) -> GroupKnobs:
        batch = self.batch_size * self.accumulation
        if batch % self.attempts:
            nearest = max(1, round(batch / self.attempts)) * self.attempts
            raise ValueError(
                f"a batch of {batch} answers cannot be split into groups of {self.attempts} attempts; try {nearest}"
            )
        return self


def defaults(adapter: str, parameters: int | None) -> dict[str, float]:
    """Settings that depend on adapter and model size: a tenth of SFT's learning rate, as rewards are a weaker signal than
    examples, but half of it on small models."""
    small = parameters is not None and parameters < SMALL_MODEL_PARAMETERS
    return {"learning_rate": default_learning_rate(adapter, parameters) * (0.5 if small else 0.1)}


def group_memory(knobs: GroupKnobs, lengths: RowLengths, written_ahead: int, *, keeps_start: bool) -> StepMemory:
    """A step of TRL's GRPO or RLOO trainer. written_ahead: optimizer steps for which completions are written at once."""
    tokens = lengths.prompt + knobs.max_completion_length
    return StepMemory(
        texts=knobs.batch_size,
        tokens=tokens,
        logits=(Logits(positions=knobs.max_completion_length, kernel="tiled"),),
        generated_texts=knobs.batch_size * knobs.accumulation * written_ahead,
        generated_tokens=tokens,
        keeps_start=keeps_start,
    )
