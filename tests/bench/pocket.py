"""Pocket: the gain in held-out score of the practice model with the first two presets and three seeds."""

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
# preset: ((lowest, highest score before training), minimum gain)
PROMISES = {"first_tune": ((0.0, 0.1), 0.4), "first_reward": ((0.2, 0.5), 0.3)}


def spec_for(preset: str, seed: int) -> Spec:
    return presets.preset_spec(preset).model_copy(update={"seed": seed})


def scores_before_and_after(run: Run) -> tuple[float, float]:
    """Held-out scores of the first and the last evaluation of the run."""
    eval_events = events.of_type(events.read_events(run.events), events.EvalEvent)
    return eval_events[0].metrics["eval/correct"], eval_events[-1].metrics["eval/correct"]


def training_seconds(run: Run) -> float:
    """Seconds from the start of training to the last event, evaluations and saving included."""
    run_events = events.read_events(run.events)
    started_at = next(
        event.time for event in events.of_type(run_events, events.StateEvent) if event.state == "training"
    )
    return run_events[-1].time - started_at


def promise_holds(preset: str, before: float, after: float) -> bool:
    (low, high), min_gain = PROMISES[preset]
    return low <= before <= high and after - before >= min_gain


def run(folder: Path) -> list[dict[str, Any]]:
    table = []
    for preset in PROMISES:
        for seed in SEEDS:
            finished_run = train(spec_for(preset, seed))
            before, after = scores_before_and_after(finished_run)
            held_out = json.loads((finished_run.path / "facts.json").read_text())["data"]["held_out"]
            table_row = {
                "preset": preset,
                "seed": seed,
                "held-out prompts": min(held_out, finished_run.spec.knobs["eval_answers"]),
                "before": f"{before:.2f}",
            }
            table_row |= {
                "after": f"{after:.2f}",
                "gain": f"{after - before:+.2f}",
                "steps": events.last_of_type(events.read_events(finished_run.events), events.StepEvent).step,
            }
            table.append(
                table_row
                | {
                    "seconds": f"{training_seconds(finished_run):.0f}",
                    "promise": "kept" if promise_holds(preset, before, after) else "NOT kept",
                }
            )
            print(table[-1], flush=True)
            cleanup.delete_run(finished_run)
    return table
