"""Naming: what each number of a run is called, in words for a visitor."""

from __future__ import annotations

from functools import cache
from typing import Any

from app.core import registry

NAMES = {"train/loss": "training", "eval/loss": "held-out", "reward/mean": "reward in total", "train/learning_rate": "learning rate",
         "train/grad_norm": "gradient norm", "system/tokens_per_second": "tokens per second", "system/memory": "the run",
         "system/gpu_memory": "graphics card"}  # fmt: skip


@cache
def of_methods() -> frozenset[str]:
    """Every metric that some method tells beside what all tell."""
    methods = (registry.load("methods", name) for name in registry.choices("methods"))
    return frozenset(ours for method in methods for ours, _ in getattr(method, "CURVES", {}).values())


def names(spec: dict[str, Any]) -> dict[str, str]:
    """Each metric in words: `eval/correct` is “held-out: exactly the right answer”."""
    found = NAMES | dict(declared(spec, "CURVES").values())
    found |= {f"eval/{name}": f"held-out: {words}" for name, words in measures(spec).items()}
    return found | {f"reward/{label}/mean": words for label, words in rewards(spec).items()}


def measures(spec: dict[str, Any]) -> dict[str, str]:
    """What held-out tests measure beside the loss, in words: the method's own measures and the rewards."""
    return declared(spec, "MEASURES") | rewards(spec)


def rewards(spec: dict[str, Any]) -> dict[str, str]:
    """{label: words}; two of one kind are told apart by their labels."""
    titles = {one.get("as") or one["name"]: reward_title(one["name"]) for one in spec.get("rewards", [])}
    alone = [title for title in titles.values() if [*titles.values()].count(title) == 1]
    return {label: title if title in alone and title else label.replace("_", " ") for label, title in titles.items()}


def reward_title(name: str) -> str:
    title = registry.load("rewards", name).TITLE if name in registry.choices("rewards") else ""
    return title[:1].lower() + title[1:]


def declared(spec: dict[str, Any], what: str) -> dict[str, Any]:
    """What the setup's method says of its own numbers; of a method that is not here, nothing."""
    name = spec.get("method", "")
    return dict(getattr(registry.load("methods", name), what, {})) if name in registry.choices("methods") else {}
