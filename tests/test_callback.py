"""The story: the first point comes early, and the test before training is still one of the untrained model."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.runs import events
from app.runs.events import EvalEvent, EventT, SampleEvent, StepEvent
from app.runs.store import Run
from app.worker.client import WorkerClient
from tests.support import chats, spec_of, steps_of, train, write_rows

pytestmark = pytest.mark.slow

KNOBS = {"steps": 6, "batch_size": 8, "learning_rate": 0.01, "eval_answers": 4, "eval_length": 24}
PROMPTS = ["Are you sure?", "Hello"]


def trained(folder: Path, kind: str, **knobs: float) -> Run:
    source = write_rows(folder / "rows.jsonl", chats(64))
    return train(spec_of("sft", source, KNOBS | knobs, adapter={"kind": kind, "r": 8, "alpha": 16}, prompts=PROMPTS,
                         holdout={"share": 0.1}, rewards=[{"name": "exact_match"}]))  # fmt: skip


def told(run: Run) -> list[tuple[type, int]]:
    shown = (StepEvent, EvalEvent, SampleEvent)
    return [(type(e), e.step) for e in events.read_events(run.events) if isinstance(e, shown)]


def first(run: Run, event_class: type[EventT]) -> EventT:
    return events.of_type(events.read_events(run.events), event_class)[0]


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_an_adapters_first_point_comes_before_the_test_of_the_untrained_model(kind: str, tmp_path: Path) -> None:
    """A step at this rate changes every answer's likelihood; the test told after it must not know of it."""
    run = trained(tmp_path, kind)
    assert told(run)[:4] == [(StepEvent, 1), (EvalEvent, 0), (SampleEvent, 0), (StepEvent, 2)]
    still = trained(tmp_path, kind, learning_rate=1e-7)  # hardly moves: its last test is one of the untrained model
    last = events.of_type(events.read_events(still.events), EvalEvent)[-1]
    assert first(run, EvalEvent).metrics == pytest.approx(last.metrics, rel=1e-4)
    said = [row["completion"] for row in first(run, SampleEvent).rows[: len(PROMPTS)]]
    with WorkerClient() as worker:  # one of this home
        assert said == worker.generate(run.id, PROMPTS, with_base_model=True, max_new_tokens=24)["base"]


def test_of_all_weights_no_copy_is_kept_and_the_test_comes_first(tmp_path: Path) -> None:
    run = trained(tmp_path, "none", learning_rate=0.001)
    assert told(run)[:3] == [("eval", 0), ("sample", 0), ("step", 1)]
    assert sorted(steps_of(run)) == [1, 2, 3, 4, 5, 6]
