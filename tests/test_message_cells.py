"""Cells of conversations in one form: tools, calls, content and train flags, whichever dataset wrote them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.data import rows
from app.data.findings.source_report import report_rows
from app.setup.spec import Source

SFT_ROW_TYPES = ("messages", "prompt_completion", "text", "segments", "tokens")
STOCK = {"name": "stock", "description": "What is left.", "parameters": {"type": "object", "properties": {"item": {"type": "string"}}, "required": ["item"]}}  # fmt: skip
STOCK_TOOL = {"type": "function", "function": STOCK}


def user(content: Any, **keys: Any) -> dict[str, Any]:
    return {"role": "user", "content": content} | keys


def assistant(content: Any, **keys: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content} | keys


def normalize(row: dict[str, Any], *row_types: str) -> tuple[dict[str, Any] | None, list[str]]:
    """(the normalized row, why it is refused)."""
    normalizer = rows.RowNormalizer(row_types or SFT_ROW_TYPES, "It", is_chat=True)
    normalized = list(normalizer([row]))
    assert not normalizer.drop_counts
    return normalized[0] if normalized else None, [reason for _, reason in normalizer.refused_rows.refusals]


def tool_row(**changes: Any) -> dict[str, Any]:
    call = {"function": {"name": "stock", "arguments": changes.get("arguments", {"item": "lamp"})}}
    calls = changes.get("tool_calls", [call])
    messages = [user("Lamps?"), assistant(None, tool_calls=calls), {"role": "tool", "content": changes.get("result", "7")}, assistant("Seven.")]  # fmt: skip
    return {"messages": messages, "tools": changes.get("tools", [STOCK_TOOL])}


@pytest.mark.parametrize(
    "tools",
    [
        [STOCK_TOOL],
        STOCK_TOOL,
        [STOCK],
        STOCK,
        json.dumps([STOCK_TOOL]),
        json.dumps(STOCK),
        json.dumps(json.dumps([STOCK])),
        [json.dumps(STOCK_TOOL)],
        {"tools": [STOCK_TOOL]},
        str([STOCK]),  # Python's literal syntax
        [STOCK | {"parameters": json.dumps(STOCK["parameters"])}],
        [{"name": "stock", "description": "What is left.", "input_schema": STOCK["parameters"]}],
    ],
)
def test_tools_get_one_form(tools: Any) -> None:
    row, _ = normalize(tool_row(tools=tools))
    assert row is not None
    assert row["tools"] == [STOCK_TOOL]


@pytest.mark.parametrize("tools", [None, "", " ", "null", "None", "[]", [], {}, "{}"])
def test_no_tools_are_no_column(tools: Any) -> None:
    row, _ = normalize(tool_row(tools=tools))
    assert row is not None
    assert "tools" not in row


def test_parameters_of_xlam_become_a_json_schema() -> None:
    table = {
        "town": {"description": "Which.", "type": "str"},
        "days": {"description": "How many.", "type": "int, optional", "default": 3},
        "tags": {"description": "Names.", "type": "List[str]"},
        "type": {"description": "A parameter called type.", "type": "float"},
    }
    row, _ = normalize(tool_row(tools=[STOCK | {"parameters": table}]))
    assert row is not None
    assert row["tools"][0]["function"]["parameters"] == {
        "type": "object",
        "properties": {
            "town": {"type": "string", "description": "Which."},
            "days": {"type": "integer", "description": "How many.", "default": 3},
            "tags": {"type": "array", "description": "Names.", "items": {"type": "string"}},
            "type": {"type": "number", "description": "A parameter called type."},
        },
        "required": ["town", "tags", "type"],
    }


@pytest.mark.parametrize(("arguments", "expected"), [
    ({"item": "lamp"}, {"item": "lamp"}),
    ('{"item": "lamp"}', {"item": "lamp"}),
    (json.dumps(json.dumps({"item": "lamp"})), {"item": "lamp"}),
    ("{'item': 'lamp'}", {"item": "lamp"}),
    ("", {}), (None, {}), ({}, {}), ("{}", {}), ([], {}),
])  # fmt: skip
def test_arguments_become_an_object(arguments: Any, expected: dict[str, Any]) -> None:
    row, _ = normalize(tool_row(arguments=arguments))
    assert row is not None
    assert row["messages"][1]["tool_calls"][0]["function"] == {"name": "stock", "arguments": expected}


@pytest.mark.parametrize(("changes", "reason"), [
    ({"tools": "see the manual"}, "`tools` is neither a list of tools nor JSON (“see the manual”)"),
    ({"tools": 5}, "`tools` is neither a list of tools nor JSON (“5”)"),
    ({"tools": [{"description": "?"}]}, "tool 1 in `tools` has no name"),
    ({"tools": [STOCK, "a saw"]}, "tool 2 in `tools` is no description of a tool (“a saw”)"),
    ({"arguments": "item=lamp"}, "`arguments` of a call of stock are no JSON object (“item=lamp”)"),
    ({"arguments": [1, 2]}, "`arguments` of a call of stock are no JSON object (“[1, 2]”)"),
    ({"tool_calls": "stock(lamp)"}, "`tool_calls` is no list of calls (“stock(lamp)”)"),
    ({"tool_calls": [{"function": {"arguments": {}}}]}, "a call in `tool_calls` does not name its tool"),
])  # fmt: skip
def test_a_field_without_such_a_form_is_refused_by_its_name(changes: dict[str, Any], reason: str) -> None:
    assert normalize(tool_row(**changes)) == (None, [reason])
    findings = report_rows([tool_row(), tool_row(), tool_row(**changes)]).findings
    [finding] = [finding for finding in findings if finding["id"] == "refused"]
    assert (finding["severity"], finding["rows"]) == ("wrong", [3])
    assert reason in finding["text"]
    assert finding["remedy"] == {"title": "Leave it out", "changes": {"data.0.skip_bad": True}}


@pytest.mark.parametrize(("content", "expected"), [
    ({"name": "Ann", "age": 7}, '{"name": "Ann", "age": 7}'),
    ([{"name": "Ann"}, {"name": "Bob"}], '[{"name": "Ann"}, {"name": "Bob"}]'),
    ([2, 3, 5], "[2, 3, 5]"),
    (15, "15"), (2.5, "2.5"), (True, "true"), (None, ""), ([], ""),
    ({"name": "Žofia"}, '{"name": "Žofia"}'),
    ({"type": "refund", "text": "10 euros"}, '{"type": "refund", "text": "10 euros"}'),
    ({"type": "text", "text": "Hello."}, [{"type": "text", "text": "Hello."}]),
    (["One. ", "Two."], [{"type": "text", "text": "One. "}, {"type": "text", "text": "Two."}]),
    (["First line\n", "second line"], [{"type": "text", "text": "First line\n"}, {"type": "text", "text": "second line"}]),
    (["How are you?"], [{"type": "text", "text": "How are you?"}]),
    (["Look: ", {"type": "text", "text": "there"}], [{"type": "text", "text": "Look: "}, {"type": "text", "text": "there"}]),
    (["red", "blue"], '["red", "blue"]'), (["red"], '["red"]'), (["dark red", "light blue"], '["dark red", "light blue"]'),
    (["Žofia", "Ann Lee", "Bo"], '["Žofia", "Ann Lee", "Bo"]'),
    ([{"type": "output_text", "text": "Hello."}], [{"type": "text", "text": "Hello."}]),
])  # fmt: skip
def test_content_is_text_or_parts(content: Any, expected: Any) -> None:
    row, _ = normalize({"messages": [user("Go"), assistant(content), user("And?"), assistant("Done.")]})
    assert row is not None
    assert row["messages"][1]["content"] == expected


@pytest.mark.parametrize("result", [{"left": 7, "ok": True}, [{"left": 7}], 7, ["oak", "ash"]])
def test_what_a_tool_returns_is_written_as_json(result: Any) -> None:
    row, _ = normalize(tool_row(result=result))
    assert row is not None
    assert row["messages"][2]["content"] == json.dumps(result)


def test_a_system_column_of_parts_keeps_its_text() -> None:
    raw_row = {"prompt": "Hi", "completion": "Hello.", "system": [{"type": "text", "text": "Be brief."}]}
    row, _ = normalize(raw_row)
    assert row is not None
    assert row["prompt"][0] == {"role": "system", "content": "Be brief."}


# -- train flags ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("flag", "is_trained"), [
    ({"loss": False}, False), ({"loss": "false"}, False), ({"loss_weight": 0}, False), ({"loss_scale": 0.0}, False),
    ({"learn": "no"}, False), ({"training": False}, False), ({"trainable": False}, False), ({"masked": True}, False),
    ({"mask": 1}, False), ({"ignore_loss": True}, False), ({"loss": True}, True), ({"loss_scale": 2.0}, True),
    ({"masked": 0}, True), ({"train": False, "loss": True}, False),
])  # fmt: skip
def test_train_flags_under_other_names_are_read(flag: dict[str, Any], is_trained: bool) -> None:
    raw_row = {"messages": [user("One?"), assistant("First.", **flag), user("Two?"), assistant("Second.")]}
    row, _ = normalize(raw_row)
    assert row is not None
    assert row["messages"][1] == assistant("First.", train=is_trained)
    assert row["messages"][3] == assistant("Second.")


def test_train_flags_of_parts_under_other_names_are_read() -> None:
    parts = [{"type": "text", "text": "No.", "loss": 0}, {"type": "text", "text": " Yes.", "loss": 1}]
    row, _ = normalize({"messages": [user("One?"), assistant(parts)]})
    assert row is not None
    assert [part["train"] for part in row["messages"][1]["content"]] == [False, True]


def finding_texts(**keys: Any) -> dict[str, list[str]]:
    report = report_rows([{"messages": [user("One?"), assistant("Two.", **keys)]}] * 3)
    texts: dict[str, list[str]] = {}
    for finding in report.findings:
        texts.setdefault(finding["severity"], []).append(finding["text"])
    return texts


def test_flags_and_unknown_keys_of_turns_are_reported() -> None:
    assert finding_texts(loss=False) == {
        "good": ["Some turns say themselves whether they are learned (`loss` on 3 turns)."]
    }
    assert "how strongly is not used" in finding_texts(loss_weight=0.5)["careful"][0]
    assert "read as hiding a turn" in finding_texts(mask=1)["careful"][0]
    assert "says neither yes nor no" in finding_texts(train="perhaps")["careful"][0]
    assert "3 turns in 3 of the first rows have `emotion`" in finding_texts(emotion="glad")["careful"][0]
    assert finding_texts(name="Bo", timestamp=5, tool_call_id="c1", id=3) == {}


# -- reasoning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("question", "column", "answer"), [
    ("Question", "Complex_CoT", "Response"), ("prompt", "thinking", "response"), ("question", "deepseek_reasoning", "answer"),
    ("instruction", "reasoning", "output"), ("problem", "chain_of_thought", "answer"),
])  # fmt: skip
def test_a_column_of_reasoning_becomes_the_reasoning_of_the_answer(question: str, column: str, answer: str) -> None:
    raw_row = {question: "7 and 8?", column: "Seven, then eight.", answer: "15"}
    source = Source(source="path:.", mapping={"reasoning": column})
    [row] = rows.RowNormalizer(SFT_ROW_TYPES, "It", is_chat=True)([raw_row], source)
    assert row["completion"] == [assistant("15", reasoning_content="Seven, then eight.")]
    parts = {part["name"]: part["column"] for part in report_rows([raw_row], source).parts}
    assert parts["reasoning"] == column
    [plain_row] = rows.RowNormalizer(SFT_ROW_TYPES, "It", is_chat=False)([raw_row], source)
    assert plain_row["completion"] == "<think>\nSeven, then eight.\n</think>\n\n15"


@pytest.mark.parametrize("key", ["reasoning", "thought", "thinking"])
def test_reasoning_of_a_turn_under_other_names_is_reasoning_content(key: str) -> None:
    row, _ = normalize({"messages": [user("7 and 8?"), assistant("15", **{key: "Seven."})]})
    assert row is not None
    assert row["messages"][1]["reasoning_content"] == "Seven."


@pytest.mark.parametrize("raw_row", [
    {"instruction": "Add.", "input": "7 and 8", "output": "15"},
    {"question": "7 and 8?", "answer": "15"},
    {"messages": [user("7 and 8?"), assistant("15")]},
], ids=lambda row: next(iter(row)))  # fmt: skip
def test_a_column_of_reasoning_is_read_beside_a_verdict(raw_row: dict[str, Any]) -> None:
    judged_rows = [raw_row | {"thinking": "Seven, then eight more.", "liked": flag} for flag in (True, False)]
    source = Source(source="path:.", mapping={"reasoning": "thinking", "label": "liked"})
    report = report_rows(judged_rows, source)
    assert (report.kind, [finding["id"] for finding in report.findings]) == ("thumbs", [])
    [row, _] = rows.RowNormalizer(("thumbs",), "It", is_chat=True)(judged_rows, source)
    assert row["completion"] == [assistant("15", reasoning_content="Seven, then eight more.")]
    assert row["label"] is True
