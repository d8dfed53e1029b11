"""Names of metrics by the rows that were evaluated: `eval/loss` of the held-out rows, `eval/NAME/loss` of a set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from app.setup.sources import HELD_OUT_SET

_PREFIX = "eval/"
_ValueT = TypeVar("_ValueT")


class EvalMetric(NamedTuple):
    """set: HELD_OUT_SET, or the name of an evaluation set. measure: such as loss."""

    set: str
    measure: str


def metric_name(set_name: str, measure: str) -> str:
    """The name of a measure in events."""
    return _PREFIX + measure if set_name == HELD_OUT_SET else f"{_PREFIX}{set_name}/{measure}"


def parse_metric(name: str) -> EvalMetric | None:
    """What a metric measures on which rows; None for one that no evaluation measures."""
    if not name.startswith(_PREFIX):
        return None
    set_name, _, measure = name.removeprefix(_PREFIX).rpartition("/")
    return EvalMetric(set_name or HELD_OUT_SET, measure)


def set_names(names: Iterable[str]) -> list[str]:
    """The evaluated sets that these metrics are of, the held-out rows among them, in order."""
    return list(dict.fromkeys(metric.set for name in names if (metric := parse_metric(name))))


def deciding_set(names: Iterable[str]) -> str:
    """Whose metrics say which checkpoint is the best, and what a run learned: the held-out rows, and where a run has none,
    its first set."""
    evaluated = set_names(names)
    return HELD_OUT_SET if HELD_OUT_SET in evaluated or not evaluated else evaluated[0]


def metrics_of_set(metrics: Mapping[str, _ValueT], set_name: str) -> dict[str, _ValueT]:
    """The metrics of one set, under the names that those of the held-out rows have."""
    return {
        metric_name(HELD_OUT_SET, metric.measure): value
        for name, value in metrics.items()
        if (metric := parse_metric(name)) and metric.set == set_name
    }


def count_deciding_rows(facts: Mapping[str, Any]) -> int:
    """How many rows the deciding set of a run has, by its facts.json; 0 where that is not known."""
    data = facts.get("data") or {}
    return data.get("held_out") or next(iter(data.get("eval_sets", {}).values()), 0)
