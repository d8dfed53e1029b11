"""Pocket: what the practice model learns from the two first presets, over three seeds, on held-out prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.planning import presets
from app.runs import cleanup, events
from app.runs.store import Run
from app.setup.spec import Spec
from tests.support import train

SEEDS = (7, 8, 9)
# preset: (lowest and highest score before, least gain)
PROMISES = {"first_tune": ((0.0, 0.1), 0.4), "first_reward": ((0.2, 0.5), 0.3)}


def spec_for(preset: str, seed: int) -> Spec:
    return presets.preset_spec(preset).model_copy(update={"seed": seed})


def gain(run: Run) -> tuple[float, float]:
    """Held-out score before and after: the first and the last test of the run."""
    tests = events.of_type(events.read_events(run.events), events.EvalEvent)
    return tests[0].metrics["eval/correct"], tests[-1].metrics["eval/correct"]


def seconds(run: Run) -> float:
    """From the first step to the last, with everything that lies between."""
    story = events.read_events(run.events)
    began = next(event.time for event in events.of_type(story, events.StateEvent) if event.state == "training")
    return story[-1].time - began


def holds(preset: str, before: float, after: float) -> bool:
    (low, high), least = PROMISES[preset]
    return low <= before <= high and after - before >= least


def run(folder: Path) -> list[dict[str, Any]]:
    table = []
    for preset in PROMISES:
        for seed in SEEDS:
            done = train(spec_for(preset, seed))
            before, after = gain(done)
            held_out = json.loads((done.path / "facts.json").read_text())["data"]["held_out"]
            row = {
                "preset": preset,
                "seed": seed,
                "held-out prompts": min(held_out, done.spec.knobs["eval_answers"]),
                "before": f"{before:.2f}",
            }
            row |= {
                "after": f"{after:.2f}",
                "gain": f"{after - before:+.2f}",
                "steps": events.last_of_type(events.read_events(done.events), events.StepEvent).step,
            }
            table.append(
                row
                | {"seconds": f"{seconds(done):.0f}", "promise": "kept" if holds(preset, before, after) else "NOT kept"}
            )
            print(table[-1], flush=True)
            cleanup.delete_run(done)
    return table
