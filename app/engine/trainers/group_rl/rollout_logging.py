"""Rollout logging: some sampled completions with prompt, rewards and advantage as events of the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.engine.trainer_class import named_after

if TYPE_CHECKING:
    from app.engine.job import Job


def rollout_logging_trainer_class(trainer: type, job: Job) -> type:
    """The trainer's class, which emits a few of its rollouts as sample events, every `samples_every` steps."""

    @named_after(trainer)
    class RolloutLogging(trainer):
        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            super().log(logs, start_time)  # emits the step event first
            step, is_step = self.state.global_step, "loss" in logs  # the summary at the end has no loss
            if job.emitter and self.model.training and is_step and (step == 1 or step % job.knobs.samples_every == 0):
                count = getattr(job.knobs, "attempts", 2)
                rows = rollout_rows(self._logs, count if count > 1 else 4)  # with one each, those of several prompts
                job.emitter.emit("sample", step=step, rows=rows)

    return RolloutLogging


def rollout_rows(logs: dict[str, Any], count: int, max_rows: int = 8) -> list[dict[str, Any]]:
    """The latest `count` rollouts, at most max_rows: prompt, completion, rewards by name, advantage, and what it is relative to
    where that is not the other completions of the group."""
    baseline = {"against": logs["against"]} if "against" in logs else {}
    rows = range(max(0, len(logs["prompt"]) - count), len(logs["prompt"]))[:max_rows]
    return [
        {
            "prompt": message_text(logs["prompt"][i]),
            "completion": completion_text(logs["completion"][i]),
            "rewards": {name: rounded_or_none(rewards[i]) for name, rewards in logs["rewards"].items()},
            "advantage": rounded_or_none(logs["advantages"][i]),
            **baseline,
        }
        for i in rows
    ]


def message_text(content: Any) -> str:
    """The text of a string, or of the last of several messages."""
    return content if isinstance(content, str) else str(content[-1]["content"])


def completion_text(completion: Any) -> str:
    """The text of a completion; tool calls and their results each on a line of their own."""
    if isinstance(completion, str) or (len(completion) == 1 and not completion[0].get("tool_calls")):
        return message_text(completion)
    return "\n".join(line for message in completion for line in _message_lines(message))


def _message_lines(message: dict[str, Any]) -> list[str]:
    text = str(message.get("content") or "").strip()
    if message["role"] == "tool":
        return [f"← {text}"]
    calls = [tool_call.get("function", tool_call) for tool_call in message.get("tool_calls") or []]
    return [
        *([text] if text else []),
        *(f"→ {call['name']}({_format_arguments(call.get('arguments'))})" for call in calls),
    ]


def _format_arguments(arguments: Any) -> str:
    return (
        ", ".join(f"{name}: {argument}" for name, argument in arguments.items())
        if isinstance(arguments, dict)
        else str(arguments)
    )


def rounded_or_none(number: float | None) -> float | None:
    """The number with six decimals; None for None and NaN, which JSON does not know."""
    return None if number is None or number != number else round(float(number), 6)
