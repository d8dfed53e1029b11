"""Outcome: runs that fail in a known way are named and end as no success, and the healthy runs of `learning` raise no alarm."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from app.core.problems import Problem
from app.history import run_list
from app.history.page_messages import RunStatus
from app.history.snapshot import RunSnapshot
from app.planning import preflight
from app.runs.store import Run
from app.setup.spec import Spec, parse_spec
from tests import learning_cases, support
from tests.bench import learning
from tests.failure_cases import FAILURES, FailureCase

_SEED = 17  # one of those of `learning`
_HEALTHY = {f"healthy: {name}": name for name in learning_cases.CASES}
_EVAL_ANSWERS = 64  # at most, of a healthy run, so that evaluations do not take longer than the training
CASES = {**FAILURES, **_HEALTHY}


def run(folder: Path, names: list[str] | None = None) -> list[dict[str, Any]]:
    """One table row per case, printed as soon as it is known. names: run only these cases."""
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    table = []
    for index, name in enumerate(names or CASES):
        case_folder = folder / str(index)
        case_folder.mkdir()
        table.append(failure_row(name, case_folder) if name in FAILURES else healthy_row(name))
        print(table[-1], flush=True)
    return table


def failure_row(name: str, folder: Path) -> dict[str, Any]:
    """What the page says of a run that must fail in the way of this name."""
    case = FAILURES[name]
    try:
        spec = preflight.check_spec(parse_spec(case.build(folder) | {"title": name, "seed": _SEED}))
    except Problem as problem:
        return _row(name, "refused", str(problem), case, ["refused"], is_success=False)
    return describe_failure(name, train(spec))


def describe_failure(name: str, ended_run: Run) -> dict[str, Any]:
    """The row of an ended run."""
    status = page_status(ended_run)
    ids = [diagnosis.id for diagnosis in status.diagnoses] + (["failed"] if status.failed else [])
    says = status.diagnoses[0].text if status.diagnoses else status.failed.text if status.failed else status.verdict
    in_list = run_list.summarize_run(ended_run, alive=False)
    is_success = status.state == "finished" and not (status.diagnoses and in_list["doubt"])
    return _row(name, status.state, says or "", FAILURES[name], ids, is_success)


def _row(name: str, state: str, says: str, case: FailureCase, ids: list[str], is_success: bool) -> dict[str, Any]:
    is_named = any(name in case.expected for name in ids) and (not {"refused", "failed"} & {*ids} or case.words in says)
    return {
        "case": name,
        "ends": state,
        "the page says": says.replace("|", "¦").replace("\n", " "),
        "expected": " or ".join(case.expected),
        "diagnoses": ", ".join(ids),
        "named": "yes" if is_named else "NO",
        "ends as a success": "YES" if is_success else "no",
    }


def healthy_row(name: str) -> dict[str, Any]:
    """Whether a healthy run raises an alarm."""
    return describe_healthy(name, train(healthy_spec(_HEALTHY[name])))


def describe_healthy(name: str, ended_run: Run) -> dict[str, Any]:
    """The row of an ended run."""
    status = page_status(ended_run)
    ids = [diagnosis.id for diagnosis in status.diagnoses]
    says = status.diagnoses[0].text if status.diagnoses else status.verdict or ""
    return {
        "case": name,
        "ends": status.state,
        "the page says": says.replace("|", "¦").replace("\n", " "),
        "expected": "no alarm",
        "diagnoses": ", ".join(ids) or "none",
        "named": "ALARM" if ids else "no alarm",
        "ends as a success": "yes" if status.state == "finished" and not ids else "NO",
    }


def healthy_spec(name: str) -> Spec:
    """The setup of `learning`, with an evaluation before, on the way and after."""
    spec = learning.spec_for(learning_cases.CASES[name], _SEED)
    answers = min(spec.knobs["eval_answers"] or _EVAL_ANSWERS, _EVAL_ANSWERS)
    return spec.model_copy(
        update={"title": name, "knobs": spec.knobs | {"eval_answers": answers, "evaluations": 1, "saves": 0}}
    )


def train(spec: Spec) -> Run:
    """Trains in an engine of its own, as a person's run."""
    trained_run = support.start_run(spec)
    support.wait_for_run(trained_run, seconds=900)
    return trained_run


def page_status(ended_run: Run) -> RunStatus:
    """What the page of a run shows."""
    snapshot = RunSnapshot(ended_run)
    snapshot.refresh()
    return snapshot.status
