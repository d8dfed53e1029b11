"""Rollout logging: some sampled completions with prompt, rewards and advantage as events of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NotRequired, TypedDict

from app.core.json_types import JsonObject, JsonValue
from app.data.conversations.messages import Messages, last_message_text
from app.data.fields import Row
from app.engine.trainers.mixin_bases import GRPOTrainerBase, TrainerBase
from app.runs.events import SampleEvent

if TYPE_CHECKING:
    from app.engine.generation.sampling import SamplingKnobs
    from app.engine.job import Job

Completion = str | Messages  # also a prompt

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


class RolloutLogs(TypedDict):
    """The latest rollouts of a trainer, column by column, as TRL's GRPOTrainer keeps them in `_logs`."""

    prompt: Sequence[Completion]
    completion: Sequence[Completion]
    rewards: Mapping[str, Sequence[float | None]]  # by the reward's name
    advantages: Sequence[float]
    against: NotRequired[str]  # what advantages are relative to, where that is not the other completions of the group


class SampleLoggingMixin(TrainerBase):
    """Emits `sample_rows` as sample events, every `samples_every` steps."""

    job: Job
    knobs: SamplingKnobs

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log(logs, start_time)  # emits the step event first
        step, is_step = self.state.global_step, "loss" in logs  # the summary at the end has no loss
        is_due = step == 1 or step % self.knobs.samples_every == 0
        if self.job.emitter and self.model.training and is_step and is_due:
            self.job.emitter.emit(SampleEvent, step=step, rows=self.sample_rows())

    def sample_rows(self) -> list[JsonObject]:
        """The rows of a sample event: a few of the latest completions."""
        raise NotImplementedError


class RolloutLoggingMixin(SampleLoggingMixin):
    """Emits a few of the trainer's rollouts as sample events, every `samples_every` steps."""

    _logs: RolloutLogs

    def sample_rows(self) -> list[JsonObject]:
        """The latest rollouts of one prompt or, with one attempt each, of several prompts."""
        count = getattr(self.knobs, "attempts", 2)
        return rollout_rows(self._logs, count if count > 1 else 4)


class LoggedMetricsMixin(GRPOTrainerBase):
    """Leaves metrics of TRL out of the log that say little."""

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        for name in _UNLOGGED_METRICS:
            self._metrics["train"].pop(name, None)
        super().log(logs, start_time)


def rollout_rows(logs: RolloutLogs, count: int, max_rows: int = 8) -> list[JsonObject]:
    """The latest `count` rollouts, at most max_rows: prompt, completion, rewards by name, advantage, and what it is relative to
    where that is not the other completions of the group."""
    baseline: JsonObject = {"against": logs["against"]} if "against" in logs else {}
    rows = range(max(0, len(logs["prompt"]) - count), len(logs["prompt"]))[:max_rows]
    return [
        {
            "prompt": last_message_text(logs["prompt"][i]),
            "completion": completion_text(logs["completion"][i]),
            "rewards": {name: rounded_or_none(rewards[i]) for name, rewards in logs["rewards"].items()},
            "advantage": rounded_or_none(logs["advantages"][i]),
            **baseline,
        }
        for i in rows
    ]


def completion_text(completion: Completion) -> str:
    """The text of a completion; tool calls and their results each on a line of their own."""
    if isinstance(completion, str) or (len(completion) == 1 and not completion[0].get("tool_calls")):
        return last_message_text(completion)
    return "\n".join(line for message in completion for line in _message_lines(message))


def _message_lines(message: Row) -> list[str]:
    text = str(message.get("content") or "").strip()
    if message["role"] == "tool":
        return [f"← {text}"]
    calls = [tool_call.get("function", tool_call) for tool_call in message.get("tool_calls") or []]
    return [
        *([text] if text else []),
        *(f"→ {call['name']}({_format_arguments(call.get('arguments'))})" for call in calls),
    ]


def _format_arguments(arguments: JsonValue) -> str:
    return (
        ", ".join(f"{name}: {argument}" for name, argument in arguments.items())
        if isinstance(arguments, dict)
        else str(arguments)
    )


def rounded_or_none(number: float | None) -> float | None:
    """The number with six decimals; None for None and NaN, which JSON does not know."""
    return None if number is None or number != number else round(float(number), 6)
