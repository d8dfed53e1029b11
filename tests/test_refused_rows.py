"""Rows that cannot be used: preview, audit and run say the same of the same row, which is left out only where the person
says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.engine.audit import runner
from app.engine.preview import row_preview, run_estimate
from app.runs.events import DoneEvent, FailedEvent
from app.setup.set_value import set_value
from app.setup.spec import Spec, parse_spec
from tests.support import build_spec, drain_generator, preference_rows, start_run, wait_for_run, write_rows

USER, ASSISTANT = {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day, dear friend."}
GOOD = {"messages": [USER, ASSISTANT]}
TWO_QUESTIONS = {"messages": [USER, USER, ASSISTANT]}
WITH_SYSTEM = {"messages": [{"role": "system", "content": "Be kind."}, USER, ASSISTANT]}
BAD_TOOLS = GOOD | {"tools": "a hammer and a saw"}
PAIR = {"prompt": [USER], "chosen": [ASSISTANT], "rejected": [{"role": "assistant", "content": "No."}]}
GEMMA = {"template": "trl:gemma"}

# {name: (method, model, rows, number of the bad row, what is said of it, what leaves it out)}
CASES: dict[str, tuple[str, dict[str, Any], list[dict[str, Any]], int, str, dict[str, Any]]] = {
    "roles": ("sft", GEMMA, [GOOD, GOOD, TWO_QUESTIONS, GOOD], 3, "Conversation roles must alternate", {"drop": ["refused"]}),
    "system": ("sft", GEMMA, [GOOD, WITH_SYSTEM, GOOD], 2, "System role not supported", {"drop": ["refused"]}),
    "preference": ("dpo", GEMMA, [PAIR, PAIR, PAIR | {"prompt": [USER, USER]}], 3, "Conversation roles must alternate", {"drop": ["refused"]}),
    "prompts": ("grpo", GEMMA, [*[{"prompt": [USER], "answer": "1"}] * 4, {"prompt": [USER, USER], "answer": "1"}], 5, "Conversation roles must alternate", {"drop": ["refused"]}),
    "cell": ("sft", {}, [GOOD, BAD_TOOLS, GOOD], 2, "`tools` is neither a list of tools nor JSON (“a hammer and a saw”)", {"data.0.skip_bad": True}),
}  # fmt: skip


def case_spec(name: str, folder: Path) -> Spec:
    method, model, rows, *_ = CASES[name]
    knobs = {} if method == "grpo" else {"steps": 2, "batch_size": 2}
    rewards = [{"name": "exact_match", "params": {"column": "answer"}}] if method == "grpo" else []
    return build_spec(method, write_rows(folder / "rows.jsonl", rows), knobs, model=model, rewards=rewards)


def refused_findings(findings: list[Any]) -> list[Any]:
    return [finding for finding in findings if finding["id"] == "refused"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_preview_and_audit_name_the_row_and_offer_to_leave_it_out(name: str, tmp_path: Path) -> None:
    spec = case_spec(name, tmp_path)
    _, _, rows, number, reason, changes = CASES[name]
    previewed = row_preview.preview_rows(spec, 10)
    findings = [previewed["findings"]]
    if spec.method != "grpo":  # whose audit needs more prompts
        findings.append(drain_generator(runner.run_audit(spec))[1]["findings"])
    for found in findings:
        [finding] = refused_findings(found)
        assert (finding["severity"], finding["count"], finding["rows"]) == ("wrong", 1, [number])
        assert f"Row {number} cannot be used" in finding["text"]
        assert reason in finding["text"]
        assert finding["remedy"]["changes"] == changes
    assert len(previewed["rows"]) == len(rows) - 1
    mended = spec.to_dict()
    for path, setting in changes.items():
        mended = set_value(mended, path, setting)
    previewed = row_preview.preview_rows(parse_spec(mended), 10)
    assert not refused_findings(previewed["findings"])
    assert any("1 example is left out" in finding["text"] for finding in previewed["findings"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["roles", "cell"])
def test_a_run_stops_at_the_row_until_it_is_left_out(name: str, tmp_path: Path) -> None:
    spec = case_spec(name, tmp_path)
    _, _, _, number, reason, changes = CASES[name]
    failed = wait_for_run(start_run(spec))[-1]
    assert isinstance(failed, FailedEvent)
    assert failed.reason == "refused_row"
    assert f"Row {number} cannot be used" in failed.text
    assert reason in failed.text
    mended = spec.to_dict()
    for path, setting in changes.items():
        mended = set_value(mended, path, setting)
    assert isinstance(wait_for_run(start_run(parse_spec(mended)))[-1], DoneEvent)


def test_a_file_of_refused_rows_alone_is_refused_by_all(tmp_path: Path) -> None:
    spec = build_spec("sft", write_rows(tmp_path / "a.jsonl", [TWO_QUESTIONS] * 3), model=GEMMA)
    for ask in (
        lambda: row_preview.preview_rows(spec, 3),
        lambda: drain_generator(runner.run_audit(spec)),
        lambda: drain_generator(run_estimate.estimate_run(spec)),
    ):
        with pytest.raises(Problem, match=r"Row 1 cannot be used: the chat format refuses it") as refusal:
            ask()
        assert refusal.value.reason == "refused_row"


def test_rows_that_the_template_takes_are_not_refused(tmp_path: Path) -> None:
    spec = build_spec("dpo", write_rows(tmp_path / "a.jsonl", preference_rows(4)), model=GEMMA)
    assert not refused_findings(row_preview.preview_rows(spec, 4)["findings"])


def test_train_flags_that_a_method_does_not_read_are_named(tmp_path: Path) -> None:
    rows = [PAIR, PAIR | {"chosen": [ASSISTANT | {"loss": False}]}]
    spec = build_spec("dpo", write_rows(tmp_path / "a.jsonl", rows))
    for findings in (row_preview.preview_rows(spec, 2)["findings"], drain_generator(runner.run_audit(spec))[1]["findings"]):  # fmt: skip
        [finding] = [finding for finding in findings if finding["id"] == "unread_marks"]
        assert (finding["severity"], finding["count"], finding["rows"]) == ("careful", 1, [2])
