"""Reward functions that score completions row by row, for TRL, held-out evaluation and the dry run alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.core.problems import Problem, shorten
from app.data.conversations.messages import last_message_text
from app.data.fields import Cell
from app.engine.reward_runtime.http_client import Unreachable

if TYPE_CHECKING:
    from app.engine.contracts import Completion


@dataclass(frozen=True)
class FailedScore:
    """In place of a score: scoring this answer failed. reason: a phrase without a full stop."""

    reason: str


Score = float | None | FailedScore


class PerRowReward:
    """A reward function (completions, **columns) -> scores: None where it does not apply, FailedScore on failure.

    score: gets one completion's text and the row's values of `columns`, then of `trainer_columns`, which TRL passes
    beside the dataset's columns: `prompts` or `completion_ids` (token ids). completions: strings, or lists of messages,
    of which the last one's content is scored if it is an answer. Raises Problem when a column is missing.
    """

    def __init__(self, score: Callable[..., float | None], *columns: str, trainer_columns: tuple[str, ...] = ()):
        self.score, self.columns, self.trainer_columns = score, columns, trainer_columns
        self.__name__ = score.__name__

    def __call__(self, completions: list[Completion], **columns: list[Cell]) -> list[Score]:
        texts = [final_answer_text(completion) for completion in completions]
        return [_score_row(self.score, row) for row in zip(texts, *self.column_values(columns), strict=True)]

    def column_values(self, columns: dict[str, list[Cell]]) -> list[list[Cell]]:
        """The columns that `score` gets, one list for each. Raises Problem when one is missing."""
        missing = next((name for name in self.columns if name not in columns), None)
        if missing is not None:
            raise Problem(
                f"The reward “{self.__name__}” needs the column “{missing}”.",
                advice="Choose another column in the reward, or map one to this name.",
                reason="wrong_column",
            )
        return [columns[name] for name in (*self.columns, *self.trainer_columns)]


def _score_row(score: Callable[..., float | None], row: tuple[Cell, ...]) -> Score:
    try:
        return score(*row)
    except Problem:
        raise
    except Unreachable as error:  # somebody else's machine
        return FailedScore(str(error))
    except Exception as error:  # a model's text, any dataset column, or a person's own code
        return FailedScore(
            f"{type(error).__name__}: {shorten(str(error), 200)}" if str(error) else type(error).__name__
        )


def final_answer_text(completion: Completion) -> str:
    """The completion's final text; empty when its last message has no text, calls a tool, or is a tool's."""
    if not isinstance(completion, str) and completion:
        last_message = completion[-1]
        if last_message.get("role") == "tool" or last_message.get("tool_calls"):
            return ""
    return last_message_text(completion)
