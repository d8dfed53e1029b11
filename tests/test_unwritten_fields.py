"""Fields that a chat template does not write are named, on the previewed rows and over all rows, with one that writes
them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.engine.audit import runner
from app.engine.masking.unwritten_fields import UnwrittenFields
from app.engine.model import template_source
from app.engine.preview import row_preview
from app.engine.preview.preview_job import preview_job
from app.engine.tokens import template_candidates
from app.setup.set_value import set_value
from app.setup.spec import parse_spec
from tests.in_process import POCKET
from tests.support import build_spec, drain_generator, write_rows

CALL = {"type": "function", "function": {"name": "stock", "arguments": {"item": "lamp"}}}
TOOL = {"type": "function", "function": {"name": "stock", "description": "What is left.", "parameters": {"type": "object", "properties": {"item": {"type": "string"}}}}}  # fmt: skip


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str, **keys: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text} | keys


PLAIN = {"messages": [user("Are you open?"), assistant("Until six.")]}
CALLING = {"messages": [user("Lamps?"), assistant("", tool_calls=[CALL]), {"role": "tool", "content": "7"}, assistant("Seven.")], "tools": [TOOL]}  # fmt: skip
THINKING = {"messages": [user("7 and 8?"), assistant("15", reasoning_content="Seven, then eight.")]}
THINKING_TWICE = {"messages": [*THINKING["messages"], user("And 9?"), assistant("24", reasoning_content="Add nine.")]}
SYSTEM = {"messages": [{"role": "system", "content": "Be kind."}, *PLAIN["messages"]]}
TALKING_CALL = {"messages": [user("Lamps?"), assistant("Let me look.", tool_calls=[CALL]), {"role": "tool", "content": "7"}, assistant("Seven.")]}  # fmt: skip
EMOTION = {"messages": [user("Hi"), assistant("Hello.", emotion="glad", name="Bo")]}
WITHOUT_SYSTEM = "{%- for m in messages %}{%- if m['role'] != 'system' %}{{- '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(POCKET)


@pytest.mark.parametrize(("template", "row", "expected"), [
    ("", PLAIN, set()),
    ("", CALLING, {"tools", "tool_calls"}),
    ("trl:qwen3", CALLING, set()),
    ("trl:llama3_1", TALKING_CALL, {"text beside a call"}),
    ("", THINKING, {"reasoning"}),
    ("trl:qwen3", THINKING, set()),
    ("", THINKING_TWICE, {"reasoning"}),
    ("trl:qwen3", THINKING_TWICE, {"earlier reasoning"}),
    ("", SYSTEM, set()),
    (WITHOUT_SYSTEM, SYSTEM, {"system"}),
    ("", EMOTION, {"`emotion`"}),
    ("trl:qwen3", {"prompt": [user("Lamps?")], "tools": [TOOL]}, {"tools of a prompt"}),  # trainers give prompts their own tools only
    ("trl:qwen3", {"prompt": [user("Lamps?")], "chosen": [assistant("", tool_calls=[CALL])], "rejected": [assistant("No.")], "tools": [TOOL]}, set()),
    ("", {"prompt": [user("Lamps?")], "chosen": [assistant("", tool_calls=[CALL])], "rejected": [assistant("No.")]}, {"tool_calls"}),
])  # fmt: skip
def test_a_field_that_changes_nothing_is_unwritten(
    template: str, row: dict[str, Any], expected: set[str], tokenizer: Any
) -> None:
    text = template_source.template_text(template) if template else tokenizer.chat_template
    row_types = ("prompt",) if row.keys() <= {"prompt", "tools"} else ("messages", "preference")
    assert UnwrittenFields(tokenizer, text, {}, row_types)(row) == expected


def test_rows_of_one_shape_are_rendered_once(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    unwritten = UnwrittenFields(tokenizer, tokenizer.chat_template, {}, ("messages",))
    rendered: list[Any] = []
    render = unwritten._chat_template.render
    monkeypatch.setattr(
        unwritten._chat_template,
        "render",
        lambda *arguments: rendered.append(arguments) or render(*arguments),
    )
    for number in range(50):
        row = {"messages": [user(f"{number}?"), assistant("x", reasoning_content=f"Because of {number}.")]}
        assert unwritten(row) == {"reasoning"}
    assert len(rendered) == 2


def unwritten_findings(findings: list[Any]) -> list[tuple[str, int, list[int]]]:
    return [(f["severity"], f["count"], f["rows"]) for f in findings if f["id"] == "unwritten"]


@pytest.mark.parametrize(("method", "rows", "expected"), [
    ("sft", [PLAIN, CALLING, PLAIN, CALLING, THINKING], [("wrong", 2, [2, 4])] * 2 + [("wrong", 1, [5])]),
    ("dpo", [{"prompt": [user("7 and 8?")], "chosen": [assistant("15", reasoning_content="Seven.")], "rejected": [assistant(f"{i}")]} for i in range(3)], [("wrong", 3, [1, 2, 3])]),
])  # fmt: skip
def test_preview_and_audit_count_the_rows_and_the_remedy_writes_the_field(
    method: str, rows: list[dict[str, Any]], expected: list[Any], tmp_path: Path
) -> None:
    spec = build_spec(method, write_rows(tmp_path / "a.jsonl", rows))
    previewed = row_preview.preview_rows(spec, 10)["findings"]
    audited = drain_generator(runner.run_audit(spec))[1]["findings"]
    assert sorted(unwritten_findings(previewed)) == sorted(unwritten_findings(audited)) == sorted(expected)
    assert not any("Every example shown is whole" in finding["text"] for finding in previewed)
    remedy = next(finding["remedy"] for finding in audited if finding["id"] == "unwritten")
    assert remedy["changes"].keys() == {"model.template"}
    mended = parse_spec(set_value(spec.to_dict(), "model.template", remedy["changes"]["model.template"]))
    assert not unwritten_findings(row_preview.preview_rows(mended, 10)["findings"])


def test_a_tokenizer_is_loaded_once_for_all_templates_that_are_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[Any] = []
    load = template_candidates.load_tokenizer
    monkeypatch.setattr(template_candidates, "load_tokenizer", lambda model: loaded.append(model) or load(model))
    source = write_rows(tmp_path / "a.jsonl", [CALLING, EMOTION])
    spec = build_spec("sft", source, model={"template": WITHOUT_SYSTEM})
    job = preview_job(spec, None)
    template_candidates.find_writing_template(job, [CALLING, THINKING, SYSTEM])
    assert [model.template for model in loaded] == [None]


def test_the_practice_models_own_rows_lose_nothing(tmp_path: Path) -> None:
    spec = build_spec("sft", write_rows(tmp_path / "a.jsonl", [PLAIN, SYSTEM]))
    assert not unwritten_findings(row_preview.preview_rows(spec, 2)["findings"])
