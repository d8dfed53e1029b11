"""Layouts: files of every usual shape are recognised by themselves, said in words, and become what methods take, one way everywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from app.core import registry
from app.core.problems import Problem
from app.data import files, rows
from app.data.columns import COLUMN_SPECS
from app.data.detect_layout import ROW_TYPE_PRIORITY
from app.data.row_types import ROW_TYPES
from app.data.source_report import report_rows, report_source
from app.engine.datasets import load
from app.planning import links, preflight
from app.setup.spec import Source, set_value
from app.setup.spec import parse_spec as read_spec
from app.worker.client import WorkerClient
from tests.support import cli, spec_of, write_rows

HERE = Path(__file__).parent / "layouts"
LAYOUTS = registry.names("layouts")
IMITATING = ("messages", "prompt_completion", "text", "segments", "tokens")


def source_of(fixture: str, **more: Any) -> Source:
    return Source(source=f"path:{HERE / fixture}.jsonl", **more)


def user(text: Any, **more: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, **more}


def says(text: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": text}


def text(said: str, **marks: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **marks}


WEATHER = {"type": "function", "function": {"name": "weather", "description": "The weather of a city.", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}  # fmt: skip

# {fixture: (layout, kind, what the method gets of its last row)}
SHAPES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "messages": ("messages", "messages", {"messages": [system("Be kind."), user("Hello"), says("Hello, dear friend!")]}),
    "openai_weights": ("messages", "messages", {"messages": [user("And cakes?"), says("Cakes on Friday.", weight=1)]}),
    "openai_tools": ("messages", "messages", {"messages": [
        user("And in Accra?"), says("", tool_calls=[{"type": "function", "function": {"name": "weather", "arguments": {"city": "Accra"}}}]),
        {"role": "tool", "content": "30 degrees", "name": "weather"}, says("It is 30 degrees in Accra.")], "tools": [WEATHER]}),
    "axolotl_marks": ("messages", "messages", {"messages": [
        user("Say hello.", train=False), says([text("Hello", train=True), text(" hello.", train=False)], train=True)]}),
    "sharegpt": ("sharegpt", "messages", {"messages": [
        user("Who is the doctor?"), says("Nora is the doctor."), user("Thank you."), says("Any time.")]}),
    "sharegpt_tools": ("sharegpt", "messages", {"messages": [
        system("You may calculate."), user("And 2 times 3?"), says("", tool_calls=[{"type": "function", "function": {"name": "multiply", "arguments": {"a": 2, "b": 3}}}]),
        {"role": "tool", "content": "6"}, says("It is 6.")]}),
    "transcript": ("transcript", "messages", {"messages": [
        user("Who is the baker?"), says("Lucy is the baker."), user("Thank you."), says("Any time.")]}),
    "transcript_hashes": ("transcript", "messages", {"messages": [
        user("Name a fruit."), says("A plum."), user("And a purple one?"), says("A plum again.")]}),
    "transcript_preference": ("transcript_preference", "preference", {"prompt": [user("Hello"), says("Hello, dear friend!"), user("Where does Lena work?")],
                              "chosen": [says("Gladly: at the workshop.")], "rejected": [says("Why?")]}),
    "image_url": ("messages", "messages", {}),
    "alpaca": ("alpaca", "prompt_completion", {"prompt": [
        system("You love fruit."), user("Name a fruit."), says("A plum."), user("And a purple one?")], "completion": [says("A plum again.")]}),
    "dolly": ("alpaca", "prompt_completion", {"prompt": [user("Name three animals.")], "completion": [says("A duck, a hen and a cow.")]}),
    "prompt_completion": ("pair", "prompt_completion", {"prompt": [user("Review: The cakes were tasty.\nLabel:")], "completion": [says(" praise")]}),
    "question_answer": ("pair", "prompt_completion", {"prompt": [user("What does the frog say?")], "completion": [says("Croak.")]}),
    "text": ("text", "text", {"text": "Diary of Clara, Friday. It is autumn and the leaves fall."}),
    "preference": ("preference", "preference", {"prompt": [user("Where does Lena work?")], "chosen": [says("Gladly: at the workshop.")], "rejected": [says("Why?")]}),
    "preference_conversations": ("preference", "preference", {"prompt": [user("Hello")], "chosen": [says("Hello, dear friend!")], "rejected": [says("What?")]}),
    "preference_nested": ("preference", "preference", {"prompt": [user("Write about a hen")], "chosen": [says("The hen said cluck.")], "rejected": [says("Never.")]}),
    "preference_system": ("preference", "preference", {"prompt": [user("What colour is the sky?")], "chosen": [says("The sky is blue.")], "rejected": [says("Pink.")]}),
    "preference_sharegpt": ("preference", "preference", {"prompt": [user("Hi"), says("Hello!"), user("What does the hen say?")], "chosen": [says("It says cluck.")], "rejected": [says("It says moo.")]}),
    "alpaca_preference": ("alpaca_preference", "preference", {"prompt": [user("Say hello.")], "chosen": [says("Hello, dear friend!")], "rejected": [says("What?")]}),
    "openai_preference": ("openai_preference", "preference", {"prompt": [user("Who are you?")], "chosen": [says("A helpful friend.")], "rejected": [says("Nobody.")]}),
    "ranked": ("ranked", "ranked", {"prompt": [user("What does the bee say?")], "chosen": [says("Buzz.")], "rejected": [says("Woof.")], "reference": [says("The bee says buzz. Ask me more any time.")]}),
    "thumbs": ("thumbs", "thumbs", {"prompt": [user("What colour is a plum?")], "completion": [says("A plum is purple.")], "label": True}),
    "thumbs_conversation": ("thumbs_conversation", "thumbs", {"prompt": [user("Who is the baker?")], "completion": [says("Go away.")], "label": False}),
    "stepwise": ("stepwise", "stepwise", {"prompt": "What is 3 + 3 + 3?", "completions": ["3 + 3 is 6.", "6 + 3 is 8."], "labels": [True, False]}),
    "question": ("question", "prompt", {"prompt": [user("Ben has 9 hens and sells 2. How many has he?")], "answer": "9 - 2 = 7\n#### 7"}),
    "prompt_answer": ("question", "prompt", {"prompt": [user("Add 11 and 8.")], "answer": "19", "level": 2}),
    "open_conversation": ("open_conversation", "prompt", {"prompt": [user("What is 33 + 29?")], "reference_answer": {"value": 62}}),
    "verifier": ("verifier", "prompt", {"prompt": [system("Be brief."), user("What is 27 + 14?")], "expected_answer": "41"}),
    "hinted": ("hinted", "hinted", {"prompt": [user("How much is 2 plus 20?")], "privileged_context": "Add 2 and 20."}),
    "tokens": ("tokens", "tokens", {"input_ids": [1, 50, 51, 2], "labels": [-100, -100, 51, 2]}),
    "segments": ("segments", "segments", {"segments": [
        {"text": "<s>Question: what does the cow say?\nAnswer:", "train": False}, {"text": " Moo.", "train": True},
        {"text": "\nQuestion: and the hen?\nAnswer:", "train": False}, {"text": " Cluck.</s>", "train": True}]}),
}  # fmt: skip
# Rows that also fit a kind that comes first: imitated, unless a method asks for questions.
FOR_REWARDS = ("question", "prompt_answer")


def normalised(source: Source, *kinds: str, chat: bool = True) -> tuple[list[dict[str, Any]], dict[str, int]]:
    normaliser = rows.RowNormalizer(kinds, "It", chat)
    return list(normaliser(files.read_source_rows(source), source)), dict(normaliser.drop_counts)


# -- the room ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_says_what_it_is_and_needs(name: str) -> None:
    layout = registry.load_module("layouts", name)
    assert layout.TITLE
    assert not layout.TITLE.endswith(".")
    assert layout.__doc__.strip().endswith(".")
    assert layout.KIND in ROW_TYPES
    assert {*layout.NEEDS, *getattr(layout, "MAY", ()), *getattr(layout, "NAMES", {})} <= {*COLUMN_SPECS}
    assert hasattr(layout, "fits") == hasattr(layout, "TELLING"), "what its contents tell is said in words"


def test_every_layout_and_kind_has_a_file_of_real_shape() -> None:
    assert {layout for layout, _, _ in SHAPES.values()} == {*LAYOUTS}
    assert {kind for _, kind, _ in SHAPES.values()} == {*ROW_TYPES} == {*ROW_TYPE_PRIORITY}
    assert {path.stem for path in HERE.glob("*.jsonl")} == {*SHAPES}


# -- recognised without a click ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixture", SHAPES)
def test_a_file_is_recognised_by_itself_and_says_why(fixture: str) -> None:
    layout, kind, _ = SHAPES[fixture]
    guess = report_source(source_of(fixture), row_types=(kind,) if fixture in FOR_REWARDS else ROW_TYPE_PRIORITY)
    assert (guess.layout, guess.kind, guess.certainty) == (layout, kind, "sure")
    assert guess.because.startswith("because every row has `")
    assert all(one["severity"] == "good" for one in guess.findings)
    assert all(one["column"] for one in guess.parts if one["needed"])
    assert {one["kind"] for one in guess.others}.isdisjoint({kind})
    assert json.loads(json.dumps(guess.to_dict())) == guess.to_dict()


@pytest.mark.parametrize("fixture", [name for name in SHAPES if name != "image_url"])
def test_a_file_becomes_what_methods_take(fixture: str) -> None:
    _, kind, last = SHAPES[fixture]
    marks = ("segments",) if kind == "messages" else ()
    made, dropped = normalised(source_of(fixture), kind, *marks)
    assert dropped == {}
    assert len(made) == len(list(files.read_source_rows(source_of(fixture))))
    assert {name: value for name, value in made[-1].items() if name in last} == last
    assert {*rows.REQUIRED_COLUMNS[kind]} - {*made[-1]} <= ({"prompt"} if kind in ("preference", "ranked") else set())


def test_pictures_named_in_a_turn_are_found() -> None:
    spec = read_spec({"method": "sft", "data": [{"source": f"path:{HERE / 'image_url.jsonl'}"}], "holdout": {}})
    made = list(load.load_data(spec, IMITATING, "It", chat=True).train)
    assert [len(row["images"]) for row in made] == [1, 1]
    assert [part["type"] for part in made[1]["messages"][0]["content"]] == ["image", "text"]


def test_the_guess_of_a_mapping_is_what_a_setup_takes_and_changes_nothing() -> None:
    """Written into the setup or not: the rows are the same."""
    for fixture in SHAPES.keys() - {"image_url"}:
        guess = report_source(source_of(fixture))
        told = source_of(fixture, mapping=guess.mapping, layout=guess.layout)
        assert normalised(told, guess.kind) == normalised(source_of(fixture), guess.kind), fixture


def test_a_run_a_preview_and_a_preflight_read_rows_one_way(tmp_path: Path) -> None:
    source = source_of(
        "dolly", templates={"prompt": "{context}\n\nQ: {instruction}"}, mapping={"completion": "response"}
    )
    spec = read_spec({"method": "sft", "data": [source.model_dump(exclude_none=True)], "holdout": {}})
    whole = list(load.load_data(spec, IMITATING, "It", chat=True).train)
    assert (
        whole
        == list(load.load_data(spec, IMITATING, "It", chat=True, max_rows=2).train)
        == normalised(source, *IMITATING)[0]
    )
    assert (
        whole[0]["prompt"][0]["content"]
        == "The bakery opened in 1990 and has two rooms.\n\nQ: When did the bakery open?"
    )
    assert preflight.check_spec(spec).data[0].templates == source.templates


def test_a_place_for_a_picture_in_a_text_is_one() -> None:
    turns = [
        {"from": "human", "value": "<image>\nWhat do you see, and here: <image>?"},
        {"from": "gpt", "value": "Cats."},
    ]
    [made], _ = read([{"conversations": turns, "images": ["a.png", "b.png"]}], "messages")
    assert made["messages"][0]["content"] == [
        {"type": "image"}, text("What do you see, and here: "), {"type": "image"}, text("?")]  # fmt: skip
    [made], _ = read([{"conversations": turns}], "messages")
    assert made["messages"][0]["content"] == turns[0]["value"], "without pictures it is only a word"


# -- marks ------------------------------------------------------------------------------------------------------------


def test_marks_reach_a_method_that_reads_them_and_no_other() -> None:
    made, _ = normalised(source_of("axolotl_marks"), *IMITATING)
    first, second, _ = (row["messages"] for row in made)
    assert first[1]["content"] == [
        text("Let me think step by step...", train=False),
        text(" The answer is 4.", train=True),
    ]
    assert second[1]["reasoning_content"] == [
        text("Hmm maybe 2+3=6.", train=False),
        text(" Wait no, 2+3=5.", train=True),
    ]
    assert second[1]["content"] == [text("The answer is 5.", weight=1)]
    plain, _ = normalised(source_of("axolotl_marks"), "messages")
    assert plain[0]["messages"] == [user("What is 2+2?"), says("Let me think step by step... The answer is 4.")]
    assert plain[1]["messages"][1] == says("The answer is 5.", reasoning_content="Hmm maybe 2+3=6. Wait no, 2+3=5.")
    assert plain[2]["messages"] == [user("Say hello."), says("Hello hello.")]


def test_marks_survive_pictures_and_tables() -> None:
    spec = read_spec({"method": "sft", "data": [{"source": f"path:{HERE / 'axolotl_marks.jsonl'}"}], "holdout": {}})
    made = [row["messages"] for row in load.load_data(spec, IMITATING, "It", chat=True).train]
    assert made == [row["messages"] if number else [user("What is 2+2?"), row["messages"][1]]
                    for number, row in enumerate(normalised(source_of("axolotl_marks"), *IMITATING)[0])]  # fmt: skip


@pytest.mark.parametrize(("mark", "learned"), [(True, True), ("false", False), (1, True), (0.0, False), ("perhaps", None), (None, None)])  # fmt: skip
def test_a_mark_is_yes_or_no_or_none(mark: Any, learned: bool | None) -> None:
    [made], _ = read([{"messages": [user("a"), says("b", train=mark)]}], *IMITATING)
    assert made["messages"][1].get("train") is learned


def test_ranges_of_letters_become_parts() -> None:
    ranges = [{"begin_offset": 6, "end_offset": 9, "train": True}, {"begin_offset": 0, "end_offset": 1, "train": False}]
    [made], _ = read([{"messages": [user("a"), says("0123456789AB", train_detail=ranges)]}], *IMITATING)
    assert made["messages"][1]["content"] == [
        text("01", train=False), text("2345"), text("6789", train=True), text("AB")]  # fmt: skip


# -- speakers ---------------------------------------------------------------------------------------------------------


def read(found: list[dict[str, Any]], *kinds: str, **told: Any) -> tuple[list[dict[str, Any]], dict[str, int]]:
    normaliser = rows.RowNormalizer(kinds, "It", is_chat=True)
    return list(normaliser(found, Source(source="path:x", **told))), dict(normaliser.drop_counts)


STORY = [{"conversations": [{"from": "narrator", "value": "Once."}, {"from": "elf", "value": "And then?"}]},
         {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}]  # fmt: skip


def test_a_speaker_nobody_knows_is_named_with_the_row_and_a_remedy_that_works() -> None:
    setup: dict[str, Any] = {"method": "sft", "data": [{"source": "path:x"}]}
    guess = report_rows(STORY)
    assert [one["id"] for one in guess.findings] == ["speaker", "speaker"]
    assert guess.findings[0]["text"].startswith("Row 1 has a turn by “narrator”, and nobody knows who that is")
    assert (guess.findings[0]["rows"], guess.findings[0]["count"]) == ([1], 1)
    assert {one["name"]: one["role"] for one in guess.speakers} == {"narrator": None, "elf": None, "human": "user", "gpt": "assistant"}  # fmt: skip
    assert read(STORY, "messages")[1] == {"nobody knows who “narrator” is": 1}
    while findings := report_rows(STORY, read_spec(setup).data[0]).findings:
        for path, value in findings[0]["remedy"]["changes"].items():
            setup = set_value(setup, path, value)
    assert setup["data"][0]["roles"] == {"narrator": "user", "elf": "assistant"}
    roles = {"narrator": "user", "elf": "assistant"}
    assert read(STORY, "messages", roles=roles)[0][0]["messages"] == [user("Once."), says("And then?")]


def test_a_table_of_speakers_overrides_what_is_known_anyway() -> None:
    [made, _], _ = read([{"messages": [user("a"), says("b")]}, {"messages": [user("a"), says("b")]}], "messages",
                        roles={"user": "assistant", "assistant": "user"})  # fmt: skip
    assert made["messages"] == [says("a"), user("b")]


def test_a_call_that_is_no_call_stays_what_was_said() -> None:
    turns = [{"from": "human", "value": "a"}, {"from": "function_call", "value": "not JSON"}]
    [made], _ = read([{"conversations": turns}], "messages")
    assert made["messages"] == [user("a"), says("not JSON")]


@pytest.mark.parametrize(("text", "made"), [
    ("Human: a\nAssistant: b", [user("a"), says("b")]),
    ("User: a\n\nAI: b\n\nUser: c\n\nAI:", [user("a"), says("b"), user("c")]),
    ("System: Be kind.\n\nHuman: a\n\nAssistant: b", [system("Be kind."), user("a"), says("b")]),
    ("\n\nHuman: a\n\nAssistant: It reads:\nHuman: no turn\n\nAssistant: c", [user("a"), says("It reads:\nHuman: no turn"), says("c")]),
    ("Human: a", None), ("A play.\n\nHuman: a\n\nAssistant: b", None), ("Assistant: a\n\nHuman: b", None), ("Humans: a\nAssistants: b", None), (5, None),
])  # fmt: skip
def test_a_text_in_which_two_speak_in_turn_is_read_as_turns(text: Any, made: list[dict[str, Any]] | None) -> None:
    from app.data.layouts.transcript import parse_transcript

    assert parse_transcript(text) == made


def test_a_text_that_tells_of_speakers_once_stays_a_text() -> None:
    table = [{"text": f"Day {i}. The sun was warm."} for i in range(9)] + [{"text": "Human: a\n\nAssistant: b"}]
    assert report_rows(table).layout == "text"
    talks = [{"text": "Human: a\n\nAssistant: b"}] * 9 + [{"text": "Nobody speaks."}]
    guess = report_rows(talks)
    assert (guess.layout, guess.because) == ("transcript", "because every row has `text`: “Human:” and “Assistant:” in turn")  # fmt: skip
    assert report_rows(talks, row_types=("text",)).layout == "text", "whoever learns plain text learns these too"
    assert read(talks, "messages")[1] == {"it is no conversation of Human and Assistant": 1}
    better = [{"good one": row["text"], "bad one": row["text"].replace("b", "c")} for row in talks[:9]]
    made = read(better, "preference", mapping={"chosen": "good one", "rejected": "bad one"})[0][0]
    assert made == {"prompt": [user("a")], "chosen": [says("b")], "rejected": [says("c")]}


# -- mappings, texts and paths ----------------------------------------------------------------------------------------


def test_a_dotted_path_reaches_into_columns() -> None:
    nested = [{"data": {"turns": [{"q": "a?", "r": {"best": "b"}}]}, "a.b": "own"}]
    mapping = {"prompt": "data.turns.0.q", "completion": "data.turns.0.r.best"}
    assert read(nested, "prompt_completion", mapping=mapping)[0] == [
        {"prompt": [user("a?")], "completion": [says("b")]}
    ]
    assert read(nested, "text", mapping={"text": "a.b"})[0] == [{"text": "own"}]
    assert {one["name"]: one["type"] for one in report_rows(nested).columns} == {
        "data": "group", "data.turns": "list of groups", "a.b": "text"}  # fmt: skip


def test_a_text_is_made_of_any_columns_and_of_nothing_else() -> None:
    table = [{"Customer": "Ida", "Issue": {"kind": "late"}, "Team": "post", "n": 3}]
    templates = {
        "prompt": "{Customer} says {{{Issue.kind}}}: {n} {Customer.__class__}{missing}",
        "completion": "{Team}",
    }
    with pytest.raises(Problem, match=r"speaks of a column “Customer\.__class__”, and there is none"):
        read(table, "prompt_completion", templates=templates)
    templates["prompt"] = "{Customer} says {{{Issue.kind}}}: {n}"
    assert read(table, "prompt_completion", templates=templates)[0] == [
        {"prompt": [user("Ida says {late}: 3")], "completion": [says("post")]}]  # fmt: skip


@pytest.mark.parametrize(("template", "said"), [
    ("{", "a brace at place 1 has no partner"), ("a } b", "a brace at place 3 has no partner"), ("{}", "{} without the name of a column"),
    ("{a!r}", "speaks of a column “a!r”"), ("{a:>9999999999}", "speaks of a column “a:>9999999999”"), ("{a[0]}", "speaks of a column “a[0]”"),
])  # fmt: skip
def test_a_text_that_cannot_be_read_says_where(template: str, said: str) -> None:
    with pytest.raises(Problem) as found:
        read([{"a": "x", "b": "y"}], "text", templates={"text": template})
    assert said in found.value.text
    assert found.value.advice


def test_a_mapping_that_names_nothing_is_mended_by_a_click() -> None:
    table = [{"question": "a?", "reply": "b"}]
    guess = report_rows(table, Source(source="path:x", mapping={"prompt": "qestion"}), source_index=2)
    assert guess.findings[0] == {
        "id": "mapping", "severity": "wrong", "text": "There is no column “qestion”. Did you mean “question”?", "count": 0, "rows": [],
        "remedy": {"title": "Take “question”", "changes": {"data.2.mapping": {"prompt": "question"}}}}  # fmt: skip
    assert guess.columns[0] == {"name": "question", "type": "text", "examples": ["a?"], "empty": 0}


def test_a_mapping_to_what_cannot_be_so_says_why() -> None:
    guess = report_rows([{"body": "a", "n": 1}], Source(source="path:x", mapping={"messages": "body"}))
    assert [one["text"] for one in guess.findings] == [
        "`body` cannot be the conversation: it holds text, and should hold a list of turns, each with who speaks and what is said."]  # fmt: skip


def test_a_layout_that_was_chosen_binds_and_says_what_it_lacks() -> None:
    table = [{"text": "It broke.", "label": "repairs"}]
    with pytest.raises(Problem, match=r"could be read as questions and answers \(`pair`\) or plain text \(`text`\)"):
        read(table, *IMITATING)
    assert read(table, *IMITATING, layout="text")[0] == [{"text": "It broke."}]
    assert read(table, *IMITATING, layout="pair")[0][0]["completion"] == [says("repairs")]
    with pytest.raises(Problem, match="lack a column of tasks and one of answers"):
        read([{"text": "It broke."}], *IMITATING, layout="alpaca")
    with pytest.raises(Problem, match="cannot learn from plain text"):
        read(table, "preference", layout="text")
    with pytest.raises(Problem, match="no layout called “alpacca”"):
        read(table, *IMITATING, layout="alpacca")


def test_two_columns_of_any_name_are_offered_and_never_taken_silently() -> None:
    table = [{"frage": "Wer?", "antwort": "Ida."}]
    guess = report_rows(table)
    assert (guess.layout, guess.certainty, guess.mapping) == ("pair", "possible", {"prompt": "frage", "completion": "antwort"})  # fmt: skip
    assert guess.findings[0]["remedy"]["changes"] == {"data.0.mapping": guess.mapping}
    with pytest.raises(Problem, match="The examples have the columns"):
        read(table, *IMITATING)
    assert read(table, *IMITATING, mapping=guess.mapping)[0] == [
        {"prompt": [user("Wer?")], "completion": [says("Ida.")]}
    ]


@pytest.mark.parametrize(("table", "told", "said"), [
    ([{"frage": "a?", "n": "b", "m": "c"}], {"mapping": {"prompt": "frage"}}, "To be read as questions and answers, the rows lack a column: say which is the answer."),
    ([{"frage": "a?"}], {"layout": "alpaca"}, "To be read as tasks in Alpaca's form, the rows lack a column: say which is the task and which the answer."),
    ([{"frage": "a?"}], {"layout": "preference"}, "What is to be learned cannot be learned from better and worse answers: choose another layout, or another lesson."),
    ([{"prompt": "a", "chosen": "b", "rejected": "c"}], {}, "These rows are better and worse answers, and what is to be learned is not learned from such: choose another lesson."),
    ([{"frage": "a?"}], {}, "Nothing in these rows tells what they are: say which column is which."), ([], {}, "There are no rows."),
])  # fmt: skip
def test_what_cannot_be_read_says_what_is_lacking(table: list[dict[str, Any]], told: dict[str, Any], said: str) -> None:
    guess = report_rows(table, Source(source="path:x", **told), row_types=IMITATING)
    assert [(one["severity"], one["text"]) for one in guess.findings] == [("wrong", said)]
    assert guess.layout is None


def test_cells_of_a_table_may_hold_turns_and_lists_as_text() -> None:
    turns = [user("a"), says("it's b")]
    for cell in (json.dumps(turns), str(turns), json.dumps({"messages": turns})):
        assert read([{"messages": cell}], "messages")[0] == [{"messages": turns}], cell
    assert read([{"prompt": "a", "completions": "['b', 'c']", "labels": "[True, False]"}], "stepwise")[0][0]["labels"] == [True, False]  # fmt: skip
    answer = '[{"role": "wizard"}]'
    assert read([{"prompt": "a", "completion": answer}], "prompt_completion")[0][0]["completion"] == [says(answer)], (
        "an answer may be JSON"
    )


def test_rows_left_out_are_shown_with_their_reasons() -> None:
    guess = report_rows([{"prompt": "a", "completion": "b"}, {"prompt": "", "completion": "b"}, {"prompt": "a"}])
    assert guess.findings == [{"id": "left_out", "severity": "careful", "count": 2, "rows": [2, 3], "remedy": None,
                               "text": "2 of the first 3 rows are left out: empty prompt or completion (row 2)."}]  # fmt: skip
    assert guess.because == "because 1 of 3 rows have `prompt` and `completion`"


def test_a_link_carries_mapping_roles_and_texts_and_stays_harmless() -> None:
    source = {"source": "sample:tickets", "layout": "pair", "mapping": {"completion": "a.0.b"}, "roles": {"elf": "user"}, "templates": {"prompt": "{x.__class__}"}}  # fmt: skip
    spec = read_spec({"method": "sft", "data": [source]})
    assert links.decode_setup(links.link_to_setup(spec)).data == spec.data
    with pytest.raises(Problem, match=r"is .wizard."):
        read_spec({"method": "sft", "data": [source | {"roles": {"elf": "wizard"}}]})


# -- odd rows ---------------------------------------------------------------------------------------------------------

NAMES = some.sampled_from([*COLUMN_SPECS, "role", "content", "from", "value", "text", "conversations", "train", "weight", "tool_calls", "🜁", "a.b", ""])  # fmt: skip
LEAVES = some.none() | some.booleans() | some.integers(-(2**70), 2**70) | some.floats() | some.text(max_size=20) | some.binary(max_size=4) | some.sampled_from(
    ["user", "assistant", "function_call", '{"function": 5}', '[{"role": "user", "content": null}]', "[[[", "{'a': 1}", "\x00", "x" * 100_000])  # fmt: skip
VALUES = some.recursive(LEAVES, lambda inner: some.lists(inner, max_size=4) | some.dictionaries(NAMES, inner, max_size=4), max_leaves=12)  # fmt: skip
ROWS = some.lists(some.dictionaries(NAMES, VALUES, max_size=6), max_size=4)


@settings(max_examples=100, deadline=None, database=None, derandomize=True, suppress_health_check=[*HealthCheck])
@given(ROWS, some.dictionaries(NAMES, some.sampled_from([*COLUMN_SPECS, "a.b", "messages.0.content", "."]), max_size=2))
def test_odd_rows_are_looked_at_and_read_without_a_crash(found: list[dict[str, Any]], mapping: dict[str, str]) -> None:
    """What cannot be read is a finding to a person, and a Problem or a counted row to a run."""
    source = Source(source="path:x", mapping=mapping)
    json.dumps(report_rows(found, source).to_dict())
    for kinds in (IMITATING, ("preference",), ("thumbs", "preference"), ("prompt",), ("stepwise",), ("ranked",), ("hinted",)):  # fmt: skip
        normaliser = rows.RowNormalizer(kinds, "It", is_chat=True)
        try:
            made = list(normaliser(found, source))
        except Problem:
            continue
        assert len(made) + normaliser.drop_counts.total() == len(found)


def test_a_row_nested_without_end_is_left_out() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    made, dropped = read([{"text": "a"}, {"text": "a", "more": deep}], "text")
    assert (made, dropped) == ([{"text": "a"}], {"nested too deeply": 1})
    assert report_rows([{"text": deep}]).rows == 1


# -- what is learned, and the command line ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerClient]:
    with pytest.MonkeyPatch.context() as patch, WorkerClient() as worker:
        patch.setenv("TUNESMITH_HOME", str(tmp_path_factory.mktemp("home")))
        yield worker


LEARNED = {
    "messages": ["It says quack.", "Lucy is the baker.Yes.", "Hello, dear friend!"],
    "openai_weights": ["Yes, fresh every morning.", "Cakes on Friday."],
    "segments": ["Lucy.</s>", "Moo. Cluck.</s>"],
    "transcript": ["The cow says moo.Cluck, all day:Cluck.", "Lucy is the baker.Any time."],
    "sharegpt": ["It is down.", "Nora is the doctor.Any time."],
    "alpaca": ["quiet", "A plum.", "A plum again."],
    "dolly": ["In 1990.", "A duck, a hen and a cow."],
    "question_answer": ["At the forge.", "Croak."],
    # nothing comes before the first token, so it is not learned
    "text": ["iary of Ida, Friday. It is summer and the sun is warm.", "iary of Clara, Friday. It is autumn and the leaves fall."],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("fixture", LEARNED)
def test_the_preview_learns_what_the_layout_means(fixture: str, worker: WorkerClient) -> None:
    shown = worker.preview_rows(spec_of("sft", f"path:{HERE / fixture}.jsonl"), 3)["rows"]
    learned = ["".join(one["text"] for one in row["tokens"] if one["trained"] and not one["special"]) for row in shown]
    assert [one.replace("\n", "").strip() for one in learned] == LEARNED[fixture]


@pytest.mark.slow
def test_tokens_are_learned_as_they_are(worker: WorkerClient) -> None:
    shown = worker.preview_rows(spec_of("sft", f"path:{HERE / 'tokens.jsonl'}"), 2)["rows"]
    assert [[(one["id"], one["trained"]) for one in row["tokens"]] for row in shown][1] == [(1, False), (50, False), (51, True), (2, True)]  # fmt: skip


@pytest.mark.slow
def test_the_command_line_looks_too(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", STORY).removeprefix("path:")
    said = cli("inspect", path).stdout
    assert (
        "Conversations in ShareGPT's form (sure), because every row has `conversations`: turns with `from` and `value`."
        in said
    )
    assert "wrong: Row 1 has a turn by “narrator”" in said
    assert json.loads(cli("inspect", path, "--json").stdout)["layout"] == "sharegpt"
