"""JSON forms: arrays under other names, JSON5, tables of pandas, splits, answers of the Hub and single examples are read, and told."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pandas
import pytest

from app.core.problems import Problem
from app.data.findings.source_report import report_source
from app.data.reading import file_scan, files, json_document_file
from app.data.reading.unreadable_rows import UnreadableRows
from app.setup.spec import Source

ROWS = [{"question": "How deep?", "answer": "Nine metres."}, {"question": "How wide?", "answer": "As a barn."}]
TURNS = [
    [{"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]}] for row in ROWS
]
CONVERSATIONS = [{"messages": turns} for turns in TURNS]
SHAREGPT_TURNS = [{"from": "human", "value": "How deep?"}, {"from": "gpt", "value": "Nine metres."}]
OTHER_ROWS = [{"question": "Why?", "answer": "So."}]
FRAME = pandas.DataFrame(ROWS)
NAMED_FRAME = FRAME.set_axis(["k1", "k2"])
HUB_ROWS = [{"row_idx": index, "row": row, "truncated_cells": []} for index, row in enumerate(ROWS)]


def lines(*values: Any) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


# {what it is: (file name, content, rows, part of the sentence about it)}
FORMS: dict[str, tuple[str, str, list[dict[str, Any]], str]] = {
    "an array named .jsonl": ("a.jsonl", json.dumps(ROWS), ROWS, "JSON array although its name ends in .jsonl"),
    "a pretty array named .ndjson": ("a.ndjson", "\n" + json.dumps(ROWS, indent=2), ROWS, "although its name ends in .ndjson"),
    "lines that end with commas": ("a.jsonl", ",\n".join(map(json.dumps, ROWS)) + ",\n", ROWS, "Line 1 is JSON5"),
    "lines with comments": ("a.jsonl", "// mine\n" + lines(ROWS[0]) + json.dumps(ROWS[1]) + " // b\n", ROWS, "Line 3 is JSON5"),
    "a comma after the last column": ("a.json", json.dumps(ROWS).replace("}", ",}"), ROWS, "JSON5, not strict JSON"),
    "a comma after the last row": ("a.json", json.dumps({"items": ROWS}).replace("]", ",]"), ROWS, "JSON5, not strict JSON"),
    "a comma after the array": ("a.json", json.dumps(ROWS) + ",\n", ROWS, "JSON5, not strict JSON"),
    "comments": ("a.json", "/* mine */ " + json.dumps(ROWS).replace("}, {", "}, // second\n{"), ROWS, "JSON5, not strict JSON"),
    "a list of turns on each line": ("a.jsonl", lines(*TURNS), CONVERSATIONS, "Each line is a list of turns"),
    "lists of turns in lines of a .json": ("a.json", json.dumps(TURNS), CONVERSATIONS, "Each element of the array is a list of turns"),
    "pandas' columns": ("a.json", FRAME.to_json(), ROWS, "written by columns"),
    "pandas' columns under a named index": ("a.json", NAMED_FRAME.to_json(indent=1), ROWS, "written by columns"),
    "pandas' split": ("a.json", FRAME.to_json(orient="split"), ROWS, "“split”"),
    "pandas' split with its rows first": ("a.json", json.dumps(dict(reversed(json.loads(FRAME.to_json(orient="split")).items()))), ROWS, "“split”"),
    "pandas' index": ("a.json", FRAME.to_json(orient="index"), ROWS, "under their index"),
    "pandas' index with names": ("a.json", NAMED_FRAME.to_json(orient="index"), ROWS, "under their index"),
    "columns as lists": ("a.json", json.dumps(FRAME.to_dict(orient="list")), ROWS, "each a list of its cells"),
    "splits": ("a.json", json.dumps({"train": ROWS, "test": OTHER_ROWS}), ROWS, "“train” is read, “test” not"),
    "splits in another order": ("a.json", json.dumps({"v": 1, "dev": OTHER_ROWS, "training": ROWS}), ROWS, "“training” is read, “dev” not"),
    "a split beside a list of another name": ("a.json", json.dumps({"train": ROWS, "rejected_rows": OTHER_ROWS}), ROWS, "“train” is read, “rejected_rows” not"),
    "a split under two names": ("a.json", json.dumps({"Training": ROWS, "train": OTHER_ROWS}), ROWS, "“Training” is read, “train” not"),
    "a split beside a row under an index": ("a.json", json.dumps({"train": ROWS, "7": OTHER_ROWS[0]}), ROWS, "“7” beside them is not read"),
    "a split beside pandas' split": ("a.json", json.dumps({"train": ROWS} | json.loads(FRAME.to_json(orient="split"))), ROWS, "“data” beside them is not read"),
    "rows of the Hub's viewer": ("a.json", json.dumps({"features": [{"feature_idx": 0, "name": "question"}], "rows": HUB_ROWS, "partial": False}), ROWS, "Hub's dataset viewer"),
    "an array of rows of the Hub's viewer": ("a.json", json.dumps(HUB_ROWS), ROWS, "Hub's dataset viewer"),
    "one example": ("a.json", json.dumps(ROWS[0]), ROWS[:1], "a single example"),
    "one example with tools": ("a.json", json.dumps(ROWS[0] | {"tools": [{"name": "f"}]}), [ROWS[0] | {"tools": [{"name": "f"}]}], "a single example"),
    "one example with documents": ("a.json", json.dumps(ROWS[0] | {"documents": [{"title": "x"}]}), [ROWS[0] | {"documents": [{"title": "x"}]}], "a single example"),
    "rows beside an instruction": ("a.json", json.dumps({"instruction": "Be kind.", "items": ROWS}), ROWS, "“instruction” beside them is not read"),
    "one pretty example named .jsonl": ("a.jsonl", json.dumps(ROWS[0], indent=1), ROWS[:1], "JSON object although its name ends in .jsonl"),
    "one conversation in an object": ("a.json", json.dumps({"id": 3, "messages": TURNS[0]}), [{"id": 3, "messages": TURNS[0]}], "a single example"),
    "one conversation as a list": ("a.json", json.dumps(TURNS[0]), CONVERSATIONS[:1], "one conversation"),
    "one conversation as a list named .jsonl": ("a.jsonl", json.dumps(SHAREGPT_TURNS), [{"messages": SHAREGPT_TURNS}], "one conversation"),
}  # fmt: skip


def write_file(path: Path, content: str) -> Source:
    path.write_text(content, encoding="utf-8")
    return Source(source=f"path:{path}")


@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_json_is_read_and_named_in_one_sentence(form: str, tmp_path: Path) -> None:
    name, content, expected_rows, sentence = FORMS[form]
    source = write_file(tmp_path / name, content)
    unreadable = UnreadableRows()
    assert list(files.read_source_rows(source, unreadable=unreadable)) == expected_rows
    findings = report_source(source).findings
    assert any(sentence in finding["text"] for finding in findings), findings
    assert {finding["severity"] for finding in findings} == {"good"}
    assert files.count_rows(source) == len(expected_rows)
    assert file_scan.scan_file(tmp_path / name) == {"rows": len(expected_rows), "findings": unreadable.findings()}


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.json", '[{"question": "a", "answer": "b"}, {"question": "c', "Unterminated string"),
        ("a.jsonl", '{"question": "a"}\n{"question": "b\n', "line 2 is not JSON"),
        ("a.jsonl", '["one", "two"]\n["three", "four"]\n', "line 1 is a list"),
        ("a.json", '{"error": 5, "status": "none"}', "not a list of objects"),
        ("a.json", json.dumps([HUB_ROWS[0] | {"truncated_cells": ["answer"]}]), "is cut short"),
        (
            "a.json",
            json.dumps({"dev": OTHER_ROWS, "test": ROWS}),
            "the lists “dev” and “test”, and none called “train”",
        ),
        ("a.json", json.dumps({"people": ROWS, "train": OTHER_ROWS}), "two lists of rows, “people” and “train”"),
        ("a.json", '{"question": {"0": "a"}, "answer": {"0": "\\ud83d"}}', "half of a character"),
    ],
)
def test_what_is_no_table_and_no_example_is_refused(name: str, content: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(Problem) as excinfo:
        list(files.read_source_rows(write_file(tmp_path / name, content)))
    assert reason in excinfo.value.text


def test_the_split_of_a_source_says_which_list_is_read(tmp_path: Path) -> None:
    source = write_file(tmp_path / "a.json", json.dumps({"train": ROWS, "test": OTHER_ROWS}))
    assert list(files.read_source_rows(source, "test")) == OTHER_ROWS
    assert list(files.read_source_rows(source.model_copy(update={"split": "test"}))) == OTHER_ROWS
    only_one = write_file(tmp_path / "b.json", "\ufeff" + json.dumps({"validation": ROWS}))
    assert list(files.read_source_rows(only_one)) == ROWS


def test_a_list_of_people_and_their_roles_is_no_conversation(tmp_path: Path) -> None:
    people = [{"role": "user", "content": "Ann"}, {"role": "gardener", "content": "Ben"}]
    assert list(files.read_source_rows(write_file(tmp_path / "a.json", json.dumps(people)))) == people


def test_a_large_document_is_read_row_by_row_up_to_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_document_file, "MAX_ROW_BYTES", 100_000)
    long_rows = [{"question": "why " * 1000, "answer": str(number)} for number in range(500)]
    content = json.dumps({"train": long_rows})[:-1] + ",}"
    source = write_file(tmp_path / "a.json", content)
    assert list(islice(files.read_source_rows(source), 400)) == long_rows[:400]
    with pytest.raises(Problem, match="character"):
        list(files.read_source_rows(source))  # too large to be held in memory and read as JSON5


def test_an_error_of_syntax_after_some_rows_repeats_no_row(tmp_path: Path) -> None:
    content = json.dumps(ROWS)[:-1] + ", /* last */ " + json.dumps(OTHER_ROWS[0]) + "]"
    assert list(files.read_source_rows(write_file(tmp_path / "a.json", content))) == ROWS + OTHER_ROWS


@pytest.mark.parametrize("first_line", ["sep=;", "SEP=;", '"sep=;"', "\ufeffsep=;"])
@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_a_first_line_that_declares_the_delimiter_is_no_row(first_line: str, line_break: str, tmp_path: Path) -> None:
    content = line_break.join([first_line, "question;answer", "How, then?;So, and so.", "Why;Because", ""])
    source = write_file(tmp_path / "a.csv", content)
    expected_rows = [{"question": "How, then?", "answer": "So, and so."}, {"question": "Why", "answer": "Because"}]
    assert list(files.read_source_rows(source)) == expected_rows
    assert "“sep=;”" in report_source(source).findings[0]["text"]
