"""Rehearsal before a run: real steps on the longest rows, changes where memory runs out, and the limits of a run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.core.validation import validate
from app.core.workspace import local_workspace
from app.engine.rehearsal.steps import longest_first, text_length
from app.planning import rehearsal
from app.planning.launcher import create_launch
from app.planning.memory.changes import MemoryChange
from app.planning.presets import preset_spec
from app.planning.rehearsal import RehearsalMessage, RehearsalRequest, RehearsalResult, RehearsedSteps
from app.planning.rehearsal_findings import rehearsal_findings
from app.setup.models import locate_model
from app.setup.spec import Budget, Launch
from tests.support import build_spec, conversation_rows, write_rows

MEASURED: RehearsedSteps = {
    "steps": 20,
    "step_seconds": 0.5,
    "run_steps": 120,
    "run_seconds": 60.0,
    "peak_bytes": 900_000_000,
    "counts_freed": False,
    "first_loss": 4.4,
    "guessing_loss": 7.4,
}
FITTING: RehearsalResult = {**MEASURED, "memory": (850_000_000, 1_000_000_000), "attempts": [], "settings": {}}
MIB = 2**20


def memory_change(name: str, **settings: Any) -> MemoryChange:
    return {
        "name": name,
        "title": f"The change {name}",
        "reason": "It saves memory.",
        "effect": "same",
        "settings": {path.replace("__", "."): setting for path, setting in settings.items()},
        "saved": 1,
        "low": 1,
        "high": 2,
        "fits": "yes",
    }


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> tuple[list[list[RehearsalMessage]], list[RehearsalRequest]]:
    """(what each process will say, what each was asked)."""
    answers: list[list[RehearsalMessage]] = []
    requests: list[RehearsalRequest] = []

    def ask_process(request: RehearsalRequest, is_abandoned: object) -> Iterator[RehearsalMessage]:
        requests.append(request)
        yield from answers.pop(0)

    monkeypatch.setattr(rehearsal, "_ask_process", ask_process)
    return answers, requests


def rehearse_to_end() -> RehearsalResult:
    *_, last = rehearsal.rehearse(local_workspace(), preset_spec("first_tune"))
    assert "settings" in last
    return last


OUT_OF_MEMORY: RehearsalMessage = {"problem": {"text": "Out of memory.", "advice": "", "reason": "out_of_memory"}}


def test_where_memory_runs_out_the_next_change_is_applied_on_top_of_those_before(
    processes: tuple[list[list[RehearsalMessage]], list[RehearsalRequest]],
) -> None:
    answers, requests = processes
    recompute = memory_change("recompute", knobs__checkpointing="on")
    smaller = memory_change("batch", knobs__batch_size=4, knobs__accumulation=4)
    answers += [
        [{"plan": {"memory": (1, 2), "next_change": recompute}}, {"progress": {"done": 3, "of": 20}}, OUT_OF_MEMORY],
        [{"plan": {"memory": (1, 2), "next_change": smaller}}, OUT_OF_MEMORY],
        [{"plan": {"memory": (3, 4), "next_change": None}}, {"done": MEASURED}],
    ]
    result = rehearse_to_end()
    assert result["settings"] == {"knobs.checkpointing": "on", "knobs.batch_size": 4, "knobs.accumulation": 4}
    assert [(attempt["steps"], attempt["change"]["name"]) for attempt in result["attempts"]] == [(3, "recompute"), (0, "batch")]  # fmt: skip
    assert result["memory"] == (3, 4)
    asked = [request["spec"]["knobs"] for request in requests]
    assert [knobs.get("checkpointing") for knobs in asked] == ["auto", "on", "on"]
    assert [knobs["batch_size"] for knobs in asked] == [16, 16, 4]


def test_without_a_further_change_the_setup_is_refused(
    processes: tuple[list[list[RehearsalMessage]], list[RehearsalRequest]],
) -> None:
    processes[0].append([{"plan": {"memory": None, "next_change": None}}, OUT_OF_MEMORY])
    with pytest.raises(Problem, match="does not suffice, whatever is changed"):
        rehearse_to_end()


def test_what_is_not_about_memory_is_told_as_it_is(
    processes: tuple[list[list[RehearsalMessage]], list[RehearsalRequest]],
) -> None:
    processes[0].append([{"problem": {"text": "No example is left.", "advice": "", "reason": "no_rows"}}])
    with pytest.raises(Problem, match="No example is left"):
        rehearse_to_end()


@pytest.mark.parametrize(
    ("changes", "severity", "text"),
    [
        ({}, "good", "It took at most 900.0 MB of memory; estimated were 850.0 MB to 1.0 GB."),
        ({"memory": (1, 800_000_000)}, "careful", "which was too little"),
        ({"memory": (1, 800_000_000), "counts_freed": True}, "good", "also keeps memory that it has freed"),
        ({"memory": (1, 500_000_000), "counts_freed": True}, "careful", "which was too little"),
        ({"memory": None}, "good", "It took at most 900.0 MB of memory."),
        ({"first_loss": 9.0}, "wrong", "The first loss is 9.00; a model that only guesses has 7.40. It knows less"),
        ({"first_loss": 7.6}, "good", "The first loss is 7.60"),
    ],
)
def test_findings_compare_with_what_was_estimated(changes: dict[str, Any], severity: str, text: str) -> None:
    findings = rehearsal_findings({**FITTING, **changes})  # type: ignore[typeddict-item]
    assert [finding["severity"] for finding in findings if text in finding["text"]] == [severity]
    assert findings[0]["severity"] == severity


@pytest.mark.parametrize(
    ("planned", "text"),
    [(None, "about 60 s."), (62.0, "about 60 s."), (40.0, "50 % more than estimated"), (120.0, "50 % less than")],
)
def test_the_time_says_by_how_much_the_estimate_is_corrected(planned: float | None, text: str) -> None:
    assert text in rehearsal_findings(FITTING, planned)[-1]["text"]


def test_what_fits_is_offered_as_a_remedy() -> None:
    change = memory_change("recompute", knobs__checkpointing="on")
    result: RehearsalResult = {
        **FITTING,
        "attempts": [{"steps": 0, "change": change}],
        "settings": {"knobs.checkpointing": "on"},
    }
    finding = rehearsal_findings(result)[0]
    assert "Memory ran out once. It fits with this change. The change recompute: It saves memory." in finding["text"]
    assert finding["remedy"] == {"title": "Use what fits", "changes": {"knobs.checkpointing": "on"}}


def test_the_longest_rows_come_first() -> None:
    rows: list[Any] = [{"a": "x"}, {"m": [{"role": "user", "content": "x" * 50}]}, {"a": "x" * 9, "n": 3, "e": None}]
    assert [text_length(row) for row in rows] == [1, 54, 9]
    assert longest_first(rows) == [1, 2, 0]


@pytest.mark.full  # three processes; CI rehearses in the browser tests
@pytest.mark.slow
@pytest.mark.timeout(600)  # three processes, each importing all libraries
def test_a_real_rehearsal_within_little_memory_finds_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "STEPS", 2)
    spec = preset_spec("first_tune")
    *progress, result = rehearsal.rehearse(local_workspace(), spec, memory_limit=110 * MIB)
    assert "settings" in result
    assert result["attempts"]
    assert result["settings"]["knobs.checkpointing"] == "on"
    assert result["steps"] == 2
    assert result["run_steps"] == 125
    assert result["run_seconds"] > 0
    assert result["guessing_loss"] == pytest.approx(7.41, abs=0.01)
    assert result["first_loss"] is not None
    assert 3 < result["first_loss"] < result["guessing_loss"]
    assert any("done" in message and message["done"] == 2 for message in progress)


@pytest.mark.full  # a process of its own; CI rehearses in the browser tests
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_rehearsal_whose_loss_is_no_number_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    monkeypatch.setattr(rehearsal, "STEPS", 2)
    broken = tmp_path / "broken"
    shutil.copytree(locate_model("pocket"), broken)
    tensors = load_file(broken / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    rows = write_rows(tmp_path / "rows.jsonl", conversation_rows(32))
    spec = build_spec("sft", rows, {"batch_size": 8}, model={"id": str(broken)})
    with pytest.raises(Problem, match=r"At step 1 train/loss is no longer a number\."):
        list(rehearsal.rehearse(local_workspace(), spec))


# -- limits -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [
        ({}, None),
        ({"minutes": 2}, 120),
        ({"dollars": 3, "dollars_per_hour": 1.5}, 7200),
        ({"minutes": 5, "dollars": 3, "dollars_per_hour": 1.5}, 300),
        ({"minutes": 500, "dollars": 3, "dollars_per_hour": 36}, 300),
    ],
)
def test_a_run_stops_at_whichever_limit_comes_first(budget: dict[str, float], seconds: float | None) -> None:
    assert Budget(**budget).seconds == seconds


def test_a_cost_without_a_price_is_refused() -> None:
    with pytest.raises(Problem, match="what the machine costs per hour"):
        validate(Launch, {"budget": {"dollars": 3}}, "The launch")
    with pytest.raises(Problem, match=r"^To stop at a cost, say what the machine costs per hour"):
        create_launch("local:cpu", None, 3, 0)


def test_no_limits_on_the_page_are_no_limits_of_the_run() -> None:
    assert create_launch("local:cpu", 0, None, 0).budget == Budget()
    assert create_launch("local:cpu", 2.5, 3, 1.5).budget == Budget(minutes=2.5, dollars=3, dollars_per_hour=1.5)
    with pytest.raises(Problem, match="no machine called"):
        create_launch("local:cuda:77", None, None, None)
