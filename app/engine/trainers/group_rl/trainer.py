"""Groups: what GRPO and RLOO share here beyond TRL: several attempts at each prompt, of which only those that differ teach anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from app.core.problems import Problem
from app.engine.generation.sampling import TemplateKnobs, add_stops
from app.engine.model.reference import anchored
from app.engine.trainers.group_rl.replay_buffer import Memory, Replaying
from app.engine.trainers.group_rl.retry_failed_prompts import ROW, Rerolling
from app.engine.trainers.group_rl.rollout_logging import telling, told
from app.engine.trainers.group_rl.zero_variance_groups import Silencing
from app.engine.trainers.training_args import SMALL, learning_rate
from app.setup.knob import knob

if TYPE_CHECKING:
    import torch

    from app.engine.job import Job

STATE = "groups.pt"  # in a checkpoint: what a trainer of groups needs to go on as if nothing had happened

CURVES = {
    "entropy": ("policy/entropy", "how undecided the model is"),
    "kl": ("policy/kl", "distance from the start"),
    "clip_ratio/region_mean": ("policy/clipped", "share of tokens held back by the clip"),
    "clip_ratio/low_mean": ("policy/clipped_down", "share of tokens held back on their way down"),
    "clip_ratio/high_mean": ("policy/clipped_up", "share of tokens held back on their way up"),
    "completions/mean_length": ("policy/length", "length of an answer, in tokens"),
    "completions/clipped_ratio": ("policy/cut_off", "share of answers cut off"),
    "silent_groups": ("policy/silent_groups", "share of prompts that taught nothing"),
    "replayed": ("policy/replayed", "groups learned from again"),
    "rerolled": ("policy/rerolled", "failed prompts tried again"),
    "tools/call_frequency": ("tools/calls", "calls of a tool for each answer"),
    "tools/failure_frequency": ("tools/failed", "share of calls that failed"),
}
# What TRL also logs and nobody looks at: extremes of a batch, and its own count of silent groups, which knows no other scaling.
UNTOLD = ("clip_ratio/low_min", "clip_ratio/high_max", "completions/min_length", "completions/max_length", "frac_reward_zero_std",
          *(f"completions/{which}_terminated_length" for which in ("mean", "min", "max")))  # fmt: skip


class GroupKnobs(TemplateKnobs):
    """Shared by methods that compare several attempts at one prompt."""

    batch_size: int = knob(
        64, "How many answers each correction looks at: prompts times attempts. A multiple of the attempts.",
        low=2, high=65_536, safe=(16, 512), unit="answers", everyday=True)  # fmt: skip
    attempts: int = knob(
        8, "How many answers are tried for each prompt. They are compared with one another.", low=2, high=256,
        safe=(4, 16), unit="answers", everyday=True)  # fmt: skip
    times_used: int = knob(
        1, "How often each answer is learned from before new ones are written. More is quicker, and further from what the model "
        "would say by then.", low=1, high=100, safe=(1, 4), unit="times")  # fmt: skip
    skip_silent: bool = knob(
        True, "Spends nothing on answers that teach nothing, because all attempts at their prompt earned the same. A step that has "
        "no others leaves the model as it is.")  # fmt: skip
    replay: int = knob(
        0, "Remembers this many groups of attempts that differed, the most telling ones, and learns from them again in place of "
        "groups that teach nothing. 0 remembers none.", low=0, high=100_000, unit="groups")  # fmt: skip
    reroll_after: float = knob(
        1.0, "From this share of the run on, prompts at which every attempt failed are tried again, in the place of new ones, which "
        "are then not asked in that pass. 1 never does.", low=0.0, high=1.0, unit="of the run")  # fmt: skip
    reroll_groups: int = knob(
        1, "How many such prompts are tried again in each round of answers, at most.", low=1, high=1_000, unit="prompts")  # fmt: skip

    @model_validator(mode="after")
    def batches_hold_whole_groups(self) -> GroupKnobs:
        batch = self.batch_size * self.accumulation
        if batch % self.attempts:
            near = max(1, round(batch / self.attempts)) * self.attempts
            raise ValueError(
                f"a batch of {batch} answers cannot be split into groups of {self.attempts} attempts; try {near}"
            )
        return self


def defaults(adapter: str, parameters: int | None) -> dict[str, Any]:
    """Knobs that depend on what is trained. Rewards are a weaker signal than examples: a tenth of imitation's
    step, and half of it on small models."""
    small = parameters is not None and parameters < SMALL
    return {"learning_rate": learning_rate(adapter, parameters) * (0.5 if small else 0.1)}


class Scoring:
    """The innermost part: answers that a reward failed on are left out of their group; and it can be tried out."""

    knobs: Any

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, ids: Any) -> torch.Tensor:
        import torch

        earned = super()._calculate_rewards(inputs, prompts, completions, ids)
        self.said, self.scored, self.failed = completions, earned.clone(), failures(self.reward_funcs, len(prompts))
        earned[torch.tensor(self.failed, device=earned.device)] = torch.nan  # TRL leaves such answers out
        self.earned = earned
        return earned

    def try_out(self, row: dict[str, Any], count: int) -> list[dict[str, Any]]:
        """See app/engine/preview/dry_run.py."""
        import torch

        self.model.eval()
        self.num_generations_eval = count
        with torch.no_grad():
            self._generate_and_score_completions([dict(row) for _ in range(count)])
        return [{"text": told(text), "rewards": dict(zip(self.reward_func_names, values, strict=True)), "failed": failed}
                for text, values, failed in zip(self.said, self.scored.tolist(), self.failed, strict=True)]  # fmt: skip


class Resuming:
    """The outermost part: a run that goes on from a checkpoint goes on with the answers and groups it had."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        import torch

        super()._save_checkpoint(model, trial)
        torch.save(self.kept(), Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}" / STATE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        import torch

        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and (Path(checkpoint) / STATE).exists():  # an older version of this kept none
            self.restore(torch.load(Path(checkpoint) / STATE, map_location=self.accelerator.device, weights_only=True))


class Rounds:
    """Answers are written in rounds that may serve several corrections: which of them are still to be learned from."""

    tokens_before = 0  # of earlier attempts at this run: app/engine/callback.py adds them

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super()._generate_and_score_completions(inputs)
        self._metrics["train"]["num_tokens"] = [self.state.num_input_tokens_seen - self.tokens_before]
        return batch

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        for name in UNTOLD:
            self._metrics["train"].pop(name, None)
        super().log(logs, start_time)

    def kept(self) -> dict[str, Any]:
        between = self._step % (self.args.steps_per_generation * self.num_iterations)
        answers = self._buffered_inputs if between else None
        return {"step": self._step, "answers": answers, "tokens": self.state.num_input_tokens_seen}

    def restore(self, state: dict[str, Any]) -> None:
        self._step, self._buffered_inputs, self.tokens_before = state["step"], state["answers"], state["tokens"]


def failures(rewards: list[Any], count: int) -> list[bool]:
    """Which answers some reward could not score though it should have: see app/engine/reward_runtime/error_policy.py."""
    told = [reward.failed for reward in rewards if getattr(reward, "failed", None)]
    return [any(failed[row] for failed in told) for row in range(count)]


def build(job: Job, trainer: type, args: Any, *more: type, **given: Any) -> Any:
    """TRL's GRPO or RLOO trainer with our rewards and all the parts above, telling what it tried. more: parts outside of these."""
    require_rows(job, args)
    add_stops(job.model, job.tokenizer, job.knobs.stop)
    parts = (*more, Resuming, Rerolling, Replaying, Silencing, Scoring, Rounds, anchored(trainer, job))
    own = {"knobs": job.knobs, "memory": Memory(job.knobs.replay), "failed_rows": []}
    made = telling(type(trainer.__name__, parts, own), job)
    return job.trainer(made, args, reward_funcs=job.rewards(), train_dataset=rows(job), **given)


def rows(job: Job) -> Any:
    """With their numbers where some may be tried again."""
    table = job.data.train
    return table.add_column(ROW, [*range(len(table))]) if job.knobs.reroll_after < 1 and not job.preview else table


def require_rows(job: Job, args: Any) -> None:
    """TRL leaves out a last round that is not full: with fewer prompts than one round asks, nothing would be left."""
    asked, there = args.generation_batch_size // args.num_generations, len(job.data.train)
    if job.rows is None and there < asked:
        raise Problem(f"Each round of answers asks {asked} different prompts, and there are {there}.",
                      advice="Make the batch smaller, try more attempts at each prompt, or bring more prompts.")  # fmt: skip
    if {"image", "images"} & set(job.data.train.column_names) and (job.knobs.replay or job.knobs.reroll_after < 1):
        raise Problem("Prompts with pictures cannot be learned from again or tried again later.",
                      advice="Set replay to 0 and reroll_after to 1.")  # fmt: skip
