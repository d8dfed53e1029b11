"""Reward: scores completions, row by row; TRL, the held-out test and the page call all of them alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app import rooms
from app.problems import Problem
from app.spec import Reward

Scorer = Callable[..., list[float | None]]


class per_row:
    """A callable(completions, **columns) -> list of scores, None where a row cannot be scored.

    score: gets one completion's text and the values of `columns` of its row. completions: strings, or lists of
    messages of which the last one's content is scored. Raises Problem when a column is missing.
    """

    def __init__(self, score: Callable[..., float | None], *columns: str):
        self.score, self.columns = score, columns
        self.__name__ = score.__name__

    def __call__(self, completions: list[Any], **columns: Any) -> list[float | None]:
        missing = next((name for name in self.columns if name not in columns), None)
        if missing is not None:
            raise Problem(f"The reward “{self.__name__}” needs the column “{missing}”.",
                          advice="Choose another column in the reward, or map one to this name.", reason="wrong_column")  # fmt: skip
        texts = [text_of(completion) for completion in completions]
        return [self.score(*row) for row in zip(texts, *(columns[name] for name in self.columns), strict=True)]


def text_of(completion: Any) -> str:
    """The text of a completion in either of TRL's shapes; empty for a turn that says nothing."""
    return completion if isinstance(completion, str) else str((completion or [{}])[-1].get("content") or "")


def make(reward: Reward) -> Scorer:
    """The scorer of a resolved reward, named as its curve is: TRL labels by `__name__`."""
    module = rooms.load("rewards", reward.name)
    scorer = module.make(module.Params.model_validate(reward.params))
    scorer.__name__ = reward.label
    return scorer


def columns_of(reward: Reward) -> tuple[str, ...]:
    """The columns a reward reads."""
    return make(reward).columns
