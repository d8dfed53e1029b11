"""Compare: `python -m app.engine.evaluation.compare_stages JOURNEY` asks what every stage made the same held-out prompts, and writes one table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from app.core import registry
from app.data import rows
from app.engine.device_queue import turn
from app.engine.libraries import prepare_libraries
from app.engine.model.device import Device, choose, hide_others
from app.pipelines.pipeline import Chain, placed
from app.pipelines.pipeline_run import Journey
from app.pipelines.prompts import prompts, scoring
from app.runs import store
from app.setup import models
from app.setup.spec import Reward, Spec

START = "start"  # the row of the model that the first stage begins with


def main() -> int:
    journey = Journey(Path(sys.argv[1]).resolve())
    device = choose("local")
    with turn(device, f"compare-{journey.id}", lambda ahead: None, lambda: None):
        hide_others(device)
        prepare_libraries()
        store.write_json(journey.path / "compared.json", table(journey, Device(device)))
    return 0


def table(journey: Journey, device: Device) -> dict[str, Any]:
    """{"rewards", "prompts", "rows": [{"stage", "scores", "by"}]}: the model before, then each stage whose model writes."""
    told, begun = journey.chain, journey.stages
    rewards = placed([one.model_dump(by_alias=True) for one in told.measure.rewards], begun)
    spec = scoring([Reward.model_validate(one) for one in rewards], told.measure.source)
    asked = prompts(told.measure.source, told.measure.prompts)
    writing = [stage.name for stage in told.runs if writes(begun[stage.name])]
    folders = {START: base(begun[told.runs[0].name])} | {
        name: str(store.exact(begun[name]).adapter) for name in writing
    }
    return {"rewards": [one.label for one in spec.rewards], "prompts": len(asked),
            "rows": [{"stage": name} | measured(folder, spec, asked, told, device) for name, folder in folders.items()]}  # fmt: skip


def writes(run: str) -> bool:
    return getattr(registry.load("methods", store.exact(run).spec.method), "MODEL", "causal") == "causal"


def base(run: str) -> str:
    model = store.exact(run).spec.model
    return models.start_folder(model.start_from) if model.start_from else models.locate(model.id)


def measured(folder: str, spec: Spec, asked: list[rows.Row], told: Chain, device: Device) -> dict[str, Any]:
    """{"scores": {reward: mean}, "by": {category: {reward: mean}}}"""
    from app.engine.generation.generate import mean, scores
    from app.engine.model.load_model import load_to_ask

    model, tokenizer = load_to_ask(folder, device)
    means, shown = scores(spec, model, tokenizer, asked, told.measure.longest)
    groups: dict[str, list[dict[str, float | None]]] = {}
    for row, one in zip(asked, shown, strict=True):
        groups.setdefault(str(row.get(told.measure.category)), []).append(one["rewards"])
    by = {
        name: {label: mean([one[label] for one in group]) for label in means} for name, group in sorted(groups.items())
    }
    return {"scores": means, "by": by if told.measure.category else {}}


if __name__ == "__main__":
    sys.exit(main())
