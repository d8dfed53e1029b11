"""Labels of metrics: the words that the page shows for each metric of a run."""

from __future__ import annotations

from functools import cache

from app.core import registry
from app.core.json_types import JsonObject
from app.engine.contracts import AnyMethod, load_method, load_reward
from app.runs.eval_sets import metric_name

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
    methods = (load_method(name) for name in registry.names("methods"))
    return frozenset(metric for method in methods for metric, _ in method.curves.values())


def labels_by_metric(spec: JsonObject) -> dict[str, str]:
    """{metric: label} of a spec given as plain data: `eval/correct` is “held-out: exactly the right answer”, `eval/hard/loss`
    is “hard”, as its evaluation set."""
    labels = COMMON_LABELS | (dict(method.curves.values()) if (method := _method_of(spec)) else {})
    labels |= {f"eval/{name}": f"held-out: {label}" for name, label in eval_labels(spec).items()}
    for set_name in set_names(spec):
        labels[metric_name(set_name, "loss")] = set_name
        labels |= {metric_name(set_name, name): f"{set_name}: {label}" for name, label in eval_labels(spec).items()}
    return labels | {f"reward/{label}/mean": reward_label for label, reward_label in reward_labels(spec).items()}


def set_names(spec: JsonObject) -> list[str]:
    """The names of the evaluation sets, in the spec's order."""
    eval_sets = spec.get("eval_sets")
    named = eval_sets if isinstance(eval_sets, list) else []
    return [str(eval_set["name"]) for eval_set in named if isinstance(eval_set, dict) and "name" in eval_set]


def eval_labels(spec: JsonObject) -> dict[str, str]:
    """{name: label} of what evaluations measure besides the loss: the method's own measures and the rewards."""
    method = _method_of(spec)
    return (dict(method.eval_metrics) if method else {}) | reward_labels(spec)


def reward_labels(spec: JsonObject) -> dict[str, str]:
    """{name in the spec: label}: the title of each reward, or its name where two rewards have the same title."""
    titles = {label: reward_title(name) for label, name in _reward_names(spec)}
    unique_titles = [title for title in titles.values() if [*titles.values()].count(title) == 1]
    return {
        label: title if title in unique_titles and title else label.replace("_", " ") for label, title in titles.items()
    }


def reward_title(name: str) -> str:
    """The reward's title with a small first letter; empty when this version has no such reward."""
    title = load_reward(name).title if name in registry.names("rewards") else ""
    return title[:1].lower() + title[1:]


def _method_of(spec: JsonObject) -> AnyMethod | None:
    """The spec's method; None when this version has no such method."""
    method_name = spec.get("method")
    if not isinstance(method_name, str) or method_name not in registry.names("methods"):
        return None
    return load_method(method_name)


def _reward_names(spec: JsonObject) -> list[tuple[str, str]]:
    """(name in the spec, name of the reward) of each reward."""
    rewards = spec.get("rewards")
    if not isinstance(rewards, list):
        return []
    return [
        (str(reward.get("as") or reward["name"]), str(reward["name"])) for reward in rewards if isinstance(reward, dict)
    ]
