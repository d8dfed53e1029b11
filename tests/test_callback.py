"""Event order of a run: the first training step is logged early, and the first evaluation is still of the untrained model."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.history.summary import eval_metrics
from app.runs import events
from app.runs.events import EvalEvent, EventT, SampleEvent, StepEvent
from app.runs.store import Run
from app.worker.client import WorkerClient
from tests.support import build_spec, conversation_rows, metrics_by_step, train, write_rows

pytestmark = pytest.mark.slow

KNOBS = {"steps": 6, "batch_size": 8, "learning_rate": 0.01, "eval_answers": 4, "eval_length": 24}
PROMPTS = ["Are you sure?", "Hello"]


def train_with_adapter(folder: Path, kind: str, **knobs: float) -> Run:
    source = write_rows(folder / "rows.jsonl", conversation_rows(64))
    return train(build_spec("sft", source, KNOBS | knobs, adapter={"kind": kind, "r": 8, "alpha": 16}, prompts=PROMPTS,
                         holdout={"share": 0.1}, rewards=[{"name": "exact_match"}]))  # fmt: skip


def logged_event_steps(run: Run) -> list[tuple[type, int]]:
    event_types = (StepEvent, EvalEvent, SampleEvent)
    return [(type(event), event.step) for event in events.read_events(run.events) if isinstance(event, event_types)]


def first_event(run: Run, event_class: type[EventT]) -> EventT:
    return events.of_type(events.read_events(run.events), event_class)[0]


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_with_an_adapter_step_1_is_logged_before_the_evaluation_of_the_untrained_model(
    kind: str, tmp_path: Path
) -> None:
    """A step at this rate changes the likelihood of every answer; the evaluation logged after it must not show that change."""
    run = train_with_adapter(tmp_path, kind)
    assert logged_event_steps(run)[:4] == [(StepEvent, 1), (EvalEvent, 0), (SampleEvent, 0), (StepEvent, 2)]
    untrained_run = train_with_adapter(tmp_path, kind, learning_rate=1e-7)  # its weights hardly change
    untrained_metrics = eval_metrics(events.read_events(untrained_run.events))[-1]
    assert eval_metrics(events.read_events(run.events))[0] == pytest.approx(untrained_metrics, rel=1e-4)
    completions = [row["completion"] for row in first_event(run, SampleEvent).rows[: len(PROMPTS)]]
    with WorkerClient() as worker:  # a worker that uses the home of this test
        assert completions == worker.generate(run.id, PROMPTS, with_base_model=True, max_new_tokens=24)["base"]


@pytest.mark.full
def test_with_full_fine_tuning_the_evaluation_comes_before_step_1(tmp_path: Path) -> None:
    run = train_with_adapter(tmp_path, "none", learning_rate=0.001)
    assert logged_event_steps(run)[:3] == [(EvalEvent, 0), (SampleEvent, 0), (StepEvent, 1)]
    assert sorted(metrics_by_step(run)) == [1, 2, 3, 4, 5, 6]
