"""Rows that are prompts: other columns are for rewards, and never taken for answers, whatever they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.data.rows import prompt_and_answer
from app.engine.audit import runner
from app.engine.preview import row_preview
from app.setup.spec import Spec
from tests.support import build_spec, drain_generator, write_rows

PROMPT = [{"role": "user", "content": "What is 3 and 4?"}]
REWARD_COLUMNS: list[dict[str, Any]] = [
    {"reference": ["7", "seven"]},
    {"completion": [7, 7.5]},
    {"chosen": [["7"], ["seven"]], "rejected": [{"text": "8"}]},
    {"messages": ["7"], "reference": [{"final": "7"}]},
    {"messages": [{"role": "tool", "content": "7"}], "completion": "7"},
]


def prompt_spec(folder: Path, columns: dict[str, Any], template: str | None) -> Spec:
    rows = [{"prompt": PROMPT, "answer": "7"} | columns for _ in range(8)]
    rewards = [{"name": "exact_match", "params": {"column": "answer"}}]
    data = [{"source": write_rows(folder / "rows.jsonl", rows), "layout": "question"}]
    return build_spec("grpo", "", data=data, rewards=rewards, model={"template": template})


@pytest.mark.parametrize("columns", REWARD_COLUMNS, ids=lambda columns: "-".join(columns))
@pytest.mark.parametrize("template", [None, "trl:gemma"])
def test_columns_for_rewards_are_never_taken_for_answers(
    columns: dict[str, Any], template: str | None, tmp_path: Path
) -> None:
    previews = [row_preview.preview_rows(prompt_spec(tmp_path, each, template), 2) for each in (columns, {})]
    parts = [[(row["tokens"], row["segments"]) for row in preview["rows"]] for preview in previews]
    assert parts[0] == parts[1]


def test_the_audit_of_prompts_finds_nothing_in_columns_for_rewards(tmp_path: Path) -> None:
    columns = {"messages": [{"role": "assistant", "content": ""}] * 2, "chosen": [["7"], ["seven"]]}
    audits = [drain_generator(runner.run_audit(prompt_spec(tmp_path, each, "trl:gemma")))[1] for each in (columns, {})]
    about_turns = [
        [finding["id"] for finding in audit["findings"] if finding["id"] in ("empty_turn", "alternation", "unwritten")]
        for audit in audits
    ]
    assert about_turns[0] == about_turns[1]


@pytest.mark.parametrize("columns", REWARD_COLUMNS[:4], ids=lambda columns: "-".join(columns))
def test_the_expected_answer_of_a_prompt_is_its_answer(columns: dict[str, Any]) -> None:
    assert prompt_and_answer({"prompt": PROMPT, "answer": "7"} | columns) == (PROMPT, "7")
