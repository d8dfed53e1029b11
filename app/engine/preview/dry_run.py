"""Dry run: the untrained model answers real prompts, which are scored exactly as in training."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Protocol, TypedDict, cast

from app.contracts import Finding
from app.core import registry
from app.core.problems import Problem
from app.core.scratch import ScratchFolder
from app.core.workspace import local_workspace
from app.data.conversations.messages import last_message_text
from app.data.fields import Row
from app.engine.contracts import Trainer, load_method
from app.engine.cooperative import CountPart
from app.engine.model.device import Device
from app.engine.preview.findings import preview_finding
from app.engine.trainers.group_rl.retry_failed_prompts import ROW_INDEX_COLUMN
from app.engine.trainers.group_rl.rollout_logging import rounded_or_none
from app.engine.trainers.group_rl.zero_variance_groups import REWARD_TOLERANCE
from app.planning.resolve import resolve
from app.setup.spec import Spec

if TYPE_CHECKING:
    from app.engine.trainers.group_rl.scoring import ScoredCompletion

_MAX_COUNT = 64  # prompts of one dry run, and attempts at each


class RewardRange(TypedDict):
    """Of one reward over the completions that it could score; None where it could score none."""

    mean: float | None
    lowest: float | None
    highest: float | None


class SamplingTrainer(Trainer, Protocol):
    """Every trainer of a method that needs rewards."""

    def sample_scored_completions(self, row: Row, count: int) -> list[ScoredCompletion]: ...


RewardStatistics = dict[str, RewardRange]  # by the reward's name in the setup


class SampledCompletion(TypedDict):
    """A completion with its rewards. total: their weighted sum, None where a reward failed."""

    text: str
    rewards: dict[str, float | None]
    total: float | None


class SampledPrompt(TypedDict):
    """A prompt with its attempts. spread: the difference between the best and the worst total."""

    prompt: str
    completions: list[SampledCompletion]
    spread: float


class DryRun(TypedDict):
    """The attempts of the untrained model at some prompts, what the rewards gave, and findings on them."""

    rows: list[SampledPrompt]
    by_reward: RewardStatistics
    findings: list[Finding]


def check_dry_run(spec: Spec) -> None:
    """Before waiting for the device: raises Problem where the method has no rewards or none is chosen."""
    method = load_method(spec.method)
    if not method.needs_rewards:
        raise Problem(f"“{method.title}” learns from examples, so there are no attempts to try.")
    if not spec.rewards:
        raise Problem("There is no reward to try yet.", advice=f"Choose from: {', '.join(registry.names('rewards'))}.")


def dry_run(spec: Spec, prompts: int, attempts: int) -> Generator[CountPart, None, DryRun]:
    """Yields after each prompt and returns the attempts at all prompts. prompts, attempts: how many, within limits."""
    from app.engine.job import Job

    prompt_count, attempts = min(prompts, _MAX_COUNT), min(max(2, attempts), _MAX_COUNT)
    spec = resolve(spec)
    with ScratchFolder(local_workspace()) as folder:
        job = Job(spec, folder, Device("cpu"), max_rows=prompt_count)
        trainer = cast("SamplingTrainer", job.method.build(job))
        prompt_rows = [_without_row_index(row) for row in trainer.train_dataset]
        sampled_rows: list[SampledPrompt] = []
        for row in prompt_rows:
            sampled_rows.append(sample_attempts(trainer, row, attempts, spec))
            yield {"progress": {"done": len(sampled_rows), "of": len(prompt_rows)}}
    statistics = _reward_statistics(sampled_rows)
    findings = _dry_run_findings(sampled_rows, statistics, spec)
    return {"rows": sampled_rows, "by_reward": statistics, "findings": findings}


def _without_row_index(row: Row) -> Row:
    """The row as rewards see it."""
    return {key: cell for key, cell in row.items() if key != ROW_INDEX_COLUMN}


def sample_attempts(trainer: SamplingTrainer, row: Row, attempts: int, spec: Spec) -> SampledPrompt:
    """One prompt's attempts, generated and scored by the trainer's own code."""
    completions: list[SampledCompletion] = []
    for sample in trainer.sample_scored_completions(row, attempts):
        rewards = {name: rounded_or_none(reward) for name, reward in sample["rewards"].items()}
        total = None if sample["failed"] else _total_reward(rewards, spec)
        completions.append({"text": sample["text"], "rewards": rewards, "total": total})
    totals = [completion["total"] for completion in completions if completion["total"] is not None] or [0.0]
    render_prompt = getattr(trainer, "render_tool_prompt", None)  # the prompt with the description of its tools
    prompt = render_prompt(row) if render_prompt else last_message_text(row["prompt"])
    return {"prompt": prompt, "completions": completions, "spread": round(max(totals) - min(totals), 6)}


def _total_reward(rewards: dict[str, float | None], spec: Spec) -> float:
    """The weighted sum, as TRL computes it: what could not be scored adds nothing."""
    return round(sum(reward.weight * (rewards[reward.label] or 0.0) for reward in spec.rewards), 6)


def _reward_statistics(rows: list[SampledPrompt]) -> RewardStatistics:
    """Mean, lowest and highest of each reward over the completions that it could score."""
    scores_by_name: dict[str, list[float]] = {}
    for completion in _completions(rows):
        for name, score in completion["rewards"].items():
            scores = scores_by_name.setdefault(name, [])
            if score is not None:
                scores.append(score)
    return {
        name: {
            "mean": sum(scores) / len(scores) if scores else None,
            "lowest": min(scores, default=None),
            "highest": max(scores, default=None),
        }
        for name, scores in scores_by_name.items()
    }


def _completions(rows: list[SampledPrompt]) -> list[SampledCompletion]:
    return [completion for row in rows for completion in row["completions"]]


# -- findings -----------------------------------------------------------------------------------------------------


def _dry_run_findings(rows: list[SampledPrompt], statistics: RewardStatistics, spec: Spec) -> list[Finding]:
    """What a person should know before training on these rewards."""
    return [
        *_unscored_findings(statistics),
        *_failed_reward_findings(rows),
        *_spread_findings(rows, statistics, spec),
    ]


def _unscored_findings(statistics: RewardStatistics) -> list[Finding]:
    return [
        preview_finding(
            "wrong",
            f"The reward “{name}” could not score a single answer. Check the column or the words that it reads.",
        )
        for name, reward in statistics.items()
        if reward["mean"] is None
    ]


def _failed_reward_findings(rows: list[SampledPrompt]) -> list[Finding]:
    totals = [completion["total"] for completion in _completions(rows)]
    if None not in totals:
        return []
    text = f"A reward failed on {totals.count(None)} of {len(totals)} answers. Training leaves such answers out."
    return [preview_finding("careful", text)]


def _spread_findings(rows: list[SampledPrompt], statistics: RewardStatistics, spec: Spec) -> list[Finding]:
    """Only where the attempts at one prompt earn different rewards is there anything to learn from."""
    if not rows or all(reward["mean"] is None for reward in statistics.values()):
        return []
    differing = sum(row["spread"] > REWARD_TOLERANCE for row in rows)
    attempts = max((len(row["completions"]) for row in rows), default=0)
    if differing == 0:
        return [_no_spread_finding(rows, attempts, spec)]
    findings = _constant_reward_findings(statistics)
    if differing * 8 <= len(rows):
        text = (
            f"At {len(rows) - differing} of {len(rows)} prompts all {attempts} attempts earn the same, and those "
            "teach nothing. More attempts, or easier prompts, would help."
        )
        return [*findings, preview_finding("careful", text)]
    text = f"At {differing} of {len(rows)} prompts the attempts earn differently, so there is something to learn from."
    return [*findings, preview_finding("good", text)]


def _no_spread_finding(rows: list[SampledPrompt], attempts: int, spec: Spec) -> Finding:
    """For attempts that earn the same at every prompt."""
    totals = {completion["total"] for completion in _completions(rows) if completion["total"] is not None}
    if all(abs(total) <= REWARD_TOLERANCE for total in totals):
        text = (
            f"All {attempts * len(rows)} attempts earn 0, so there is nothing to learn from. Give the model "
            "easier prompts or a more forgiving reward, or first let it imitate some examples."
        )
        return preview_finding("wrong", text)
    text = (
        "Every attempt at a prompt earns the same, so there is nothing to learn from. Raise the "
        f"temperature (now {spec.knobs['temperature']:g}), or choose a reward that tells answers apart."
    )
    return preview_finding("wrong", text)


def _constant_reward_findings(statistics: RewardStatistics) -> list[Finding]:
    """For a reward among several that gives every completion the same."""
    if len(statistics) < 2:
        return []
    return [
        preview_finding("careful", f"The reward “{name}” is {reward['mean']:g} for every answer, so it steers nothing.")
        for name, reward in statistics.items()
        if reward["highest"] is not None
        and reward["lowest"] is not None
        and reward["highest"] - reward["lowest"] <= REWARD_TOLERANCE
    ]
