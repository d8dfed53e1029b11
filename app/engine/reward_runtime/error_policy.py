"""Error policy of rewards: single answers that cannot be scored are tolerated, many of them stop the run.

Failed answers are counted, shown as a curve, reported once for each reason, and left out of their group. When most
answers fail, going on would teach nothing.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable

from app.core.problems import Problem
from app.data.fields import Cell
from app.engine.contracts import Completion, RewardFunction
from app.engine.reward_runtime.reward import FailedScore, Score

_MAX_FAILED_SHARE = 0.5  # of the last WINDOW answers; above it the run stops
WINDOW = 64  # latest answers that the share is computed over
MIN_CERTAIN_FAILURES = 16  # this many suffice when all have failed

Warn = Callable[[str], None]


class RewardErrorPolicy:
    """A reward function in TRL's signature around another one.

    failed: for each answer of the latest call, whether scoring failed.

    stops_run: raise Problem when most answers fail; an evaluation or a dry run goes on and shows what there is.
    """

    def __init__(self, reward_function: RewardFunction, label: str, warn: Warn | None = None, stops_run: bool = True):
        self.reward_function, self.warn, self.stops_run, self.__name__ = reward_function, warn, stops_run, label
        self.columns = reward_function.columns
        self.failed: list[bool] = []
        self.recent_failures: deque[bool] = deque(maxlen=WINDOW)
        self.reasons: Counter[str] = Counter()

    def __call__(
        self,
        completions: list[Completion],
        log_metric: Callable[[str, float], None] | None = None,
        **columns: list[Cell],
    ) -> list[float | None]:
        scores = [validate_score(score) for score in self.reward_function(completions=completions, **columns)]
        if len(scores) != len(completions):
            raise Problem(
                f"The reward “{self.__name__}” gave {len(scores)} scores for {len(completions)} answers.",
                advice="Make it give one score for each answer.",
                reason="reward_failed",
            )
        self.failed = [isinstance(score, FailedScore) for score in scores]
        if log_metric and scores:
            log_metric(f"reward/{self.__name__}/failed", sum(self.failed) / len(scores))
        self._record_reasons([score.reason for score in scores if isinstance(score, FailedScore)])
        if self.stops_run:
            self._require_enough_scores()
        return [None if isinstance(score, FailedScore) else score for score in scores]

    def _record_reasons(self, reasons: list[str]) -> None:
        """Warns of each reason when it first occurs."""
        new_reasons = dict.fromkeys(reason for reason in reasons if reason not in self.reasons)
        self.reasons.update(reasons)
        for reason in new_reasons:
            if self.warn:
                self.warn(
                    f"The reward “{self.__name__}” could not score an answer ({reason}). Such answers are left out and counted."
                )

    def _require_enough_scores(self) -> None:
        """Raises Problem when most of the last WINDOW answers failed, or all of the first MIN_CERTAIN_FAILURES."""
        self.recent_failures.extend(self.failed)
        failed_count, scored_count = sum(self.recent_failures), len(self.recent_failures)
        if (
            scored_count == WINDOW and failed_count > _MAX_FAILED_SHARE * WINDOW
        ) or failed_count == scored_count >= MIN_CERTAIN_FAILURES:
            reason, _ = self.reasons.most_common(1)[0]
            raise Problem(
                f"The reward “{self.__name__}” failed on {failed_count} of the last {scored_count} answers ({reason}).",
                advice="Mend what it needs, then resume from the last checkpoint.",
                reason="reward_failed",
            )


def validate_score(score: Score) -> Score:
    """The score as a float, None, or FailedScore; anything but a finite number becomes FailedScore."""
    if score is None or isinstance(score, FailedScore):
        return score
    if isinstance(score, int | float) and math.isfinite(score):
        return float(score)
    return FailedScore("it gave no finite number")
