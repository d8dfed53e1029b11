"""Scores of a run's evaluations: which step is the best so far, and whether the run still improves.

transformers has `load_best_model_at_end`, `metric_for_best_model` and EarlyStoppingCallback for this, and our settings
accept their names. They do not fit what an evaluation is here: they read the metrics of `Trainer.evaluate`, which has
no rewards of completions and no measures of a method, and which methods without a held-out loss never call. They also
load the best weights into memory at the end, while the result of a run can still be changed long after it. Patience
means what theirs does: it counts evaluations, and only more than the best so far is an improvement. Of equal scores the
later is the best, not the earlier: a reward that is soon at its maximum says nothing against what was learned since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from app.history.summary import deciding_metric, eval_score
from app.runs.events import EvalEvent


class EvalScores:
    """The scores of one run by step, higher is better. The model before training, step 0, is one to improve on, but no
    result."""

    def __init__(self, preferred_metric: str = "", earlier: Iterable[EvalEvent] = ()):
        """preferred_metric: as in `deciding_metric`. earlier: evaluations of the attempts before, which still count."""
        self.preferred_metric = preferred_metric
        self.metric: str | None = None  # that decides, without `eval/`; None before the first score
        self.by_step: dict[int, float] = {}
        for event in earlier:
            self.add(event.step, event.metrics)

    def add(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Adds an evaluation; one without the metric that decided the first has no score."""
        metric_name = self.preferred_metric or self.metric or ""
        score, metric = eval_score(metrics, metric_name), deciding_metric(metrics, metric_name)
        if score is not None and metric is not None:
            self.by_step[step], self.metric = score, metric.removeprefix("eval/")

    def is_best(self, step: int) -> bool:
        """Whether this step has a score, and no trained step before it a higher one."""
        earlier_scores = [score for earlier_step, score in self.by_step.items() if 0 < earlier_step < step]
        return step > 0 and step in self.by_step and all(self.by_step[step] >= score for score in earlier_scores)

    def tests_without_improvement(self, steps: Iterable[int]) -> int:
        """How many of the evaluations at these steps came since the best of them. steps: in order; those without a score
        are left out."""
        best, count = None, 0
        for score in (self.by_step[step] for step in steps if step in self.by_step):
            if best is None or score > best:
                best, count = score, 0
            else:
                count += 1
        return count

    def value(self, step: int) -> float | None:
        """The deciding metric at a step, as it was measured."""
        score = self.by_step.get(step)
        return -score if score is not None and self.metric == "loss" else score
