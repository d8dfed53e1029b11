"""Labels of metrics: the words that the page shows for each metric of a run."""

from __future__ import annotations

from functools import cache
from typing import Any

from app.core import registry

COMMON_LABELS = {
    "train/loss": "training",
    "eval/loss": "held-out",
    "reward/mean": "reward in total",
    "train/learning_rate": "learning rate",
    "train/grad_norm": "gradient norm",
    "system/tokens_per_second": "tokens per second",
    "system/memory": "the run",
    "system/gpu_memory": "graphics card",
}


@cache
def method_metrics() -> frozenset[str]:
    """All metrics that single methods log in addition to the common ones."""
    methods = (registry.load_module("methods", name) for name in registry.names("methods"))
    return frozenset(metric for method in methods for metric, _ in getattr(method, "CURVES", {}).values())


def labels_by_metric(spec: dict[str, Any]) -> dict[str, str]:
    """{metric: label} of a spec given as plain data: `eval/correct` is “held-out: exactly the right answer”."""
    labels = COMMON_LABELS | dict(_declared_by_method(spec, "CURVES").values())
    labels |= {f"eval/{name}": f"held-out: {label}" for name, label in eval_labels(spec).items()}
    return labels | {f"reward/{label}/mean": reward_label for label, reward_label in reward_labels(spec).items()}


def eval_labels(spec: dict[str, Any]) -> dict[str, str]:
    """{name: label} of what evaluations measure besides the loss: the method's own measures and the rewards."""
    return _declared_by_method(spec, "MEASURES") | reward_labels(spec)


def reward_labels(spec: dict[str, Any]) -> dict[str, str]:
    """{name in the spec: label}: the title of each reward, or its name where two rewards have the same title."""
    titles = {reward.get("as") or reward["name"]: reward_title(reward["name"]) for reward in spec.get("rewards", [])}
    unique_titles = [title for title in titles.values() if [*titles.values()].count(title) == 1]
    return {
        label: title if title in unique_titles and title else label.replace("_", " ") for label, title in titles.items()
    }


def reward_title(name: str) -> str:
    """The reward's title with a small first letter; empty when this version has no such reward."""
    title = registry.load_module("rewards", name).TITLE if name in registry.names("rewards") else ""
    return title[:1].lower() + title[1:]


def _declared_by_method(spec: dict[str, Any], attribute: str) -> dict[str, Any]:
    """A dictionary that the spec's method declares; empty when this version has no such method."""
    method_name = spec.get("method", "")
    if method_name not in registry.names("methods"):
        return {}
    return dict(getattr(registry.load_module("methods", method_name), attribute, {}))
