"""Rows: files of every supported format become normalized rows; dropped rows are counted, and errors name the file and the line."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.data import rows
from app.data.apply_layout import rename_columns
from app.data.detect_layout import require_columns
from app.data.reading import files
from app.data.table import Table
from app.engine.datasets.load import split_by_share
from app.setup.spec import Source
from app.setup.spec import parse_spec as read_spec

EXPECTED_ROWS = [{"prompt": "one", "completion": "1"}, {"prompt": "zwölf 🜁", "completion": "12"}]
SFT_ROW_TYPES = ("messages", "prompt_completion", "text")


def write_file(path: Path, content: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def read_error(path: Path) -> str:
    with pytest.raises(Problem) as error:
        list(files.read_file_rows(path))
    assert error.value.advice
    return str(error.value)


# -- files --------------------------------------------------------------------------------------------------------

JSON_LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in EXPECTED_ROWS)
CONTENT_BY_NAME = {
    "a.jsonl": JSON_LINES,
    "b.jsonl": "\n" + JSON_LINES.replace("\n", "\r\n\r\n") + "\n\n",
    "c.ndjson": JSON_LINES,
    "d.json": json.dumps(EXPECTED_ROWS, indent=2),
    "e.csv": "prompt,completion\none,1\nzwölf 🜁,12\n",
    "f.csv": 'prompt,completion\r\n"one","1"\r\n"zwölf 🜁",12',
    "g.tsv": "prompt\tcompletion\none\t1\nzwölf 🜁\t12\n",
    "h.CSV": "prompt,completion\none,1\nzwölf 🜁,12\n",
    "i.JSONL": JSON_LINES,
}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("name", CONTENT_BY_NAME)
def test_every_file_format_gives_the_same_rows(name: str, encoding: str, tmp_path: Path) -> None:
    path = write_file(tmp_path / name, CONTENT_BY_NAME[name], encoding)
    assert files.source_path(Source(source=f"path:{path}")) == path
    assert list(files.read_file_rows(path)) == EXPECTED_ROWS


def test_parquet_gives_the_same_rows(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(EXPECTED_ROWS), tmp_path / "a.parquet")
    assert list(files.read_file_rows(tmp_path / "a.parquet")) == EXPECTED_ROWS


def test_a_text_file_is_split_into_paragraphs(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.txt", "\ufeffOne day.\nIt rained.\r\n\r\n\r\nThe next.\n  \n  The third.  ")
    assert list(files.read_file_rows(path)) == [
        {"text": "One day.\nIt rained."},
        {"text": "The next."},
        {"text": "The third."},
    ]


def test_csv_cells_keep_line_breaks_commas_and_quotes(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.csv", 'prompt,completion\n"two\nlines, ""quoted""",ok\n')
    assert list(files.read_file_rows(path)) == [{"prompt": 'two\nlines, "quoted"', "completion": "ok"}]


def test_csv_files_may_have_very_long_cells_short_rows_and_extra_empty_cells(tmp_path: Path) -> None:
    path = write_file(tmp_path / "a.csv", f"prompt,completion\n{'x' * 300_000},1\nalone\na,b,, \n")
    assert list(files.read_file_rows(path)) == [
        {"prompt": "x" * 300_000, "completion": "1"}, {"prompt": "alone", "completion": None}, {"prompt": "a", "completion": "b"}]  # fmt: skip


def test_a_file_without_rows_gives_an_empty_list(tmp_path: Path) -> None:
    for name, content in {
        "a.jsonl": "\n \n",
        "b.json": "[]",
        "c.csv": "prompt,completion\n",
        "d.csv": "",
        "e.txt": "\n\n",
    }.items():
        assert list(files.read_file_rows(write_file(tmp_path / name, content))) == []


@pytest.mark.parametrize(("name", "content", "message"), [
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
def test_the_error_of_a_malformed_file_names_the_file_and_the_line(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    error = read_error(write_file(tmp_path / name, content))
    assert message in error
    assert name in error


def test_json_lines_in_a_json_file_are_detected(tmp_path: Path) -> None:
    """Many published datasets have JSON lines in files named .json."""
    assert list(files.read_file_rows(write_file(tmp_path / "a.json", JSON_LINES))) == EXPECTED_ROWS


@pytest.mark.parametrize(
    ("name", "header", "line"),
    [("a.jsonl", "", '{"text": "gr\u00fcn"}\n'), ("a.csv", "text\n", "gr\u00fcn\n"), ("a.txt", "", "gr\u00fcn\n\n")],
)
def test_the_error_of_a_wrong_encoding_names_the_byte_position(
    name: str, header: str, line: str, tmp_path: Path
) -> None:
    """The invalid byte is at position 60,000 or later, beyond the read buffer."""
    valid_bytes = (header + line).encode() + line.replace("\u00fc", "ue").encode() * 10_000
    path = write_file(tmp_path / name, valid_bytes + line.encode("latin-1"))
    error = read_error(path)
    assert "UTF-8" in error
    assert str(len(valid_bytes) + line.index("\u00fc")) in error


def test_a_lone_surrogate_is_refused_with_its_line(tmp_path: Path) -> None:
    """A JSON escape can contain a lone surrogate, which neither tokenizers nor Arrow tables accept."""
    assert "line 2" in read_error(write_file(tmp_path / "a.jsonl", '{"text": "ok"}\n{"text": "cut off \\ud83d"}\n'))


# -- sources ------------------------------------------------------------------------------------------------------


def source_problem(source: str, **source_fields: Any) -> Problem:
    with pytest.raises(Problem) as error:
        files.source_path(Source(source=source, **source_fields))
    return error.value


def test_the_error_of_a_misspelt_sample_suggests_the_nearest_name() -> None:
    assert source_problem("sample:tickts").advice == "Did you mean “tickets”?"
    assert source_problem("sample:tickets", split="test").advice == "Its splits are train and holdout."


def test_a_missing_file_or_upload_is_refused(tmp_path: Path) -> None:
    for name in (f"{tmp_path}/gone.jsonl", f"{tmp_path}", "x" * 5000, "a\0b.jsonl"):
        assert "are not there" in source_problem(f"path:{name}").text
    assert source_problem(f"upload:{'0' * 64}").advice == "Upload the file again."


def test_an_unsupported_file_type_is_refused_with_the_supported_ones(tmp_path: Path) -> None:
    problem = source_problem(f"path:{write_file(tmp_path / 'a.xls', b'PK')}")
    assert "“.xls”" in problem.text
    assert all(suffix in problem.advice for suffix in files.SUFFIXES)


def test_an_upload_of_any_user_is_found_by_its_hash(home: Path) -> None:
    name = "0a" * 32
    path = home / "uploads" / "somebody" / name / "mine.csv"
    path.parent.mkdir(parents=True)
    write_file(path, "text\na\n")
    assert files.source_path(Source(source=f"upload:{name}")) == path


def test_file_sha256_is_the_sha256_of_the_content(tmp_path: Path) -> None:
    assert (
        files.file_sha256(write_file(tmp_path / "a", b"abc"))
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


# -- mapping ------------------------------------------------------------------------------------------------------


def apply_mapping(raw_rows: list[dict[str, Any]], mapping: dict[str, str]) -> list[dict[str, Any]]:
    require_columns(Table(raw_rows), Source(source="path:.", mapping=mapping))
    return [rename_columns(row, mapping, {}) for row in raw_rows]


def test_mapped_columns_are_renamed_and_the_others_are_unchanged() -> None:
    assert apply_mapping([{"q": "a", "a": "b", "id": 7}], {"prompt": "q", "completion": "a"}) == [
        {"id": 7, "prompt": "a", "completion": "b"}
    ]


def test_columns_can_be_swapped_duplicated_and_replaced() -> None:
    assert apply_mapping([{"prompt": 1, "completion": 2}], {"prompt": "completion", "completion": "prompt"}) == [
        {"prompt": 2, "completion": 1}
    ]
    assert apply_mapping([{"x": 1}], {"prompt": "x", "answer": "x"}) == [{"prompt": 1, "answer": 1}]
    assert apply_mapping([{"x": 1, "prompt": 2}], {"prompt": "x"}) == [{"prompt": 1}]


def test_a_missing_column_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(Problem) as refusal:
        apply_mapping([{"question": "a", "reply": "b"}], {"prompt": "qestion"})
    assert (refusal.value.text, refusal.value.reason) == ("There is no column “qestion”.", "wrong_column")
    assert refusal.value.advice == "Did you mean “question”?"


def test_a_missing_column_in_a_later_row_is_read_as_null() -> None:
    """A missing column is the same as null: JSON lines often omit empty fields."""
    normalized, drop_counts = normalize_rows(
        apply_mapping([{"q": "a", "r": "b"}, {"q": "c"}], {"prompt": "q", "completion": "r"})
    )
    assert len(normalized) == 1
    assert drop_counts == {"empty prompt or completion": 1}


# -- row types ----------------------------------------------------------------------------------------------------


def normalize_rows(
    raw_rows: list[dict[str, Any]], row_types: tuple[str, ...] = SFT_ROW_TYPES, chat: bool = False
) -> tuple[list[dict], Counter]:
    normalizer = rows.RowNormalizer(row_types, "Imitate examples", chat)
    return list(normalizer(raw_rows)), normalizer.drop_counts


@pytest.mark.parametrize(("row", "row_type"), [
    ({"messages": []}, "messages"), ({"conversations": []}, "conversations"), ({"prompt": 1, "completions": [], "labels": []}, "stepwise"),
    ({"prompt": 1, "completion": 1, "label": False}, "thumbs"), ({"chosen": 1, "rejected": 1}, "preference"),
    ({"prompt": 1, "completion": 1}, "prompt_completion"), ({"text": ""}, "text"), ({"prompt": 1, "answer": 2}, "prompt"), ({"x": 1}, None),
    ({"messages": None, "text": "a"}, "text"), ({}, None),
])  # fmt: skip
def test_the_row_type_is_detected_from_the_columns(row: dict[str, Any], row_type: str | None) -> None:
    assert rows.row_type_of(row) == row_type


def test_extra_columns_are_dropped() -> None:
    """With a label, prompt and completion are another row type, but SFT needs only these two columns."""
    normalized, _ = normalize_rows([{"prompt": "a", "completion": "b", "label": True, "chosen": "c", "rejected": "d"}])
    assert normalized == [{"prompt": "a", "completion": "b"}]


def test_a_null_in_the_first_row_drops_only_that_row() -> None:
    normalized, drop_counts = normalize_rows([{"prompt": "a", "completion": None}, {"prompt": "b", "completion": "c"}])
    assert normalized == [{"prompt": "b", "completion": "c"}]
    assert drop_counts == {"empty prompt or completion": 1}


def test_unusable_columns_are_refused_with_the_required_ones() -> None:
    with pytest.raises(Problem) as refusal:
        normalize_rows([{"frage": "a", "antwort": "b"}])
    assert refusal.value.reason == "wrong_column"
    assert refusal.value.text == (
        "The examples have the columns `frage`, `antwort`; “Imitate examples” needs a column `messages`, or `prompt` and `completion`, "
        "or a column `text`."
    )


def test_the_error_message_does_not_list_thousands_of_columns() -> None:
    with pytest.raises(Problem) as refusal:
        normalize_rows([{f"column_{number:04d}": "x" for number in range(3000)}])
    assert len(str(refusal.value)) < 1500


def test_sharegpt_conversations_become_messages() -> None:
    turns = [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"},
             {"from": "bot", "value": "again"}, {"from": "model", "value": "x"}, {"from": "ChatGPT", "value": "y"}]  # fmt: skip
    [row], _ = normalize_rows([{"conversations": turns, "id": "7"}])
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


def test_tools_and_tool_calls_are_kept_and_nulls_are_removed() -> None:
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1, "b": None}}}],
        "name": None,
    }
    [row], _ = normalize_rows(
        [{"messages": [{"role": "user", "content": "go"}, call], "tools": [{"name": "f", "extra": None}], "id": None}]
    )
    assert row["messages"][1] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}],
    }
    assert row["tools"] == [{"type": "function", "function": {"name": "f"}}]


def test_prompt_completion_pairs_become_messages_only_for_chat_models() -> None:
    raw_rows = [{"prompt": "a", "completion": "b"}]
    assert normalize_rows(raw_rows)[0] == raw_rows
    assert normalize_rows(raw_rows, chat=True)[0] == [
        {"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]}]  # fmt: skip


def test_prompt_rows_keep_all_columns_for_the_rewards() -> None:
    [row], _ = normalize_rows([{"prompt": "2 + 2", "answer": "4", "level": 1}], row_types=("prompt",), chat=True)
    assert row == {"prompt": [{"role": "user", "content": "2 + 2"}], "answer": "4", "level": 1}
    [row], _ = normalize_rows([{"prompt": "a", "completion": "b"}], row_types=("prompt",))
    assert row == {"prompt": "a", "completion": "b"}


def test_zero_and_false_are_valid_completions() -> None:
    """0 and False are valid completions, not empty ones."""
    normalized, drop_counts = normalize_rows(
        [{"prompt": 0, "completion": 0}, {"prompt": "b", "completion": 1}, {"prompt": "c", "completion": False}]
    )
    assert [row["completion"] for row in normalized] == ["0", "1", "False"]
    assert not drop_counts


def test_dropped_rows_are_counted_by_reason() -> None:
    valid_row = {"prompt": "a", "completion": "b"}
    incomplete_rows = [
        {"prompt": "", "completion": "b"},
        {"prompt": " \n", "completion": "b"},
        {"prompt": "a"},
        {"completion": "b"},
        {"prompt": "a", "completion": []},
    ]
    normalized, drop_counts = normalize_rows([valid_row, *incomplete_rows, valid_row])
    assert len(normalized) == 2
    assert drop_counts == {"empty prompt or completion": 5}


def test_conversations_without_an_answer_are_dropped() -> None:
    user_turn, assistant_turn = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    empty_turn = {"role": "assistant", "content": ""}
    normalized, drop_counts = normalize_rows(
        [
            {"messages": turns}
            for turns in (
                [user_turn, assistant_turn],
                [user_turn],
                [],
                [user_turn, empty_turn],
                "text",
                ["a", "b"],
                None,
                [assistant_turn],
            )
        ]
    )
    assert len(normalized) == 2
    assert drop_counts == {"no answer in the conversation": 3, "messages is not a list of turns": 3}


@pytest.mark.parametrize("prompt", [["a", "b"], [["a"]], [None], {"asked": "a"}, [5]])
@pytest.mark.parametrize("row_types", [SFT_ROW_TYPES, ("prompt",)])
def test_prompts_of_an_unsupported_shape_are_dropped(prompt: Any, row_types: tuple[str, ...]) -> None:
    normalized, drop_counts = normalize_rows(
        [{"prompt": "a", "completion": "b"}, {"prompt": prompt, "completion": "b"}], row_types, chat=True
    )
    assert len(normalized) == 1
    assert drop_counts.total() == 1


def test_empty_and_non_string_texts_are_dropped() -> None:
    normalized, drop_counts = normalize_rows([{"text": "a"}, {"text": ""}, {"text": "  "}, {"text": 5}, {"other": 1}])
    assert normalized == [{"text": "a"}]
    assert drop_counts == {"empty text": 4}


def test_prompt_and_answer_of_each_row_type() -> None:
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


# -- weights and holdout ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "expected_count"), [(1, 10), (2, 20), (0.5, 5), (0.25, 2), (2.5, 25), (0.01, 0), (1.1, 11)]
)
def test_a_weight_is_the_number_of_repetitions_of_each_row(weight: float, expected_count: int) -> None:
    raw_rows = [{"n": number} for number in range(10)]
    repetitions = Counter(row["n"] for row in rows.repeat_by_weight(raw_rows, weight, seed=7))
    assert repetitions.total() == expected_count
    assert all(int(weight) <= repetitions[number] <= int(weight) + 1 for number in range(10))


def test_the_rows_sampled_for_a_fractional_weight_depend_on_the_seed() -> None:
    raw_rows = [{"n": number} for number in range(100)]
    assert (
        rows.repeat_by_weight(raw_rows, 0.5, 7)
        == rows.repeat_by_weight(raw_rows, 0.5, 7)
        != rows.repeat_by_weight(raw_rows, 0.5, 8)
    )


def split_holdout(raw_rows: list[dict], share: float | None, seed: int = 7) -> tuple[list[dict], list[dict]]:
    spec = read_spec(
        {"method": "sft", "data": [{"source": "sample:tickets"}], "holdout": {"share": share}, "seed": seed}
    )
    return split_by_share(raw_rows, [], spec)


@pytest.mark.parametrize(("count", "share", "holdout_count"), [(100, 0.05, 5), (100, 0.0, 0), (10, 0.05, 1), (1, 0.5, 0), (2, 0.5, 1), (3, 0.9, 2), (2, 0.99, 1),
                                                       (40, 0.25, 10)])  # fmt: skip
def test_the_holdout_has_its_share_and_the_training_rows_are_never_empty(
    count: int, share: float, holdout_count: int
) -> None:
    train_rows, holdout_rows = split_holdout([{"n": number} for number in range(count)], share)
    assert (len(train_rows), len(holdout_rows)) == (count - holdout_count, holdout_count)
    assert {row["n"] for row in train_rows}.isdisjoint(row["n"] for row in holdout_rows)
    assert {row["n"] for row in train_rows + holdout_rows} == set(range(count))


def test_repeated_rows_are_never_split_between_training_and_holdout() -> None:
    train_rows, holdout_rows = split_holdout([{"n": number % 10} for number in range(100)], 0.3)
    assert len(holdout_rows) == 3
    assert len(train_rows) == 70
    assert {row["n"] for row in train_rows}.isdisjoint(row["n"] for row in holdout_rows)


def test_the_holdout_depends_on_the_seed_and_the_training_rows_keep_their_order() -> None:
    raw_rows = [{"n": number} for number in range(50)]
    train_rows, holdout_rows = split_holdout(raw_rows, 0.2)
    assert (train_rows, holdout_rows) == split_holdout(raw_rows, 0.2)
    assert holdout_rows != split_holdout(raw_rows, 0.2, seed=8)[1]
    assert [row["n"] for row in train_rows] == sorted(row["n"] for row in train_rows)
