"""Rows: files as people bring them become rows that methods take; what is left out is counted, what is broken is named."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.data import files, rows
from app.data.apply_layout import rename_columns
from app.data.detect_layout import require_columns
from app.data.table import Table
from app.engine.datasets.load import split_by_share
from app.setup.spec import Source
from app.setup.spec import parse_spec as read_spec

TWO = [{"prompt": "one", "completion": "1"}, {"prompt": "zwölf 🜁", "completion": "12"}]
SFT = ("messages", "prompt_completion", "text")


def brought(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(Problem) as found:
        list(files.read_file_rows(path))
    assert found.value.advice
    return str(found.value)


# -- files --------------------------------------------------------------------------------------------------------

LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in TWO)
FILES = {
    "a.jsonl": LINES,
    "b.jsonl": "\n" + LINES.replace("\n", "\r\n\r\n") + "\n\n",
    "c.ndjson": LINES,
    "d.json": json.dumps(TWO, indent=2),
    "e.csv": "prompt,completion\none,1\nzwölf 🜁,12\n",
    "f.csv": 'prompt,completion\r\n"one","1"\r\n"zwölf 🜁",12',
    "g.tsv": "prompt\tcompletion\none\t1\nzwölf 🜁\t12\n",
    "h.CSV": "prompt,completion\none,1\nzwölf 🜁,12\n",
    "i.JSONL": LINES,
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("name", FILES)
def test_every_kind_of_file_gives_the_same_rows(name: str, encoding: str, tmp_path: Path) -> None:
    path = brought(tmp_path / name, FILES[name], encoding)
    assert files.source_path(Source(source=f"path:{path}")) == path
    assert list(files.read_file_rows(path)) == TWO


def test_parquet_gives_the_same_rows(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(TWO), tmp_path / "a.parquet")
    assert list(files.read_file_rows(tmp_path / "a.parquet")) == TWO


def test_text_is_read_in_paragraphs(tmp_path: Path) -> None:
    path = brought(tmp_path / "a.txt", "\ufeffOne day.\nIt rained.\r\n\r\n\r\nThe next.\n  \n  The third.  ")
    assert list(files.read_file_rows(path)) == [
        {"text": "One day.\nIt rained."},
        {"text": "The next."},
        {"text": "The third."},
    ]


def test_a_table_keeps_line_breaks_commas_and_quotes(tmp_path: Path) -> None:
    path = brought(tmp_path / "a.csv", 'prompt,completion\n"two\nlines, ""quoted""",ok\n')
    assert list(files.read_file_rows(path)) == [{"prompt": 'two\nlines, "quoted"', "completion": "ok"}]


def test_a_table_may_have_very_long_cells_short_rows_and_empty_cells_too_many(tmp_path: Path) -> None:
    path = brought(tmp_path / "a.csv", f"prompt,completion\n{'x' * 300_000},1\nalone\na,b,, \n")
    assert list(files.read_file_rows(path)) == [
        {"prompt": "x" * 300_000, "completion": "1"}, {"prompt": "alone", "completion": None}, {"prompt": "a", "completion": "b"}]  # fmt: skip


def test_a_file_without_rows_gives_none(tmp_path: Path) -> None:
    for name, content in {
        "a.jsonl": "\n \n",
        "b.json": "[]",
        "c.csv": "prompt,completion\n",
        "d.csv": "",
        "e.txt": "\n\n",
    }.items():
        assert list(files.read_file_rows(brought(tmp_path / name, content))) == []


@pytest.mark.parametrize(("name", "content", "said"), [
    ("a.jsonl", '{"a": 1}\n\n{"a": \n', "line 3 is not JSON"),
    ("a.jsonl", '{"a": 1}\n[1, 2]\n', "line 2 is a list"),
    ("a.jsonl", '{"a": 1}\n"text"\n', "line 2 is a str"),
    ("a.jsonl", '{"a":' * 3000 + "1" + "}" * 3000 + "\n", "line 1 is"),
    ("a.json", '{"a": 1}', "not a list of objects"),
    ("a.json", "[1, 2]", "not a list of objects"),
    ("a.json", "[" * 100_000, "a.json"),
    ("a.json", "{", "a.json cannot be read"),
    ("a.parquet", "PAR1 but not really", "a.parquet cannot be read"),
    ("a.jsonl", '{"a": "ok"}\n' * 9000 + '{"a": "broken\n', "line 9001 is not JSON"),
])  # fmt: skip
def test_a_broken_file_is_named_with_its_line(name: str, content: str, said: str, tmp_path: Path) -> None:
    found = refusal(brought(tmp_path / name, content))
    assert said in found
    assert name in found


def test_json_lines_under_the_name_of_json_are_recognised(tmp_path: Path) -> None:
    """So do many datasets call them."""
    assert list(files.read_file_rows(brought(tmp_path / "a.json", LINES))) == TWO


@pytest.mark.parametrize(
    ("name", "head", "line"),
    [("a.jsonl", "", '{"text": "gr\u00fcn"}\n'), ("a.csv", "text\n", "gr\u00fcn\n"), ("a.txt", "", "gr\u00fcn\n\n")],
)
def test_another_encoding_is_named_with_its_place(name: str, head: str, line: str, tmp_path: Path) -> None:
    """Byte 60,000 and more: far beyond what a reader buffers at once."""
    before = (head + line).encode() + line.replace("\u00fc", "ue").encode() * 10_000
    path = brought(tmp_path / name, before + line.encode("latin-1"))
    found = refusal(path)
    assert "UTF-8" in found
    assert str(len(before) + line.index("\u00fc")) in found


def test_half_a_character_is_refused_with_its_line(tmp_path: Path) -> None:
    """JSON's escapes can say half of a surrogate pair; no tokenizer and no table can hold it."""
    assert "line 2" in refusal(brought(tmp_path / "a.jsonl", '{"text": "ok"}\n{"text": "cut off \\ud83d"}\n'))


# -- sources ------------------------------------------------------------------------------------------------------


def source_refusal(source: str, **more: Any) -> Problem:
    with pytest.raises(Problem) as found:
        files.source_path(Source(source=source, **more))
    return found.value


def test_a_misspelt_sample_names_the_nearest_one() -> None:
    assert source_refusal("sample:tickts").advice == "Did you mean “tickets”?"
    assert source_refusal("sample:tickets", split="test").advice == "Its splits are train and holdout."


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for name in (f"{tmp_path}/gone.jsonl", f"{tmp_path}", "x" * 5000, "a\0b.jsonl"):
        assert "are not there" in source_refusal(f"path:{name}").text
    assert source_refusal(f"upload:{'0' * 64}").advice == "Upload the file again."


def test_another_kind_of_file_names_those_that_can_be_read(tmp_path: Path) -> None:
    problem = source_refusal(f"path:{brought(tmp_path / 'a.xlsx', b'PK')}")
    assert "“.xlsx”" in problem.text
    assert all(suffix in problem.advice for suffix in files.SUFFIXES)


def test_an_upload_is_found_by_its_hash_whoever_brought_it(home: Path) -> None:
    name = "0a" * 32
    path = home / "uploads" / "somebody" / name / "mine.csv"
    path.parent.mkdir(parents=True)
    brought(path, "text\na\n")
    assert files.source_path(Source(source=f"upload:{name}")) == path


def test_a_fingerprint_is_the_files_sha256(tmp_path: Path) -> None:
    assert (
        files.file_sha256(brought(tmp_path / "a", b"abc"))
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


# -- mapping ------------------------------------------------------------------------------------------------------


def mapped(given: list[dict[str, Any]], mapping: dict[str, str]) -> list[dict[str, Any]]:
    require_columns(Table(given), Source(source="path:.", mapping=mapping))
    return [rename_columns(row, mapping, {}) for row in given]


def test_columns_are_renamed_and_the_rest_stays() -> None:
    assert mapped([{"q": "a", "a": "b", "id": 7}], {"prompt": "q", "completion": "a"}) == [
        {"id": 7, "prompt": "a", "completion": "b"}
    ]


def test_columns_can_be_swapped_and_used_twice() -> None:
    assert mapped([{"prompt": 1, "completion": 2}], {"prompt": "completion", "completion": "prompt"}) == [
        {"prompt": 2, "completion": 1}
    ]
    assert mapped([{"x": 1}], {"prompt": "x", "answer": "x"}) == [{"prompt": 1, "answer": 1}]
    assert mapped([{"x": 1, "prompt": 2}], {"prompt": "x"}) == [{"prompt": 1}]


def test_a_column_that_is_not_there_names_the_nearest_one() -> None:
    with pytest.raises(Problem) as found:
        mapped([{"question": "a", "reply": "b"}], {"prompt": "qestion"})
    assert (found.value.text, found.value.reason) == ("There is no column “qestion”.", "wrong_column")
    assert found.value.advice == "Did you mean “question”?"


def test_a_later_row_may_lack_a_column_as_it_may_hold_null() -> None:
    """Absent and null mean the same; JSON lines often leave out what is empty."""
    made, dropped = normalised(mapped([{"q": "a", "r": "b"}, {"q": "c"}], {"prompt": "q", "completion": "r"}))
    assert len(made) == 1
    assert dropped == {"empty prompt or completion": 1}


# -- layouts ------------------------------------------------------------------------------------------------------


def normalised(
    given: list[dict[str, Any]], layouts: tuple[str, ...] = SFT, chat: bool = False
) -> tuple[list[dict], Counter]:
    normaliser = rows.RowNormalizer(layouts, "Imitate examples", chat)
    return list(normaliser(given)), normaliser.drop_counts


@pytest.mark.parametrize(("row", "layout"), [
    ({"messages": []}, "messages"), ({"conversations": []}, "conversations"), ({"prompt": 1, "completions": [], "labels": []}, "stepwise"),
    ({"prompt": 1, "completion": 1, "label": False}, "thumbs"), ({"chosen": 1, "rejected": 1}, "preference"),
    ({"prompt": 1, "completion": 1}, "prompt_completion"), ({"text": ""}, "text"), ({"prompt": 1, "answer": 2}, "prompt"), ({"x": 1}, None),
    ({"messages": None, "text": "a"}, "text"), ({}, None),
])  # fmt: skip
def test_a_layout_follows_from_the_columns(row: dict[str, Any], layout: str | None) -> None:
    assert rows.row_type_of(row) == layout


def test_columns_beyond_those_needed_do_no_harm() -> None:
    """A label beside prompt and completion makes another layout, and imitation needs only the two."""
    made, _ = normalised([{"prompt": "a", "completion": "b", "label": True, "chosen": "c", "rejected": "d"}])
    assert made == [{"prompt": "a", "completion": "b"}]


def test_a_first_row_with_a_hole_does_not_hide_the_others() -> None:
    made, dropped = normalised([{"prompt": "a", "completion": None}, {"prompt": "b", "completion": "c"}])
    assert made == [{"prompt": "b", "completion": "c"}]
    assert dropped == {"empty prompt or completion": 1}


def test_the_wrong_columns_are_named_beside_those_needed() -> None:
    with pytest.raises(Problem) as found:
        normalised([{"frage": "a", "antwort": "b"}])
    assert found.value.reason == "wrong_column"
    assert found.value.text == (
        "The examples have the columns `frage`, `antwort`; “Imitate examples” needs a column `messages`, or `prompt` and `completion`, "
        "or a column `text`."
    )


def test_a_refusal_does_not_list_a_thousand_columns() -> None:
    with pytest.raises(Problem) as found:
        normalised([{f"column_{number:04d}": "x" for number in range(3000)}])
    assert len(str(found.value)) < 1500


def test_share_gpt_becomes_messages() -> None:
    turns = [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"},
             {"from": "bot", "value": "again"}, {"from": "model", "value": "x"}, {"from": "ChatGPT", "value": "y"}]  # fmt: skip
    [row], _ = normalised([{"conversations": turns, "id": "7"}])
    assert [turn["role"] for turn in row["messages"]] == [
        "system",
        "user",
        "assistant",
        "assistant",
        "assistant",
        "assistant",
    ]
    assert row["messages"][1] == {"role": "user", "content": "Hi"}
    assert list(row) == ["messages"]


def test_tools_and_tool_calls_stay_and_nulls_go() -> None:
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1, "b": None}}}],
        "name": None,
    }
    [row], _ = normalised(
        [{"messages": [{"role": "user", "content": "go"}, call], "tools": [{"name": "f", "extra": None}], "id": None}]
    )
    assert row["messages"][1] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}],
    }
    assert row["tools"] == [{"name": "f"}]


def test_plain_pairs_become_messages_only_where_the_model_chats() -> None:
    given = [{"prompt": "a", "completion": "b"}]
    assert normalised(given)[0] == given
    assert normalised(given, chat=True)[0] == [
        {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}]  # fmt: skip


def test_a_row_to_answer_keeps_every_column_for_the_rewards() -> None:
    [row], _ = normalised([{"prompt": "2 + 2", "answer": "4", "level": 1}], layouts=("prompt",), chat=True)
    assert row == {"prompt": [{"role": "user", "content": "2 + 2"}], "answer": "4", "level": 1}
    [row], _ = normalised([{"prompt": "a", "completion": "b"}], layouts=("prompt",))
    assert row == {"prompt": "a", "completion": "b"}


def test_zero_and_no_are_answers() -> None:
    """A label of 0 is as much an answer as a label of 1."""
    made, dropped = normalised(
        [{"prompt": 0, "completion": 0}, {"prompt": "b", "completion": 1}, {"prompt": "c", "completion": False}]
    )
    assert [row["completion"] for row in made] == ["0", "1", "False"]
    assert not dropped


def test_what_is_left_out_is_counted_with_its_reason() -> None:
    good = {"prompt": "a", "completion": "b"}
    holes = [
        {"prompt": "", "completion": "b"},
        {"prompt": " \n", "completion": "b"},
        {"prompt": "a"},
        {"completion": "b"},
        {"prompt": "a", "completion": []},
    ]
    made, dropped = normalised([good, *holes, good])
    assert len(made) == 2
    assert dropped == {"empty prompt or completion": 5}


def test_a_conversation_without_an_answer_is_left_out() -> None:
    ask, say = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    empty = {"role": "assistant", "content": ""}
    made, dropped = normalised(
        [{"messages": turns} for turns in ([ask, say], [ask], [], [ask, empty], "text", ["a", "b"], None, [say])]
    )
    assert len(made) == 2
    assert dropped == {"no answer in the conversation": 3, "messages is not a list of turns": 3}


@pytest.mark.parametrize("value", [["a", "b"], [["a"]], [None], {"asked": "a"}, [5]])
@pytest.mark.parametrize("layouts", [SFT, ("prompt",)])
def test_a_prompt_of_another_shape_is_left_out_and_not_guessed(value: Any, layouts: tuple[str, ...]) -> None:
    made, dropped = normalised(
        [{"prompt": "a", "completion": "b"}, {"prompt": value, "completion": "b"}], layouts, chat=True
    )
    assert len(made) == 1
    assert dropped.total() == 1


def test_texts_that_are_empty_or_no_text_are_left_out() -> None:
    made, dropped = normalised([{"text": "a"}, {"text": ""}, {"text": "  "}, {"text": 5}, {"other": 1}])
    assert made == [{"text": "a"}]
    assert dropped == {"empty text": 4}


def test_what_to_ask_and_the_answer_expected() -> None:
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
        {"role": "assistant", "content": "d"},
    ]
    assert rows.prompt_and_answer({"messages": turns}) == (turns[:3], "d")
    assert rows.prompt_and_answer({"messages": [*turns, {"role": "user", "content": "e"}]}) == (turns[:3], "d")
    assert rows.prompt_and_answer({"messages": turns[1:2]}) is None
    assert rows.prompt_and_answer({"prompt": "a", "completion": "b"}) == ("a", "b")
    assert rows.prompt_and_answer({"prompt": "a", "completion": turns[1:2]}) == ("a", "b")
    assert rows.prompt_and_answer({"prompt": "a", "answer": 5}) == ("a", "5")
    assert rows.prompt_and_answer({"prompt": "a", "answer": None}) == ("a", "")
    assert rows.prompt_and_answer({"text": "a"}) is None


# -- weights and what is kept aside -------------------------------------------------------------------------------


@pytest.mark.parametrize(("weight", "count"), [(1, 10), (2, 20), (0.5, 5), (0.25, 2), (2.5, 25), (0.01, 0), (1.1, 11)])
def test_a_weight_says_how_often_each_row_is_seen(weight: float, count: int) -> None:
    given = [{"n": number} for number in range(10)]
    seen = Counter(row["n"] for row in rows.repeat_by_weight(given, weight, seed=7))
    assert seen.total() == count
    assert all(int(weight) <= seen[number] <= int(weight) + 1 for number in range(10))


def test_which_rows_a_fraction_draws_follows_from_the_seed() -> None:
    given = [{"n": number} for number in range(100)]
    assert (
        rows.repeat_by_weight(given, 0.5, 7)
        == rows.repeat_by_weight(given, 0.5, 7)
        != rows.repeat_by_weight(given, 0.5, 8)
    )


def kept_aside(train: list[dict], share: float | None, seed: int = 7) -> tuple[list[dict], list[dict]]:
    spec = read_spec(
        {"method": "sft", "data": [{"source": "sample:tickets"}], "holdout": {"share": share}, "seed": seed}
    )
    return split_by_share(train, [], spec)


@pytest.mark.parametrize(("count", "share", "aside"), [(100, 0.05, 5), (100, 0.0, 0), (10, 0.05, 1), (1, 0.5, 0), (2, 0.5, 1), (3, 0.9, 2), (2, 0.99, 1),
                                                       (40, 0.25, 10)])  # fmt: skip
def test_a_share_is_kept_aside_and_something_is_left(count: int, share: float, aside: int) -> None:
    train, kept = kept_aside([{"n": number} for number in range(count)], share)
    assert (len(train), len(kept)) == (count - aside, aside)
    assert {row["n"] for row in train}.isdisjoint(row["n"] for row in kept)
    assert {row["n"] for row in train + kept} == set(range(count))


def test_rows_that_repeat_stay_on_one_side() -> None:
    train, kept = kept_aside([{"n": number % 10} for number in range(100)], 0.3)
    assert len(kept) == 3
    assert len(train) == 70
    assert {row["n"] for row in train}.isdisjoint(row["n"] for row in kept)


def test_what_is_kept_aside_follows_from_the_seed_and_leaves_the_order() -> None:
    given = [{"n": number} for number in range(50)]
    train, kept = kept_aside(given, 0.2)
    assert (train, kept) == kept_aside(given, 0.2)
    assert kept != kept_aside(given, 0.2, seed=8)[1]
    assert [row["n"] for row in train] == sorted(row["n"] for row in train)
