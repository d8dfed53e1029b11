"""Naming: what each number of a run is called, in words for a visitor."""

from __future__ import annotations

from functools import cache
from typing import Any

from app.core import registry

COMMON_LABELS = {"train/loss": "training", "eval/loss": "held-out", "reward/mean": "reward in total", "train/learning_rate": "learning rate",
         "train/grad_norm": "gradient norm", "system/tokens_per_second": "tokens per second", "system/memory": "the run",
         "system/gpu_memory": "graphics card"}  # fmt: skip


@cache
def method_metrics() -> frozenset[str]:
    """Every metric that some method tells beside what all tell."""
    methods = (registry.load_module("methods", name) for name in registry.names("methods"))
    return frozenset(ours for method in methods for ours, _ in getattr(method, "CURVES", {}).values())


def labels_by_metric(spec: dict[str, Any]) -> dict[str, str]:
    """Each metric in words: `eval/correct` is “held-out: exactly the right answer”."""
    labels = COMMON_LABELS | dict(_declared_by_method(spec, "CURVES").values())
    labels |= {f"eval/{name}": f"held-out: {label}" for name, label in eval_labels(spec).items()}
    return labels | {f"reward/{label}/mean": words for label, words in reward_labels(spec).items()}


def eval_labels(spec: dict[str, Any]) -> dict[str, str]:
    """What held-out tests measure beside the loss, in words: the method's own measures and the rewards."""
    return _declared_by_method(spec, "MEASURES") | reward_labels(spec)


def reward_labels(spec: dict[str, Any]) -> dict[str, str]:
    """{label: words}; two of one kind are told apart by their labels."""
    titles = {reward.get("as") or reward["name"]: reward_title(reward["name"]) for reward in spec.get("rewards", [])}
    unique_titles = [title for title in titles.values() if [*titles.values()].count(title) == 1]
    return {
        label: title if title in unique_titles and title else label.replace("_", " ") for label, title in titles.items()
    }


def reward_title(name: str) -> str:
    title = registry.load_module("rewards", name).TITLE if name in registry.names("rewards") else ""
    return title[:1].lower() + title[1:]


def _declared_by_method(spec: dict[str, Any], attribute: str) -> dict[str, Any]:
    """What the setup's method says of its own numbers; of a method that is not here, nothing."""
    name = spec.get("method", "")
    return (
        dict(getattr(registry.load_module("methods", name), attribute, {})) if name in registry.names("methods") else {}
    )
