"""Layouts: the common file formats are detected, described in words, and normalized to the rows that methods take, the same way everywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core import registry
from app.core.problems import Problem
from app.data import rows
from app.data.columns import COLUMN_SPECS
from app.data.findings.source_report import report_rows, report_source
from app.data.layout_match import ROW_TYPE_PRIORITY
from app.data.reading import files
from app.data.row_types import ROW_TYPES
from app.engine.datasets import load
from app.planning import links, preflight
from app.setup.set_value import set_value
from app.setup.spec import Source
from app.setup.spec import parse_spec as read_spec
from app.worker.client import WorkerClient
from tests.support import build_spec, run_command_line, write_rows

LAYOUT_FILES_FOLDER = Path(__file__).parent / "layouts"
LAYOUT_NAMES = registry.names("layouts")
SFT_ROW_TYPES = ("messages", "prompt_completion", "text", "segments", "tokens")


def layout_source(fixture: str, **fields: Any) -> Source:
    return Source(source=f"path:{LAYOUT_FILES_FOLDER / fixture}.jsonl", **fields)


def user_message(text: Any, **fields: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, **fields}


def assistant_message(text: Any, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **fields}


def system_message(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def text_part(text: str, **marks: Any) -> dict[str, Any]:
    return {"type": "text", "text": text, **marks}


WEATHER = {"type": "function", "function": {"name": "weather", "description": "The weather of a city.", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}  # fmt: skip

# {fixture: (layout, row type, columns of the last normalized row)}
EXPECTED_LAYOUTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "messages": ("messages", "messages", {"messages": [system_message("Be kind."), user_message("Hello"), assistant_message("Hello, dear friend!")]}),
    "openai_weights": ("messages", "messages", {"messages": [user_message("And cakes?"), assistant_message("Cakes on Friday.", weight=1)]}),
    "openai_tools": ("messages", "messages", {"messages": [
        user_message("And in Accra?"), assistant_message("", tool_calls=[{"type": "function", "function": {"name": "weather", "arguments": {"city": "Accra"}}}]),
        {"role": "tool", "content": "30 degrees", "name": "weather"}, assistant_message("It is 30 degrees in Accra.")], "tools": [WEATHER]}),
    "axolotl_marks": ("messages", "messages", {"messages": [
        user_message("Say hello.", train=False), assistant_message([text_part("Hello", train=True), text_part(" hello.", train=False)], train=True)]}),
    "sharegpt": ("sharegpt", "messages", {"messages": [
        user_message("Who is the doctor?"), assistant_message("Nora is the doctor."), user_message("Thank you."), assistant_message("Any time.")]}),
    "sharegpt_tools": ("sharegpt", "messages", {"messages": [
        system_message("You may calculate."), user_message("And 2 times 3?"), assistant_message("", tool_calls=[{"type": "function", "function": {"name": "multiply", "arguments": {"a": 2, "b": 3}}}]),
        {"role": "tool", "content": "6"}, assistant_message("It is 6.")]}),
    "text_turns": ("text_turns", "messages", {"messages": [
        user_message("Does it rain?"), assistant_message("Yes, all day."), user_message("And tomorrow?"), assistant_message("Tomorrow it is dry.")]}),
    "chatgpt_export": ("chatgpt_export", "messages", {"messages": [user_message("Is the shop open?"), assistant_message("It is open until six.")]}),
    "transcript": ("transcript", "messages", {"messages": [
        user_message("Who is the baker?"), assistant_message("Lucy is the baker."), user_message("Thank you."), assistant_message("Any time.")]}),
    "transcript_hashes": ("transcript", "messages", {"messages": [
        user_message("Name a fruit."), assistant_message("A plum."), user_message("And a purple one?"), assistant_message("A plum again.")]}),
    "transcript_preference": ("transcript_preference", "preference", {"prompt": [user_message("Hello"), assistant_message("Hello, dear friend!"), user_message("Where does Lena work?")],
                              "chosen": [assistant_message("Gladly: at the workshop.")], "rejected": [assistant_message("Why?")]}),
    "image_url": ("messages", "messages", {}),
    "alpaca": ("alpaca", "prompt_completion", {"prompt": [
        system_message("You love fruit."), user_message("Name a fruit."), assistant_message("A plum."), user_message("And a purple one?")], "completion": [assistant_message("A plum again.")]}),
    "dolly": ("alpaca", "prompt_completion", {"prompt": [user_message("Name three animals.")], "completion": [assistant_message("A duck, a hen and a cow.")]}),
    "prompt_completion": ("pair", "prompt_completion", {"prompt": [user_message("Review: The cakes were tasty.\nLabel:")], "completion": [assistant_message(" praise")]}),
    "question_answer": ("pair", "prompt_completion", {"prompt": [user_message("What does the frog say?")], "completion": [assistant_message("Croak.")]}),
    "text": ("text", "text", {"text": "Diary of Clara, Friday. It is autumn and the leaves fall."}),
    "preference": ("preference", "preference", {"prompt": [user_message("Where does Lena work?")], "chosen": [assistant_message("Gladly: at the workshop.")], "rejected": [assistant_message("Why?")]}),
    "preference_conversations": ("preference", "preference", {"prompt": [user_message("Hello")], "chosen": [assistant_message("Hello, dear friend!")], "rejected": [assistant_message("What?")]}),
    "preference_nested": ("preference", "preference", {"prompt": [user_message("Write about a hen")], "chosen": [assistant_message("The hen said cluck.")], "rejected": [assistant_message("Never.")]}),
    "preference_system": ("preference", "preference", {"prompt": [user_message("What colour is the sky?")], "chosen": [assistant_message("The sky is blue.")], "rejected": [assistant_message("Pink.")]}),
    "preference_sharegpt": ("preference", "preference", {"prompt": [user_message("Hi"), assistant_message("Hello!"), user_message("What does the hen say?")], "chosen": [assistant_message("It says cluck.")], "rejected": [assistant_message("It says moo.")]}),
    "alpaca_preference": ("alpaca_preference", "preference", {"prompt": [user_message("Say hello.")], "chosen": [assistant_message("Hello, dear friend!")], "rejected": [assistant_message("What?")]}),
    "openai_preference": ("openai_preference", "preference", {"prompt": [user_message("Who are you?")], "chosen": [assistant_message("A helpful friend.")], "rejected": [assistant_message("Nobody.")]}),
    "ranked": ("ranked", "ranked", {"prompt": [user_message("What does the bee say?")], "chosen": [assistant_message("Buzz.")], "rejected": [assistant_message("Woof.")], "reference": [assistant_message("The bee says buzz. Ask me more any time.")]}),
    "thumbs": ("thumbs", "thumbs", {"prompt": [user_message("What colour is a plum?")], "completion": [assistant_message("A plum is purple.")], "label": True}),
    "thumbs_conversation": ("thumbs_conversation", "thumbs", {"prompt": [user_message("Who is the baker?")], "completion": [assistant_message("Go away.")], "label": False}),
    "stepwise": ("stepwise", "stepwise", {"prompt": "What is 3 + 3 + 3?", "completions": ["3 + 3 is 6.", "6 + 3 is 8."], "labels": [True, False]}),
    "alpaca_thumbs": ("alpaca_thumbs", "thumbs", {"prompt": [user_message("Name a bird.\n\nOne that swims.")], "completion": [assistant_message("A horse.")], "label": False}),
    "rated_steps": ("rated_steps", "stepwise", {"prompt": "What is 2 + 2 + 6?", "completions": ["2 + 2 is 4.", "Go on.", "4 + 6 is 11."], "labels": [1, -100, 0]}),
    "judged_pair": ("judged_pair", "preference", {"prompt": [user_message("How do I dry wool?")], "chosen": [assistant_message("Flat, in the shade.")], "rejected": [assistant_message("In a hot oven.")]}),
    "scored_pair": ("scored_pair", "preference", {"prompt": [user_message("Where do hens sleep?")], "chosen": [assistant_message("On a perch.")], "rejected": [assistant_message("Under the sea.")]}),
    "rejected_answer": ("rejected_answer", "preference", {"prompt": [user_message("Who mends the roof?")], "chosen": [assistant_message("Omar mends it.")], "rejected": [assistant_message("I do not care.")]}),
    "rejected_conversation": ("rejected_conversation", "preference", {"prompt": [user_message("Hi"), assistant_message("Hi!"), user_message("Are you well?")], "chosen": [assistant_message("Very well, thank you.")], "rejected": [assistant_message("No.")]}),
    "tool_call_answers": ("tool_call_answers", "messages", {"messages": [user_message("Sun in Oslo?"), assistant_message("", tool_calls=[{"type": "function", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}])]}),
    "question": ("question", "prompt", {"prompt": [user_message("Ben has 9 hens and sells 2. How many has he?")], "answer": "9 - 2 = 7\n#### 7"}),
    "prompt_answer": ("question", "prompt", {"prompt": [user_message("Add 11 and 8.")], "answer": "19", "level": 2}),
    "open_conversation": ("open_conversation", "prompt", {"prompt": [user_message("What is 33 + 29?")], "reference_answer": {"value": 62}}),
    "verifier": ("verifier", "prompt", {"prompt": [system_message("Be brief."), user_message("What is 27 + 14?")], "expected_answer": "41"}),
    "hinted": ("hinted", "hinted", {"prompt": [user_message("How much is 2 plus 20?")], "privileged_context": "Add 2 and 20."}),
    "tokens": ("tokens", "tokens", {"input_ids": [1, 50, 51, 2], "labels": [-100, -100, 51, 2]}),
    "segments": ("segments", "segments", {"segments": [
        {"text": "<s>Question: what does the cow say?\nAnswer:", "train": False}, {"text": " Moo.", "train": True},
        {"text": "\nQuestion: and the hen?\nAnswer:", "train": False}, {"text": " Cluck.</s>", "train": True}]}),
    "chat_text_segments": ("chat_text_segments", "segments", {"segments": [
        {"text": "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n", "train": False}, {"text": "Good day.<|im_end|>", "train": True},
        {"text": "\n<|im_start|>user\nAnd the hen?<|im_end|>\n<|im_start|>assistant\n", "train": False}, {"text": "It says cluck.<|im_end|>", "train": True},
        {"text": "\n", "train": False}], "add_special_tokens": True}),
    "chat_text": ("chat_text", "messages", {"messages": [user_message("Hello"), assistant_message("Good day."), user_message("And the hen?"), assistant_message("It says cluck.")]}),
    "chat_text_pair": ("chat_text_pair", "segments", {"segments": [
        {"text": "<start_of_turn>user\nAnd the hen?<end_of_turn>\n<start_of_turn>model\n", "train": False},
        {"text": "It says cluck.<end_of_turn>", "train": True}, {"text": "\n", "train": False}]}),
    "chat_text_preference": ("chat_text_preference", "preference", {"prompt": [user_message("And the hen?")], "chosen": [assistant_message("It says cluck.")], "rejected": [assistant_message("It says moo.")]}),
    "chat_text_prompt": ("chat_text_prompt", "prompt", {"prompt": [system_message("Be kind."), user_message("And the hen?")]}),
}  # fmt: skip
# Rows that also fit a row type of higher priority: used for SFT, unless the method takes prompts, or the person says so.
PROMPT_FIXTURES = ("question", "prompt_answer", "chat_text")
LIKELY_FIXTURES = ("scored_pair",)  # nothing in the rows says that a higher score is better


def normalize_source(
    source: Source, *row_types: str, is_chat: bool = True
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    normalizer = rows.RowNormalizer(row_types, "It", is_chat)
    return list(normalizer(files.read_source_rows(source), source)), dict(normalizer.drop_counts)


# -- the registry -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYOUT_NAMES)
def test_a_layout_declares_its_title_row_type_and_known_columns(name: str) -> None:
    layout = registry.load_module("layouts", name)
    assert layout.TITLE
    assert not layout.TITLE.endswith(".")
    assert layout.__doc__.strip().endswith(".")
    assert layout.KIND in ROW_TYPES
    assert {*layout.NEEDS, *getattr(layout, "MAY", ()), *getattr(layout, "NAMES", {})} <= {*COLUMN_SPECS}
    assert hasattr(layout, "fits") == hasattr(layout, "TELLING"), (
        "a layout that checks contents describes the check in words"
    )


def test_every_layout_and_row_type_has_a_sample_file() -> None:
    assert {layout for layout, _, _ in EXPECTED_LAYOUTS.values()} == {*LAYOUT_NAMES}
    assert {row_type for _, row_type, _ in EXPECTED_LAYOUTS.values()} == {*ROW_TYPES} == {*ROW_TYPE_PRIORITY}
    assert {path.stem for path in LAYOUT_FILES_FOLDER.glob("*.jsonl")} == {*EXPECTED_LAYOUTS}


# -- detection --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixture", EXPECTED_LAYOUTS)
def test_the_layout_of_a_file_is_detected_with_a_reason(fixture: str) -> None:
    layout, row_type, _ = EXPECTED_LAYOUTS[fixture]
    report = report_source(
        layout_source(fixture), row_types=(row_type,) if fixture in PROMPT_FIXTURES else ROW_TYPE_PRIORITY
    )
    certainty = "likely" if fixture in LIKELY_FIXTURES else "sure"
    assert (report.layout, report.kind, report.certainty) == (layout, row_type, certainty)
    assert report.because.startswith("because every row has `")
    assert all(finding["severity"] == "good" or finding["id"] == "chat_text" for finding in report.findings)
    assert all(part["column"] for part in report.parts if part["needed"])
    assert {alternative["kind"] for alternative in report.others}.isdisjoint({row_type})
    assert json.loads(json.dumps(report.to_dict())) == report.to_dict()


@pytest.mark.parametrize("fixture", [name for name in EXPECTED_LAYOUTS if name != "image_url"])
def test_a_file_is_normalized_to_rows_of_its_row_type(fixture: str) -> None:
    _, row_type, expected_last_row = EXPECTED_LAYOUTS[fixture]
    extra_row_types = ("segments",) if row_type == "messages" and fixture not in PROMPT_FIXTURES else ()
    normalized_rows, drop_counts = normalize_source(layout_source(fixture), row_type, *extra_row_types)
    assert drop_counts == {}
    assert len(normalized_rows) == len(list(files.read_source_rows(layout_source(fixture))))
    assert {
        name: value for name, value in normalized_rows[-1].items() if name in expected_last_row
    } == expected_last_row
    assert {*rows.REQUIRED_COLUMNS[row_type]} - {*normalized_rows[-1]} <= (
        {"prompt"} if row_type in ("preference", "ranked") else set()
    )


def test_images_named_in_a_message_are_loaded() -> None:
    spec = read_spec(
        {"method": "sft", "data": [{"source": f"path:{LAYOUT_FILES_FOLDER / 'image_url.jsonl'}"}], "holdout": {}}
    )
    loaded_rows = list(load.load_data(spec, SFT_ROW_TYPES, "It", chat=True).train)
    assert [len(row["images"]) for row in loaded_rows] == [1, 1]
    assert [part["type"] for part in loaded_rows[1]["messages"][0]["content"]] == ["image", "text"]


def test_the_detected_mapping_written_into_the_spec_gives_the_same_rows() -> None:
    """The rows are the same without the mapping in the spec."""
    for fixture in EXPECTED_LAYOUTS.keys() - {"image_url"}:
        report = report_source(layout_source(fixture))
        source_with_mapping = layout_source(fixture, mapping=report.mapping, layout=report.layout)
        assert normalize_source(source_with_mapping, report.kind) == normalize_source(
            layout_source(fixture), report.kind
        ), fixture


def test_a_run_a_preview_and_a_preflight_read_the_same_rows(tmp_path: Path) -> None:
    source = layout_source(
        "dolly", templates={"prompt": "{context}\n\nQ: {instruction}"}, mapping={"completion": "response"}
    )
    spec = read_spec({"method": "sft", "data": [source.model_dump(exclude_none=True)], "holdout": {}})
    loaded_rows = list(load.load_data(spec, SFT_ROW_TYPES, "It", chat=True).train)
    assert (
        loaded_rows
        == list(load.load_data(spec, SFT_ROW_TYPES, "It", chat=True, max_rows=2).train)
        == normalize_source(source, *SFT_ROW_TYPES)[0]
    )
    assert (
        loaded_rows[0]["prompt"][0]["content"]
        == "The bakery opened in 1990 and has two rooms.\n\nQ: When did the bakery open?"
    )
    assert preflight.check_spec(spec).data[0].templates == source.templates


def test_image_placeholders_become_image_parts_only_when_there_are_images() -> None:
    turns = [
        {"from": "human", "value": "<image>\nWhat do you see, and here: <image>?"},
        {"from": "gpt", "value": "Cats."},
    ]
    [row], _ = normalize_rows([{"conversations": turns, "images": ["a.png", "b.png"]}], "messages")
    assert row["messages"][0]["content"] == [
        {"type": "image"}, text_part("What do you see, and here: "), {"type": "image"}, text_part("?")]  # fmt: skip
    [row], _ = normalize_rows([{"conversations": turns}], "messages")
    assert row["messages"][0]["content"] == turns[0]["value"], "without images the placeholder stays text"


# -- train marks ------------------------------------------------------------------------------------------------------


def test_train_marks_reach_only_methods_that_read_them() -> None:
    marked_rows, _ = normalize_source(layout_source("axolotl_marks"), *SFT_ROW_TYPES)
    first_messages, second_messages, _ = (row["messages"] for row in marked_rows)
    assert first_messages[1]["content"] == [
        text_part("Let me think step by step...", train=False),
        text_part(" The answer is 4.", train=True),
    ]
    assert second_messages[1]["reasoning_content"] == [
        text_part("Hmm maybe 2+3=6.", train=False),
        text_part(" Wait no, 2+3=5.", train=True),
    ]
    assert second_messages[1]["content"] == [text_part("The answer is 5.", weight=1)]
    unmarked_rows, _ = normalize_source(layout_source("axolotl_marks"), "messages")
    assert unmarked_rows[0]["messages"] == [
        user_message("What is 2+2?"),
        assistant_message("Let me think step by step... The answer is 4."),
    ]
    assert unmarked_rows[1]["messages"][1] == assistant_message(
        "The answer is 5.", reasoning_content="Hmm maybe 2+3=6. Wait no, 2+3=5."
    )
    assert unmarked_rows[2]["messages"] == [user_message("Say hello."), assistant_message("Hello hello.")]


def test_train_marks_survive_load_data() -> None:
    spec = read_spec(
        {"method": "sft", "data": [{"source": f"path:{LAYOUT_FILES_FOLDER / 'axolotl_marks.jsonl'}"}], "holdout": {}}
    )
    loaded_messages = [row["messages"] for row in load.load_data(spec, SFT_ROW_TYPES, "It", chat=True).train]
    assert loaded_messages == [row["messages"] if number else [user_message("What is 2+2?"), row["messages"][1]]
                    for number, row in enumerate(normalize_source(layout_source("axolotl_marks"), *SFT_ROW_TYPES)[0])]  # fmt: skip


@pytest.mark.parametrize(("mark", "expected_mark"), [(True, True), ("false", False), (1, True), (0.0, False), ("perhaps", None), (None, None)])  # fmt: skip
def test_a_train_mark_is_true_false_or_none(mark: Any, expected_mark: bool | None) -> None:
    [row], _ = normalize_rows([{"messages": [user_message("a"), assistant_message("b", train=mark)]}], *SFT_ROW_TYPES)
    assert row["messages"][1].get("train") is expected_mark


def test_character_ranges_become_text_parts() -> None:
    ranges = [{"begin_offset": 6, "end_offset": 9, "train": True}, {"begin_offset": 0, "end_offset": 1, "train": False}]
    [row], _ = normalize_rows(
        [{"messages": [user_message("a"), assistant_message("0123456789AB", train_detail=ranges)]}], *SFT_ROW_TYPES
    )
    assert row["messages"][1]["content"] == [
        text_part("01", train=False), text_part("2345"), text_part("6789", train=True), text_part("AB")]  # fmt: skip


# -- speakers ---------------------------------------------------------------------------------------------------------


def normalize_rows(
    source_rows: list[dict[str, Any]], *row_types: str, **source_fields: Any
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    normalizer = rows.RowNormalizer(row_types, "It", is_chat=True)
    return list(normalizer(source_rows, Source(source="path:x", **source_fields))), dict(normalizer.drop_counts)


UNKNOWN_SPEAKER_ROWS = [{"conversations": [{"from": "narrator", "value": "Once."}, {"from": "elf", "value": "And then?"}]},
         {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}]  # fmt: skip


def test_an_unknown_speaker_is_reported_with_its_row_and_a_working_remedy() -> None:
    spec_dict: dict[str, Any] = {"method": "sft", "data": [{"source": "path:x"}]}
    report = report_rows(UNKNOWN_SPEAKER_ROWS)
    assert [finding["id"] for finding in report.findings] == ["speaker", "speaker"]
    assert report.findings[0]["text"].startswith("Row 1 has a turn by “narrator”, and nobody knows who that is")
    assert (report.findings[0]["rows"], report.findings[0]["count"]) == ([1], 1)
    assert {speaker["name"]: speaker["role"] for speaker in report.speakers} == {"narrator": None, "elf": None, "human": "user", "gpt": "assistant"}  # fmt: skip
    assert normalize_rows(UNKNOWN_SPEAKER_ROWS, "messages")[1] == {"nobody knows who “narrator” is": 1}
    while findings := report_rows(UNKNOWN_SPEAKER_ROWS, read_spec(spec_dict).data[0]).findings:
        for path, value in findings[0]["remedy"]["changes"].items():
            spec_dict = set_value(spec_dict, path, value)
    assert spec_dict["data"][0]["roles"] == {"narrator": "user", "elf": "assistant"}
    roles = {"narrator": "user", "elf": "assistant"}
    assert normalize_rows(UNKNOWN_SPEAKER_ROWS, "messages", roles=roles)[0][0]["messages"] == [
        user_message("Once."),
        assistant_message("And then?"),
    ]


def test_roles_in_the_spec_override_known_speakers() -> None:
    [row, _], _ = normalize_rows([{"messages": [user_message("a"), assistant_message("b")]}, {"messages": [user_message("a"), assistant_message("b")]}], "messages",
                        roles={"user": "assistant", "assistant": "user"})  # fmt: skip
    assert row["messages"] == [assistant_message("a"), user_message("b")]


def test_a_function_call_that_is_not_json_stays_text() -> None:
    turns = [{"from": "human", "value": "a"}, {"from": "function_call", "value": "not JSON"}]
    [row], _ = normalize_rows([{"conversations": turns}], "messages")
    assert row["messages"] == [user_message("a"), assistant_message("not JSON")]


@pytest.mark.parametrize(("text", "expected_messages"), [
    ("Human: a\nAssistant: b", [user_message("a"), assistant_message("b")]),
    ("User: a\n\nAI: b\n\nUser: c\n\nAI:", [user_message("a"), assistant_message("b"), user_message("c")]),
    ("System: Be kind.\n\nHuman: a\n\nAssistant: b", [system_message("Be kind."), user_message("a"), assistant_message("b")]),
    ("\n\nHuman: a\n\nAssistant: It reads:\nHuman: no turn\n\nAssistant: c", [user_message("a"), assistant_message("It reads:\nHuman: no turn"), assistant_message("c")]),
    ("Human: a", None), ("A play.\n\nHuman: a\n\nAssistant: b", None), ("Assistant: a\n\nHuman: b", None), ("Humans: a\nAssistants: b", None), (5, None),
])  # fmt: skip
def test_a_transcript_is_parsed_into_messages(text: Any, expected_messages: list[dict[str, Any]] | None) -> None:
    from app.data.layouts.transcript import parse_transcript

    assert parse_transcript(text) == expected_messages


def test_text_is_read_as_a_transcript_only_when_most_rows_are_transcripts() -> None:
    mostly_text_rows = [{"text": f"Day {i}. The sun was warm."} for i in range(9)] + [
        {"text": "Human: a\n\nAssistant: b"}
    ]
    assert report_rows(mostly_text_rows).layout == "text"
    mostly_transcript_rows = [{"text": "Human: a\n\nAssistant: b"}] * 9 + [{"text": "Nobody speaks."}]
    report = report_rows(mostly_transcript_rows)
    assert (report.layout, report.because) == ("transcript", "because every row has `text`: “Human:” and “Assistant:” in turn")  # fmt: skip
    assert report_rows(mostly_transcript_rows, row_types=("text",)).layout == "text", (
        "a method that takes plain text also takes transcripts"
    )
    assert normalize_rows(mostly_transcript_rows, "messages")[1] == {"it is no conversation of Human and Assistant": 1}
    preference_rows = [
        {"good one": row["text"], "bad one": row["text"].replace("b", "c")} for row in mostly_transcript_rows[:9]
    ]
    preference_row = normalize_rows(
        preference_rows, "preference", mapping={"chosen": "good one", "rejected": "bad one"}
    )[0][0]
    assert preference_row == {
        "prompt": [user_message("a")],
        "chosen": [assistant_message("b")],
        "rejected": [assistant_message("c")],
    }


# -- mappings, templates and paths ------------------------------------------------------------------------------------


def test_a_dotted_path_selects_nested_columns() -> None:
    nested_rows = [{"data": {"turns": [{"q": "a?", "r": {"best": "b"}}]}, "a.b": "own"}]
    mapping = {"prompt": "data.turns.0.q", "completion": "data.turns.0.r.best"}
    assert normalize_rows(nested_rows, "prompt_completion", mapping=mapping)[0] == [
        {"prompt": [user_message("a?")], "completion": [assistant_message("b")]}
    ]
    assert normalize_rows(nested_rows, "text", mapping={"text": "a.b"})[0] == [{"text": "own"}]
    assert {column["name"]: column["type"] for column in report_rows(nested_rows).columns} == {
        "data": "group", "data.turns": "list of groups", "a.b": "text"}  # fmt: skip


def test_a_template_can_use_all_columns_and_nothing_else() -> None:
    table_rows = [{"Customer": "Ida", "Issue": {"kind": "late"}, "Team": "post", "n": 3}]
    templates = {
        "prompt": "{Customer} says {{{Issue.kind}}}: {n} {Customer.__class__}{missing}",
        "completion": "{Team}",
    }
    with pytest.raises(Problem, match=r"speaks of a column “Customer\.__class__”, and there is none"):
        normalize_rows(table_rows, "prompt_completion", templates=templates)
    templates["prompt"] = "{Customer} says {{{Issue.kind}}}: {n}"
    assert normalize_rows(table_rows, "prompt_completion", templates=templates)[0] == [
        {"prompt": [user_message("Ida says {late}: 3")], "completion": [assistant_message("post")]}]  # fmt: skip


@pytest.mark.parametrize(("template", "expected_text"), [
    ("{", "a brace at place 1 has no partner"), ("a } b", "a brace at place 3 has no partner"), ("{}", "{} without the name of a column"),
    ("{a!r}", "speaks of a column “a!r”"), ("{a:>9999999999}", "speaks of a column “a:>9999999999”"), ("{a[0]}", "speaks of a column “a[0]”"),
])  # fmt: skip
def test_an_invalid_template_is_refused_with_the_reason(template: str, expected_text: str) -> None:
    with pytest.raises(Problem) as error:
        normalize_rows([{"a": "x", "b": "y"}], "text", templates={"text": template})
    assert expected_text in error.value.text
    assert error.value.advice


def test_a_mapping_to_an_unknown_column_has_a_remedy() -> None:
    table_rows = [{"question": "a?", "reply": "b"}]
    report = report_rows(table_rows, Source(source="path:x", mapping={"prompt": "qestion"}), source_index=2)
    assert report.findings[0] == {
        "id": "mapping", "severity": "wrong", "text": "There is no column “qestion”. Did you mean “question”?", "count": 0, "rows": [],
        "remedy": {"title": "Take “question”", "changes": {"data.2.mapping": {"prompt": "question"}}}}  # fmt: skip
    assert report.columns[0] == {"name": "question", "type": "text", "examples": ["a?"], "empty": 0}


def test_a_mapping_to_a_column_of_the_wrong_type_is_explained() -> None:
    report = report_rows([{"body": "a", "n": 1}], Source(source="path:x", mapping={"messages": "body"}))
    assert [finding["text"] for finding in report.findings] == [
        "`body` cannot be the conversation: it holds text, and should hold a list of turns, each with who speaks and what is said."]  # fmt: skip


def test_a_chosen_layout_is_used_or_refused_with_its_missing_columns() -> None:
    table_rows = [{"text": "It broke.", "label": "repairs"}]
    with pytest.raises(Problem, match=r"could be read as questions and answers \(`pair`\) or plain text \(`text`\)"):
        normalize_rows(table_rows, *SFT_ROW_TYPES)
    assert normalize_rows(table_rows, *SFT_ROW_TYPES, layout="text")[0] == [{"text": "It broke."}]
    assert normalize_rows(table_rows, *SFT_ROW_TYPES, layout="pair")[0][0]["completion"] == [
        assistant_message("repairs")
    ]
    with pytest.raises(Problem, match="lack a column of tasks and one of answers"):
        normalize_rows([{"text": "It broke."}], *SFT_ROW_TYPES, layout="alpaca")
    with pytest.raises(Problem, match="cannot learn from plain text"):
        normalize_rows(table_rows, "preference", layout="text")
    with pytest.raises(Problem, match="no layout called “alpacca”"):
        normalize_rows(table_rows, *SFT_ROW_TYPES, layout="alpacca")


def test_two_columns_with_unknown_names_are_suggested_but_never_used_silently() -> None:
    table_rows = [{"frage": "Wer?", "antwort": "Ida."}]
    report = report_rows(table_rows)
    assert (report.layout, report.certainty, report.mapping) == ("pair", "possible", {"prompt": "frage", "completion": "antwort"})  # fmt: skip
    assert report.findings[0]["remedy"]["changes"] == {"data.0.mapping": report.mapping}
    with pytest.raises(Problem, match="The examples have the columns"):
        normalize_rows(table_rows, *SFT_ROW_TYPES)
    assert normalize_rows(table_rows, *SFT_ROW_TYPES, mapping=report.mapping)[0] == [
        {"prompt": [user_message("Wer?")], "completion": [assistant_message("Ida.")]}
    ]


@pytest.mark.parametrize(("table_rows", "source_fields", "expected_text"), [
    ([{"frage": "a?", "n": "b", "m": "c"}], {"mapping": {"prompt": "frage"}}, "To be read as questions and answers, the rows lack a column: say which is the answer."),
    ([{"frage": "a?"}], {"layout": "alpaca"}, "To be read as tasks in Alpaca's form, the rows lack a column: say which is the task and which the answer."),
    ([{"frage": "a?"}], {"layout": "preference"}, "What is to be learned cannot be learned from better and worse answers: choose another layout, or another lesson."),
    ([{"prompt": "a", "chosen": "b", "rejected": "c"}], {}, "These rows are better and worse answers, and what is to be learned is not learned from such: choose another lesson."),
    ([{"frage": "a?"}], {}, "Nothing in these rows tells what they are: say which column is which."), ([], {}, "There are no rows."),
])  # fmt: skip
def test_unreadable_rows_are_reported_with_what_is_missing(
    table_rows: list[dict[str, Any]], source_fields: dict[str, Any], expected_text: str
) -> None:
    report = report_rows(table_rows, Source(source="path:x", **source_fields), row_types=SFT_ROW_TYPES)
    assert [(finding["severity"], finding["text"]) for finding in report.findings] == [("wrong", expected_text)]
    assert report.layout is None


def test_messages_and_lists_serialized_as_text_are_parsed() -> None:
    turns = [user_message("a"), assistant_message("it's b")]
    for cell in (json.dumps(turns), str(turns), json.dumps({"messages": turns})):
        assert normalize_rows([{"messages": cell}], "messages")[0] == [{"messages": turns}], cell
    assert normalize_rows([{"prompt": "a", "completions": "['b', 'c']", "labels": "[True, False]"}], "stepwise")[0][0]["labels"] == [True, False]  # fmt: skip
    answer = '[{"role": "wizard"}]'
    assert normalize_rows([{"prompt": "a", "completion": answer}], "prompt_completion")[0][0]["completion"] == [
        assistant_message(answer)
    ], "a completion may be JSON text"


def test_dropped_rows_are_reported_with_their_reasons() -> None:
    report = report_rows([{"prompt": "a", "completion": "b"}, {"prompt": "", "completion": "b"}, {"prompt": "a"}])
    assert report.findings == [{"id": "left_out", "severity": "careful", "count": 2, "rows": [2, 3], "remedy": None,
                               "text": "2 of the first 3 rows are left out: empty prompt or completion (row 2)."}]  # fmt: skip
    assert report.because == "because 1 of 3 rows have `prompt` and `completion`"


def test_a_link_carries_mapping_roles_and_templates_and_unknown_roles_are_refused() -> None:
    source = {"source": "sample:tickets", "layout": "pair", "mapping": {"completion": "a.0.b"}, "roles": {"elf": "user"}, "templates": {"prompt": "{x.__class__}"}}  # fmt: skip
    spec = read_spec({"method": "sft", "data": [source]})
    assert links.decode_setup(links.link_to_setup(spec)).data == spec.data
    with pytest.raises(Problem, match=r"is .wizard."):
        read_spec({"method": "sft", "data": [source | {"roles": {"elf": "wizard"}}]})


# -- arbitrary rows ---------------------------------------------------------------------------------------------------

COLUMN_NAMES = st.sampled_from([*COLUMN_SPECS, "role", "content", "from", "value", "text", "conversations", "train", "weight", "tool_calls", "🜁", "a.b", ""])  # fmt: skip
LEAF_VALUES = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20) | st.binary(max_size=4) | st.sampled_from(
    ["user", "assistant", "function_call", '{"function": 5}', '[{"role": "user", "content": null}]', "[[[", "{'a': 1}", "\x00", "x" * 100_000])  # fmt: skip
NESTED_VALUES = st.recursive(LEAF_VALUES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(COLUMN_NAMES, inner, max_size=4), max_leaves=12)  # fmt: skip
ROW_LISTS = st.lists(st.dictionaries(COLUMN_NAMES, NESTED_VALUES, max_size=6), max_size=4)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, database=None, derandomize=True, suppress_health_check=[*HealthCheck])
@given(
    ROW_LISTS,
    st.dictionaries(COLUMN_NAMES, st.sampled_from([*COLUMN_SPECS, "a.b", "messages.0.content", "."]), max_size=2),
)
def test_arbitrary_rows_are_reported_and_normalized_without_a_crash(
    row_list: list[dict[str, Any]], mapping: dict[str, str]
) -> None:
    """Rows that cannot be read are findings in the report, and raise a Problem or are counted as dropped in a run."""
    source = Source(source="path:x", mapping=mapping)
    json.dumps(report_rows(row_list, source).to_dict())
    for row_types in (SFT_ROW_TYPES, ("preference",), ("thumbs", "preference"), ("prompt",), ("stepwise",), ("ranked",), ("hinted",)):  # fmt: skip
        normalizer = rows.RowNormalizer(row_types, "It", is_chat=True)
        try:
            normalized_rows = list(normalizer(row_list, source))
        except Problem:
            continue
        refused_count = sum(len(refusal.numbers) for refusal in normalizer.refused_rows.refusals.values())
        assert len(normalized_rows) + normalizer.drop_counts.total() + refused_count == len(row_list)


@pytest.mark.parametrize("step", [
    {"completions": [], "chosen_completion": None, "human_completion": {"rating": 1}}, {"completions": [{"text": "b", "rating": [1]}], "chosen_completion": 0},
    {"completions": [{"text": "b", "rating": "x"}], "chosen_completion": -9},
])  # fmt: skip
def test_a_strange_rated_step_leaves_its_row_out(step: dict[str, Any]) -> None:
    good_step = {"completions": [{"text": "a", "rating": 1}, {"text": "b", "rating": -1}], "chosen_completion": -1}
    rated_rows = [{"prompt": "x?", "rated_steps": [good_step]}, {"prompt": "y?", "rated_steps": [good_step, step]}]
    normalized_rows, drop_counts = normalize_rows(rated_rows, "stepwise", layout="rated_steps")
    assert normalized_rows == [{"prompt": "x?", "completions": ["a"], "labels": [1]}]
    assert sum(drop_counts.values()) == 1


def test_a_row_that_is_nested_too_deeply_is_dropped() -> None:
    nested_list: Any = "x"
    for _ in range(5000):
        nested_list = [nested_list]
    normalized_rows, drop_counts = normalize_rows([{"text": "a"}, {"text": "a", "more": nested_list}], "text")
    assert (normalized_rows, drop_counts) == ([{"text": "a"}], {"nested too deeply": 1})
    assert report_rows([{"text": nested_list}]).rows == 1


# -- trained tokens, and the command line -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerClient]:
    with pytest.MonkeyPatch.context() as monkeypatch, WorkerClient() as worker:
        monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path_factory.mktemp("home")))
        yield worker


EXPECTED_TRAINED_TEXTS = {
    "messages": ["It says quack.", "Lucy is the baker.Yes.", "Hello, dear friend!"],
    "openai_weights": ["Yes, fresh every morning.", "Cakes on Friday."],
    "segments": ["Lucy.</s>", "Moo. Cluck.</s>"],
    "transcript": ["The cow says moo.Cluck, all day:Cluck.", "Lucy is the baker.Any time."],
    "sharegpt": ["It is down.", "Nora is the doctor.Any time."],
    "alpaca": ["quiet", "A plum.", "A plum again."],
    "dolly": ["In 1990.", "A duck, a hen and a cow."],
    "question_answer": ["At the forge.", "Croak."],
    # nothing comes before the first token, so it is not trained
    "text": ["iary of Ida, Friday. It is summer and the sun is warm.", "iary of Clara, Friday. It is autumn and the leaves fall."],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("fixture", EXPECTED_TRAINED_TEXTS)
def test_the_preview_trains_the_expected_text_of_each_layout(fixture: str, worker: WorkerClient) -> None:
    preview_rows = worker.preview_rows(build_spec("sft", f"path:{LAYOUT_FILES_FOLDER / fixture}.jsonl"), 3)["rows"]
    trained_texts = [
        "".join(token["text"] for token in row["tokens"] if token["trained"] and not token["special"])
        for row in preview_rows
    ]
    assert [text.replace("\n", "").strip() for text in trained_texts] == EXPECTED_TRAINED_TEXTS[fixture]


@pytest.mark.slow
def test_rows_of_token_ids_are_used_unchanged(worker: WorkerClient) -> None:
    preview_rows = worker.preview_rows(build_spec("sft", f"path:{LAYOUT_FILES_FOLDER / 'tokens.jsonl'}"), 2)["rows"]
    assert [[(token["id"], token["trained"]) for token in row["tokens"]] for row in preview_rows][1] == [(1, False), (50, False), (51, True), (2, True)]  # fmt: skip


@pytest.mark.slow
def test_the_command_line_inspects_a_file(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", UNKNOWN_SPEAKER_ROWS).removeprefix("path:")
    output = run_command_line("inspect", path).stdout
    assert (
        "Conversations in ShareGPT's form (sure), because every row has `conversations`: turns with `from` and `value`."
        in output
    )
    assert "wrong: Row 1 has a turn by “narrator”" in output
    assert json.loads(run_command_line("inspect", path, "--json").stdout)["layout"] == "sharegpt"
