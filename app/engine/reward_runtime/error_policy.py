"""Guard: stands around a reward, so that one answer it cannot score does not stop a run, and many do.

What failed is counted, shown as a curve, told once, and left out of its group; where most fails, going on would teach nothing.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from app.core.problems import Problem
from app.engine.reward_runtime.reward import Failed, Score, Scorer

MOST_FAILED = 0.5  # of the latest answers: beyond this the run stops
LATEST = 64  # answers that this is judged by
SURELY = 16  # so many are enough where every one failed

Tell = Callable[[str], None]


class Guard:
    """A scorer as TRL calls it. failed: for each answer of the latest call, whether it could not be scored though it should have been.
    stops: where most fails, it raises Problem; a test or a trial goes on and shows what there is."""

    def __init__(self, scorer: Scorer, label: str, tell: Tell | None = None, stops: bool = True):
        self.scorer, self.tell, self.stops, self.__name__ = scorer, tell, stops, label
        self.columns = scorer.columns
        self.failed: list[bool] = []
        self.latest: deque[bool] = deque(maxlen=LATEST)
        self.reasons: Counter[str] = Counter()

    def __call__(self, completions: list[Any], **columns: Any) -> list[float | None]:
        log = columns.pop("log_metric", None)
        told = [sound(one) for one in self.scorer(completions=completions, **columns)]
        if len(told) != len(completions):
            raise Problem(f"The reward “{self.__name__}” gave {len(told)} scores for {len(completions)} answers.",
                          advice="Make it give one score for each answer.", reason="reward_failed")  # fmt: skip
        self.failed = [isinstance(one, Failed) for one in told]
        if log and told:
            log(f"reward/{self.__name__}/failed", sum(self.failed) / len(told))
        self.note([one.reason for one in told if isinstance(one, Failed)])
        if self.stops:
            self.require_enough()
        return [None if isinstance(one, Failed) else one for one in told]

    def note(self, reasons: list[str]) -> None:
        """Each reason is told when it first comes up."""
        fresh = dict.fromkeys(reason for reason in reasons if reason not in self.reasons)
        self.reasons.update(reasons)
        for reason in fresh:
            if self.tell:
                self.tell(
                    f"The reward “{self.__name__}” could not score an answer ({reason}). Such answers are left out and counted."
                )

    def require_enough(self) -> None:
        """Raises Problem when more than MOST_FAILED of LATEST answers failed, or all of the first SURELY."""
        self.latest.extend(self.failed)
        failed, looked = sum(self.latest), len(self.latest)
        if (looked == LATEST and failed > MOST_FAILED * LATEST) or failed == looked >= SURELY:
            reason, _ = self.reasons.most_common(1)[0]
            raise Problem(f"The reward “{self.__name__}” failed on {failed} of the last {looked} answers ({reason}).",
                          advice="Mend what it needs, then resume from the last checkpoint.", reason="reward_failed")  # fmt: skip


def sound(score: Any) -> Score:
    """A number, None, or Failed: what is no finite number was no score."""
    if score is None or isinstance(score, Failed):
        return score
    if isinstance(score, int | float) and math.isfinite(score):
        return float(score)
    return Failed("it gave no finite number")
