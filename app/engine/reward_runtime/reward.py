"""Reward: scores completions, row by row; TRL, the held-out test and the page call all of them alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from app.core import registry
from app.core.problems import Problem, shorten
from app.engine.reward_runtime.http_client import Unreachable
from app.setup.spec import Reward


@dataclass(frozen=True)
class Failed:
    """In place of a score: this answer could not be scored though it should have been. reason: in words, without a full stop."""

    reason: str


Score = float | None | Failed
Scorer = Callable[..., list[Score]]


class per_row:
    """A callable(completions, **columns) -> a score for each: None where it does not apply to a row, Failed where it broke.

    score: gets one completion's text and the values of `columns` of its row, then of what is `given` beside the row's own
    columns: `prompts` (what was asked) or `completion_ids` (lists of token numbers). completions: strings, or lists of
    messages of which the last one's content is scored, if it is an answer. Raises Problem when a column is missing.
    """

    def __init__(self, score: Callable[..., float | None], *columns: str, given: tuple[str, ...] = ()):
        self.score, self.columns, self.given = score, columns, given
        self.__name__ = score.__name__

    def __call__(self, completions: list[Any], **columns: Any) -> list[Score]:
        texts = [text_of(completion) for completion in completions]
        return [one_score(self.score, row) for row in zip(texts, *self.values(columns), strict=True)]

    def values(self, columns: dict[str, Any]) -> list[list[Any]]:
        missing = next((name for name in self.columns if name not in columns), None)
        if missing is not None:
            raise Problem(f"The reward “{self.__name__}” needs the column “{missing}”.",
                          advice="Choose another column in the reward, or map one to this name.", reason="wrong_column")  # fmt: skip
        return [columns[name] for name in (*self.columns, *self.given)]


def one_score(score: Callable[..., float | None], row: tuple[Any, ...]) -> Score:
    try:
        return score(*row)
    except Problem:
        raise
    except Unreachable as error:  # a border: somebody else's machine
        return Failed(str(error))
    except Exception as error:  # a border: a stranger's text in a stranger's column, or a person's own code
        return Failed(f"{type(error).__name__}: {shorten(str(error), 200)}" if str(error) else type(error).__name__)


def text_of(completion: Any) -> str:
    """The text of a completion in either of TRL's shapes; empty for a turn that says nothing, calls a tool, or is a tool's."""
    if isinstance(completion, str):
        return completion
    last = (completion or [{}])[-1]
    return "" if last.get("role") == "tool" or last.get("tool_calls") else str(last.get("content") or "")


def make(reward: Reward, device: str = "cpu") -> Scorer:
    """The scorer of a resolved reward, named as its curve is: TRL labels by `__name__`. Slow ones work in processes of their own.
    device: where one that asks a model puts it."""
    module = registry.load("rewards", reward.name)
    scorer = module.make(module.Params.model_validate(reward.params))
    if is_slow(module):
        from app.engine.reward_runtime.pool import pooled

        scorer = pooled(reward, scorer)
    scorer.__name__ = reward.label
    if hasattr(scorer, "device"):
        scorer.device = device
    return scorer


def is_slow(module: ModuleType) -> bool:
    """It may take long for one answer (SLOW), runs code (RUNS_CODE), or asks somebody over the network (CALLS_OUT)."""
    return any(getattr(module, flag, False) for flag in ("SLOW", "RUNS_CODE", "CALLS_OUT"))


def columns_of(reward: Reward) -> tuple[str, ...]:
    """The columns a reward reads."""
    module = registry.load("rewards", reward.name)
    return module.make(module.Params.model_validate(reward.params)).columns
