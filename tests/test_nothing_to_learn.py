"""Nothing left to learn: preview, plan, audit and run refuse it alike, in one sentence, and nothing of it is cached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.engine.audit import runner
from app.engine.datasets import prepared_cache
from app.engine.preview import run_estimate
from app.runs import events
from app.runs.events import FailedEvent
from app.setup.spec import Spec
from tests.support import (
    build_spec,
    conversation_rows,
    drain_generator,
    preference_rows,
    run_command_line,
    start_run,
    wait_for_run,
    write_rows,
)

LONG_PROMPT = "Please tell me in a few words what the baker of our village does on a quiet Monday morning."


def long_rows(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"{LONG_PROMPT} {i}", "completion": f"He sells bread number {i}."} for i in range(count)]


def masked_rows(count: int) -> list[dict[str, Any]]:
    rows = conversation_rows(count)
    for row in rows:
        row["messages"] = [message | {"train": False} for message in row["messages"]]
    return rows


def spec_of(rows: list[dict[str, Any]], folder: Path, method: str = "sft", **options: Any) -> Spec:
    knobs = {"steps": 2, "batch_size": 2, "eval_answers": 0, "evaluations": 0} | options.pop("knobs", {})
    return build_spec(method, write_rows(folder / "rows.jsonl", rows), knobs, **options)


CASES: dict[str, tuple[Callable[[Path], Spec], str]] = {
    "beyond the maximum length": (
        lambda folder: spec_of(long_rows(8), folder, knobs={"max_length": 8}),
        "begins only beyond the maximum length of 8 tokens",
    ),
    "all masked": (lambda folder: spec_of(masked_rows(8), folder), "no part of them is marked to be learned"),
    "all over the limit": (
        lambda folder: spec_of(long_rows(8), folder, knobs={"max_length": 12}, drop=["cut"]),
        "left out are 8 × it is longer than the maximum length",
    ),
    "preferences beyond the limit": (
        lambda folder: spec_of(
            [row | {"prompt": f"{LONG_PROMPT} {row['prompt']}"} for row in preference_rows(8)],
            folder,
            "dpo",
            knobs={"max_length": 8},
        ),
        "begins only beyond the maximum length of 8 tokens",
    ),
}


@pytest.mark.slow
@pytest.mark.first_cases(4)
@pytest.mark.parametrize("name", CASES)
def test_preview_plan_and_audit_say_the_same(name: str, tmp_path: Path) -> None:
    make_spec, sentence = CASES[name]
    spec = make_spec(tmp_path)
    for _ in range(2):  # a failed preparation is not cached
        for function in (run_estimate.estimate_run, runner.run_audit):
            with pytest.raises(Problem, match=sentence) as refusal:
                drain_generator(function(spec))
            assert refusal.value.reason == "nothing_to_learn"
    cache = prepared_cache.cache_folder()
    assert cache is not None
    assert [path for path in cache.iterdir() if not path.name.startswith(".")] == []


@pytest.mark.slow
@pytest.mark.first_cases(1)
@pytest.mark.parametrize("name", CASES)
def test_a_run_ends_before_its_first_step_with_the_same_sentence(name: str, tmp_path: Path) -> None:
    make_spec, sentence = CASES[name]
    run = start_run(make_spec(tmp_path))
    run_events = wait_for_run(run)
    assert isinstance(run_events[-1], FailedEvent)
    assert sentence in run_events[-1].text
    assert not any(isinstance(event, events.StepEvent) for event in run_events)


@pytest.mark.slow
@pytest.mark.parametrize("command", [("run",), ("preview", "--plan"), ("audit",)], ids=" ".join)
def test_the_commands_exit_with_2_and_one_sentence(command: tuple[str, ...], tmp_path: Path) -> None:
    source = write_rows(tmp_path / "rows.jsonl", long_rows(8))
    verb, *options = command
    changes = ("--set", f"data.0.source={source}", "--set", "knobs.max_length=8")
    process = run_command_line(verb, "first_tune", *options, *changes, expected_exit_code=2)
    output = process.stdout + process.stderr
    assert "begins only beyond the maximum length of 8 tokens" in output
    assert "Traceback" not in output
