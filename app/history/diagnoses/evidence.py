"""Evidence: what is known of a run for its diagnoses, read from the metrics of its events and from its setup."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from app.contracts import Remedy
from app.core import registry
from app.core.problems import Problem
from app.engine.contracts import AnyMethod, load_method
from app.history.series import Series, series_by_metric
from app.runs.events import (
    COMPLETED,
    DoneEvent,
    Event,
    FailedEvent,
    ResumedEvent,
    StepEvent,
    last_of_type,
    saved_result_step,
)
from app.setup.models import count_parameters
from app.setup.spec import Spec

_SIGNIFICANT = 2.0  # standard errors
_IMPROVED_SHARE = 0.05  # of a loss: it fell noticeably
_LITTLE_GAIN = 0.002  # nats a token that an answer's own question is worth
_UNKNOWN_ROWS = 32  # held-out rows of a run that did not tell how many it evaluated


@dataclass(frozen=True)
class Diagnosis:
    """What went wrong in a run, or should be looked at. title: in a few words, after “Finished, but”. text: what happened.
    advice: what helps, both whole sentences. remedy: the change of the setup that helps, where one is enough."""

    id: str
    title: str
    severity: Literal["careful", "wrong"]
    text: str
    advice: str
    remedy: Remedy | None = None

    @property
    def sentences(self) -> str:
        """What happened and what helps."""
        return f"{self.text} {self.advice}".strip()


@dataclass(frozen=True)
class Evidence:
    """A run so far. series: its metrics by name; a downsampled series keeps its spikes. step, of: steps made, and steps in
    all, with those by which it was extended. epoch: passes over the rows so far; None where that is not known. is_over: it came to its end, and was not stopped. failure: how its last attempt ended, if it failed. result_step:
    of the checkpoint that its result is; None before there is one, and where that is not known."""

    spec: Spec
    series: Mapping[str, Series] = field(default_factory=dict)
    step: int = 0
    of: int = 0
    epoch: float | None = None
    is_over: bool = False
    failure: FailedEvent | None = None
    result_step: int | None = None

    def of_result(self) -> Evidence:
        """The evidence of the result: evaluations after its checkpoint say nothing of it, and where it improved, neither do
        the steps after it."""
        if self.result_step is None or not self.is_over or self.result_step >= self.step:
            return self
        cut = {name: series.until(self.result_step) for name, series in self.series.items()}
        evaluated = replace(self, series={name: cut[name] if s.is_eval else s for name, s in self.series.items()})
        return replace(self, series=cut) if evaluated.has_improved else evaluated

    # -- the setup ----------------------------------------------------------------------------------------------------

    @cached_property
    def method(self) -> AnyMethod | None:
        """The setup's method; None when this version has no such method."""
        return load_method(self.spec.method) if self.spec.method in registry.names("methods") else None

    @cached_property
    def usual_rate(self) -> float | None:
        """The learning rate that this method takes for a model of this size by itself; None where that is not known."""
        if self.method is None:
            return None
        try:
            parameters = count_parameters(self.spec.model)
        except Problem:  # boundary: the model may be gone since
            return None
        return self.method.defaults(self.spec.adapter.kind, parameters).get("learning_rate")

    @property
    def rate(self) -> float:
        """The learning rate of the setup; 0 when it is not filled in."""
        rate = self.spec.knobs.get("learning_rate")
        return float(rate) if isinstance(rate, int | float) else 0.0

    @property
    def needs_rewards(self) -> bool:
        """Whether it learns from the rewards of its own answers."""
        return self.method is not None and self.method.needs_rewards

    @property
    def lower_rate(self) -> float:
        """A lower rate to try: the usual one where this run's is well above it, else a third."""
        is_above = self.usual_rate is not None and self.usual_rate < self.rate / 2
        return self.usual_rate if is_above and self.usual_rate else self.rate / 3

    @property
    def loss_tells(self) -> bool:
        """Whether the training loss falls where the model learns: not where it learns from rewards or from how its own
        attempts compare, whose loss is around 0 and may be negative."""
        if self.method is None or self.needs_rewards or min(self.values("train/loss"), default=0.0) < 0:
            return False
        return "eval/loss" in self.series or self.method.measure is None

    @property
    def imitates(self) -> bool:
        """Whether it learns the words of the answers that it is shown."""
        return self.method is not None and self.method.family == "imitate" and not self.method.needs_rewards

    # -- what became of it --------------------------------------------------------------------------------------------

    @property
    def score_names(self) -> list[str]:
        """The held-out measures beside the loss: higher is better."""
        return [name for name in self.series if name.startswith("eval/") and name != "eval/loss"]

    @property
    def ignores_questions(self) -> bool:
        """Whether held-out answers are, beyond chance, no likelier after their own question than after another one."""
        gains, errors = self.values("probe/question_gain"), self.values("probe/question_gain_error")
        return len(gains) > 1 and gains[-1] <= max(_SIGNIFICANT * errors[-1], _LITTLE_GAIN)

    @property
    def was_measured(self) -> bool:
        """Whether two evaluations, or enough steps, say what became of it."""
        is_evaluated = any(self.ends(name) for name in [*self.score_names, "eval/loss"])
        return is_evaluated or bool(self.trend("reward/mean" if self.needs_rewards else "train/loss"))

    def chance_error(self, first: float, last: float) -> float:
        """The standard error of the difference of two shares of the held-out rows, by chance alone."""
        if not 0 <= min(first, last) <= max(first, last) <= 1:  # no share, so its spread is not known
            return _IMPROVED_SHARE * max(abs(first), abs(last)) / _SIGNIFICANT
        rows = max(self.values("probe/held_out_rows") or [_UNKNOWN_ROWS])
        return math.sqrt(max(first * (1 - first) + last * (1 - last), 0.25 / rows) / rows)

    @cached_property
    def has_improved(self) -> bool:
        """Whether a held-out score rose, or the held-out loss fell, by more than chance; without held-out rows, whether
        the loss fell or the reward rose."""
        scores = [ends for name in self.score_names if (ends := self.ends(name))]
        loss = self.ends("eval/loss")
        if scores or loss:
            return self.loss_fell_held_out or any(
                last - first > _SIGNIFICANT * self.chance_error(first, last) for first, last in scores
            )
        name, sign = ("reward/mean", 1) if self.needs_rewards else ("train/loss", -1)
        trend = self.trend(name)
        return trend is not None and sign * (trend[1] - trend[0]) > _IMPROVED_SHARE * abs(trend[0])

    @property
    def loss_fell_held_out(self) -> bool:
        """Whether the held-out loss fell noticeably."""
        loss = self.ends("eval/loss")
        return loss is not None and loss[1] < (1 - _IMPROVED_SHARE) * loss[0]

    # -- the metrics --------------------------------------------------------------------------------------------------

    def values(self, name: str) -> list[float]:
        """The finite values of a metric, in order."""
        return [value for value in self.series[name].values if value is not None] if name in self.series else []

    def ends(self, name: str) -> tuple[float, float] | None:
        """(first, last) value of a metric that evaluations measure; None with fewer than two."""
        values = self.values(name)
        return (values[0], values[-1]) if len(values) > 1 else None

    def trend(self, name: str) -> tuple[float, float] | None:
        """(mean of the first, of the last fifth) of a metric of steps; None with fewer than five."""
        values = self.values(name)
        part = len(values) // 5
        return (statistics.fmean(values[:part]), statistics.fmean(values[-part:])) if part else None

    def latest_mean(self, name: str, share: float = 0.5) -> float | None:
        """Mean over the last share of a metric's values; None without any."""
        values = self.values(name)
        return statistics.fmean(values[-max(1, round(share * len(values))) :]) if values else None


def evidence_from_events(
    run_events: Sequence[Event], spec: Spec, is_over: bool = False, result_step: int | None = None
) -> Evidence:
    """The evidence in the current events of a run, as `drop_rewound` gives them. is_over: the run has reached its end; the
    engine passes it before it writes its DoneEvent. result_step: where it was chosen after the run."""
    last_step = last_of_type(run_events, StepEvent)
    of_attempt = DoneEvent | FailedEvent | ResumedEvent | StepEvent  # a later step or attempt: it goes on
    ending = next((event for event in reversed(run_events) if isinstance(event, of_attempt)), None)
    return Evidence(
        spec,
        series_by_metric(run_events),
        step=last_step.step if last_step else 0,
        of=last_step.of if last_step else 0,
        epoch=last_step.epoch if last_step else None,
        is_over=is_over or (isinstance(ending, DoneEvent) and ending.why in COMPLETED),
        failure=ending if isinstance(ending, FailedEvent) else None,
        result_step=saved_result_step(run_events) if result_step is None else result_step,
    )


def rate_remedy(run: Evidence, rate: float) -> Remedy | None:
    """The button that sets another learning rate; None for a run without one."""
    rounded = float(f"{rate:.1g}")
    return {"title": f"Learning rate {rounded:g}", "changes": {"knobs.learning_rate": rounded}} if run.rate else None
