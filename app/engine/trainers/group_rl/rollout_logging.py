"""Attempts: what a trainer that writes its own answers tells of them: prompt, answer, rewards and advantage, now and then."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.engine.job import Job


def telling(trainer: type, job: Job) -> type:
    """The trainer, saying a few of its attempts with rewards and advantages as sample events."""

    class Telling(trainer):
        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            super().log(logs, start_time)  # tells the step first
            step, stepped = self.state.global_step, "loss" in logs  # not the summary at the end
            if job.emitter and self.model.training and stepped and (step == 1 or step % job.knobs.samples_every == 0):
                count = getattr(job.knobs, "attempts", 2)
                rows = attempts(self._logs, count if count > 1 else 4)  # of one try each, those at several prompts
                job.emitter.say("sample", step=step, rows=rows)

    return Telling


def attempts(logs: dict[str, Any], count: int, most: int = 8) -> list[dict[str, Any]]:
    """One prompt's latest attempts: prompt, completion, rewards by name, advantage, and against what, if not its other tries."""
    more = {"against": logs["against"]} if "against" in logs else {}
    rows = range(max(0, len(logs["prompt"]) - count), len(logs["prompt"]))[:most]
    return [
        {
            "prompt": plain(logs["prompt"][i]),
            "completion": told(logs["completion"][i]),
            "rewards": {name: finite(values[i]) for name, values in logs["rewards"].items()},
            "advantage": finite(logs["advantages"][i]),
            **more,
        }
        for i in rows
    ]


def plain(value: Any) -> str:
    """The text of a string or of the last turn of messages."""
    return value if isinstance(value, str) else str(value[-1]["content"])


def told(completion: Any) -> str:
    """An answer; with the calls of tools and their results on its way, each on a line of its own."""
    if isinstance(completion, str) or (len(completion) == 1 and not completion[0].get("tool_calls")):
        return plain(completion)
    return "\n".join(line for turn in completion for line in lines(turn))


def lines(turn: dict[str, Any]) -> list[str]:
    said = str(turn.get("content") or "").strip()
    if turn["role"] == "tool":
        return [f"← {said}"]
    calls = [one.get("function", one) for one in turn.get("tool_calls") or []]
    return [*([said] if said else []), *(f"→ {call['name']}({arguments(call.get('arguments'))})" for call in calls)]


def arguments(given: Any) -> str:
    return ", ".join(f"{name}: {value}" for name, value in given.items()) if isinstance(given, dict) else str(given)


def finite(value: float) -> float | None:
    return None if value is None or value != value else round(float(value), 6)
