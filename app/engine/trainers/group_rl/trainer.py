"""Shared settings and trainer mixins of GRPO and RLOO, which sample a group of completions for each prompt and compare them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import model_validator

from app.core.problems import Problem
from app.engine.generation.sampling import TemplateKnobs, add_stop_tokens
from app.engine.model.reference import with_initial_reference
from app.engine.trainer_class import named_after
from app.engine.trainers.group_rl.replay_buffer import ReplayBuffer, ReplayMixin
from app.engine.trainers.group_rl.retry_failed_prompts import ROW_INDEX_COLUMN, RetryMixin
from app.engine.trainers.group_rl.rollout_logging import completion_text, rollout_logging_trainer_class
from app.engine.trainers.group_rl.zero_variance_groups import ZeroVarianceMixin
from app.engine.trainers.training_args import SMALL_MODEL_PARAMETERS, default_learning_rate
from app.setup.knob import knob

if TYPE_CHECKING:
    import torch

    from app.engine.job import Job

_STATE_FILE = "groups.pt"  # in a checkpoint: the trainer's state that TRL does not save

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
# Metrics of TRL that are not shown: extremes of a batch, and its own share of zero-variance groups, which ignores how
# rewards are combined.
_UNLOGGED_METRICS = (
    "clip_ratio/low_min",
    "clip_ratio/high_max",
    "completions/min_length",
    "completions/max_length",
    "frac_reward_zero_std",
    *(f"completions/{statistic}_terminated_length" for statistic in ("mean", "min", "max")),
)


class GroupKnobs(TemplateKnobs):
    """Shared by methods that compare several attempts at one prompt."""

    batch_size: int = knob(
        64,
        "How many answers each correction looks at: prompts times attempts. A multiple of the attempts.",
        low=2,
        high=65_536,
        safe=(16, 512),
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


def defaults(adapter: str, parameters: int | None) -> dict[str, Any]:
    """Settings that depend on adapter and model size: a tenth of SFT's learning rate, as rewards are a weaker signal than
    examples, but half of it on small models."""
    small = parameters is not None and parameters < SMALL_MODEL_PARAMETERS
    return {"learning_rate": default_learning_rate(adapter, parameters) * (0.5 if small else 0.1)}


class ScoringMixin:
    """Trainer mixin that leaves completions on which a reward failed out of their group, and scores single prompts."""

    knobs: Any

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any) -> torch.Tensor:
        import torch

        rewards_per_func = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self.last_completions, self.last_rewards = completions, rewards_per_func.clone()
        self.last_failed = failed_completions(self.reward_funcs, len(prompts))
        failed = torch.tensor(self.last_failed, device=rewards_per_func.device)
        rewards_per_func[failed] = torch.nan  # TRL leaves such completions out
        self.rewards_per_func = rewards_per_func
        return rewards_per_func

    def sample_scored_completions(self, row: dict[str, Any], count: int) -> list[dict[str, Any]]:
        """`count` completions of a row's prompt, each {"text", "rewards", "failed"}; see app/engine/preview/dry_run.py."""
        import torch

        self.model.eval()
        self.num_generations_eval = count
        with torch.no_grad():
            self._generate_and_score_completions([dict(row) for _ in range(count)])
        names = self.reward_func_names
        samples = zip(self.last_completions, self.last_rewards.tolist(), self.last_failed, strict=True)
        return [
            {
                "text": completion_text(completion),
                "rewards": dict(zip(names, rewards, strict=True)),
                "failed": has_failed,
            }
            for completion, rewards, has_failed in samples
        ]


class ResumeMixin:
    """Trainer mixin that saves buffered rollouts and groups with each checkpoint, so that a resumed run continues with them."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        import torch

        super()._save_checkpoint(model, trial)
        folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
        torch.save(self.resume_state(), folder / _STATE_FILE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        import torch

        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        path = Path(checkpoint) / _STATE_FILE
        if path.exists():  # checkpoints of older versions have none
            self.load_resume_state(torch.load(path, map_location=self.accelerator.device, weights_only=True))


class RolloutRoundMixin:
    """Trainer mixin that saves where in a round a run is: one round of completions may serve several optimizer steps."""

    num_tokens_before_resume = 0  # subtracted here, as app/engine/callback.py adds them

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super()._generate_and_score_completions(inputs)
        self._metrics["train"]["num_tokens"] = [self.state.num_input_tokens_seen - self.num_tokens_before_resume]
        return batch

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        for name in _UNLOGGED_METRICS:
            self._metrics["train"].pop(name, None)
        super().log(logs, start_time)

    def resume_state(self) -> dict[str, Any]:
        """What is saved with a checkpoint; mixins further out add their own keys."""
        steps_into_round = self._step % (self.args.steps_per_generation * self.num_iterations)
        buffered_rollouts = self._buffered_inputs if steps_into_round else None
        return {"step": self._step, "answers": buffered_rollouts, "tokens": self.state.num_input_tokens_seen}

    def load_resume_state(self, state: dict[str, Any]) -> None:
        """Restores what `resume_state` returned."""
        self._step, self._buffered_inputs = state["step"], state["answers"]
        self.num_tokens_before_resume = state["tokens"]


def failed_completions(rewards: list[Any], count: int) -> list[bool]:
    """(completions,): whether some reward failed to score it, see app/engine/reward_runtime/error_policy.py."""
    failed_by_reward = [reward.failed for reward in rewards if getattr(reward, "failed", None)]
    return [any(failed[row] for failed in failed_by_reward) for row in range(count)]


def build_group_trainer(job: Job, trainer: type, args: Any, *outer_mixins: type, **kwargs: Any) -> Any:
    """TRL's GRPO or RLOO trainer with the spec's rewards, the mixins above and rollout logging.

    outer_mixins: more of them, which come first in the method resolution order.
    """
    _require_enough_prompts(job, args)
    add_stop_tokens(job.model, job.tokenizer, job.knobs.stop)
    mixins = (ResumeMixin, RetryMixin, ReplayMixin, ZeroVarianceMixin, ScoringMixin, RolloutRoundMixin)
    bases = (*outer_mixins, *mixins, with_initial_reference(trainer, job))
    attributes = {"knobs": job.knobs, "replay_buffer": ReplayBuffer(job.knobs.replay), "failed_rows": []}
    trainer_class = rollout_logging_trainer_class(named_after(trainer)(type("GroupRL", bases, attributes)), job)
    return job.trainer(trainer_class, args, reward_funcs=job.rewards(), train_dataset=_train_dataset(job), **kwargs)


def _train_dataset(job: Job) -> Any:
    """The training rows, with their indices where failed prompts are retried."""
    dataset = job.data.train
    if job.knobs.reroll_after < 1 and not job.preview:
        return dataset.add_column(ROW_INDEX_COLUMN, [*range(len(dataset))])
    return dataset


def _require_enough_prompts(job: Job, args: Any) -> None:
    """Raises Problem for fewer prompts than one round needs: TRL drops a last round that is not full, so none would be left."""
    num_needed, num_prompts = args.generation_batch_size // args.num_generations, len(job.data.train)
    if job.max_rows is None and num_prompts < num_needed:
        raise Problem(
            f"Each round of answers asks {num_needed} different prompts, and there are {num_prompts}.",
            advice="Make the batch smaller, try more attempts at each prompt, or bring more prompts.",
        )
    if {"image", "images"} & set(job.data.train.column_names) and (job.knobs.replay or job.knobs.reroll_after < 1):
        raise Problem(
            "Prompts with pictures cannot be learned from again or tried again later.",
            advice="Set replay to 0 and reroll_after to 1.",
        )
