"""Rows that cannot be used: preview, audit and run say the same of the same row, which is left out only where the person
says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.data.findings.source_report import report_source
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


# -- of which source, and which of its rows -----------------------------------------------------------------------------


def test_slices_of_one_file_are_reported_apart(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", [GOOD, BAD_TOOLS, GOOD, BAD_TOOLS, BAD_TOOLS, GOOD])
    slices = [{"source": source, "limit": 3}, {"source": source, "start": 3}]
    findings = refused_findings(row_preview.preview_rows(build_spec("sft", "", data=slices), 10)["findings"])
    assert [(finding["rows"], finding["remedy"]["changes"]) for finding in findings] == [
        ([2], {"data.0.skip_bad": True}),
        ([4, 5], {"data.1.skip_bad": True}),
    ]
    assert all("of “rows.jsonl”" in finding["text"] for finding in findings)


@pytest.mark.parametrize(("holdout", "path", "words"), [
    ({"source": {"source": "path:dev"}}, "holdout.source", "Row 2 of the held-out examples cannot"),
    ({"split": "validation"}, "data.0", "Row 2 of the held-out split “validation” cannot"),
])  # fmt: skip
def test_held_out_rows_are_not_taken_for_rows_to_learn(
    holdout: dict[str, Any], path: str, words: str, tmp_path: Path
) -> None:
    both = {"train": [GOOD] * 4, "validation": [GOOD, BAD_TOOLS]}
    (tmp_path / "both.json").write_text(json.dumps(both))
    if "source" in holdout:
        holdout = {"source": {"source": write_rows(tmp_path / "dev.jsonl", both["validation"])}}
    data = [{"source": f"path:{tmp_path / 'both.json'}", "start": 1}]
    spec = build_spec("sft", "", data=data, holdout=holdout)
    [finding] = refused_findings(drain_generator(runner.run_audit(spec))[1]["findings"])
    assert words in finding["text"]
    assert finding["remedy"]["changes"] == {f"{path}.skip_bad": True}


def test_numbers_of_rows_count_what_is_held_out_or_cannot_be_read(tmp_path: Path) -> None:
    rows = [GOOD | {"set": "dev"}, GOOD | {"set": "train"}, BAD_TOOLS | {"set": "train"}]
    source = write_rows(tmp_path / "rows.jsonl", rows)
    spec = build_spec("sft", source, holdout={"column": "set", "value": "dev"})
    [finding] = refused_findings(drain_generator(runner.run_audit(spec))[1]["findings"])
    assert finding["rows"] == [3]
    file = tmp_path / "rows.jsonl"
    file.write_text('{"messages": [\n' + file.read_text() + json.dumps(BAD_TOOLS | {"tools": None, "messages": [USER]}))
    lenient = build_spec("sft", "", data=[{"source": source, "skip_bad": True}])
    dropped = [finding["rows"] for finding in report_source(lenient.data[0]).findings if "no answer" in finding["text"]]
    assert dropped == [[5]]
