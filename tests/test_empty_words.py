"""Empty words: cells that are only “nan”, “NULL” and the like count as empty everywhere alike; real words stay, and are asked about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.data import rows
from app.data.findings.compatible_methods import find_compatible_methods
from app.data.findings.source_preview import preview_source
from app.data.findings.source_report import report_rows, report_source
from app.data.reading import files
from app.engine.datasets import load
from app.setup.set_value import set_value
from app.setup.spec import Source, parse_spec

SFT_ROW_TYPES = ("messages", "prompt_completion", "text", "segments", "tokens")
Pairs = list[tuple[str, str]]
GOOD_PAIRS: Pairs = [("How deep is the lake?", "Nine metres."), ("How wide is it?", "As wide as a barn is long.")]


def write_table(path: Path, pairs: Pairs, header: str = "question,answer", **settings: Any) -> Source:
    path.write_text(header + "\n" + "".join(f'"{question}","{answer}"\n' for question, answer in pairs))
    return Source(source=f"path:{path}", **settings)


def learned_pairs(source: Source) -> tuple[Pairs, dict[str, int]]:
    normalizer = rows.RowNormalizer(SFT_ROW_TYPES, "Imitate examples", is_chat=True)
    normalized = list(normalizer(files.read_source_rows(source), source))
    return [(row["prompt"][-1]["content"], row["completion"][0]["content"]) for row in normalized], dict(
        normalizer.drop_counts
    )


@pytest.mark.parametrize(
    "word", ["nan", "NaN", " nan ", "None", "NULL", "null", "N/A", "#N/A", "<NA>", "undefined", "NaT"]
)
def test_an_answer_that_is_only_a_word_for_nothing_is_left_out_and_reported(word: str, tmp_path: Path) -> None:
    source = write_table(tmp_path / "a.csv", [GOOD_PAIRS[0], ("Who?", word), GOOD_PAIRS[1], (word, "Ann.")])
    assert learned_pairs(source) == (
        GOOD_PAIRS,
        {f"the answer is only the word “{word.strip()}”": 1, f"the question is only the word “{word.strip()}”": 1},
    )
    findings = report_source(source).findings
    assert [(finding["id"], finding["severity"], finding["rows"]) for finding in findings] == [
        ("empty_words", "careful", [4]),
        ("empty_words", "careful", [2]),
    ]
    assert f"One cell of `answer` is only the word “{word.strip()}”: it counts as empty" in findings[1]["text"]


def test_the_remedy_keeps_the_words_as_text(tmp_path: Path) -> None:
    pairs = [*GOOD_PAIRS, ("What does typeof give?", "undefined"), ("And of nothing?", "null")]
    source = write_table(tmp_path / "a.csv", pairs)
    [finding] = report_source(source).findings
    assert finding["text"] == (
        "2 cells of `answer` are only the word “undefined” or “null”: they count as empty, and their rows are left out."
    )
    assert finding["remedy"]
    [(path, setting)] = finding["remedy"]["changes"].items()
    spec = set_value({"data": [source.model_dump()]}, path, setting)
    kept = Source.model_validate(spec["data"][0])
    assert learned_pairs(kept) == (pairs, {})
    assert report_source(kept).findings == []


LABELS: Pairs = [("a", "urgent"), ("b", "None"), ("c", "later"), ("d", "urgent"), ("e", "None"), ("f", "later")]
NAMES: Pairs = [("Who bakes?", "Nan"), ("Who drives?", "Omar"), ("Who sings?", "Lena")]
REAL_WORDS: dict[str, tuple[Pairs, str, str, list[int]]] = {
    "a label among few": (LABELS, "question,answer", "“None”", [2, 5]),
    "a label by its column's name": ([("one", "N/A"), ("two", "billing"), ("three", "login")], "question,category", "“N/A”", [1]),
    "a name": (NAMES, "question,answer", "“Nan”", [1]),
}  # fmt: skip


@pytest.mark.parametrize("case", REAL_WORDS)
def test_a_word_that_may_be_real_stays_and_a_person_is_asked(case: str, tmp_path: Path) -> None:
    pairs, header, word, row_numbers = REAL_WORDS[case]
    source = write_table(tmp_path / "a.csv", pairs, header, mapping={"completion": header.partition(",")[2]})
    assert learned_pairs(source) == (pairs, {})
    [finding] = [finding for finding in report_source(source).findings if finding["id"] == "empty_words"]
    assert word in finding["text"]
    assert "may be a real word" in finding["text"]
    assert finding["rows"] == row_numbers
    emptied = source.model_copy(update={"empty_words": "empty"})
    assert len(learned_pairs(emptied)[0]) == len(pairs) - len(row_numbers)


def test_such_words_within_a_text_are_text(tmp_path: Path) -> None:
    pairs = [
        ("Who lives there?", "My Nan lives there."),
        ("Any left?", "None of them."),
        ("What is NaN?", "Not a number."),
    ]
    source = write_table(tmp_path / "a.csv", pairs)
    assert learned_pairs(source) == (pairs, {})
    assert report_source(source).findings == []


def test_an_optional_input_that_is_a_word_for_nothing_is_no_part_of_the_task(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("instruction,input,output\nName a fruit.,nan,A plum.\nTranslate.,Apfel,Apple.\n")
    source = Source(source=f"path:{path}")
    assert learned_pairs(source) == ([("Name a fruit.", "A plum."), ("Translate.\n\nApfel", "Apple.")], {})
    [finding] = report_source(source).findings
    assert finding["text"] == "One cell of `input` is only the word “nan”: it counts as empty."


@pytest.mark.parametrize(("setting", "pairs", "drop_counts"), [
    ("auto", [("a", "b")], {"the answer is only the word “NaN”": 1}),
    ("empty", [("a", "b")], {"the answer is only the word “NaN”": 1}),
    ("keep", [("a", "b"), ("c", "NaN")], {}),
])  # fmt: skip
def test_the_number_nan_is_a_word_for_nothing(
    setting: Any, pairs: Pairs, drop_counts: dict[str, int], tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "a", "answer": "b"}\n{"question": "c", "answer": NaN}\n')
    source = Source(source=f"path:{path}", empty_words=setting)
    assert learned_pairs(source) == (pairs, drop_counts)
    assert bool(report_source(source).findings) == bool(drop_counts)


# -- columns beside question and answer, and texts made of columns ---------------------------------------------------


def test_a_reasoning_that_is_a_word_for_nothing_is_no_reasoning(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("question,thinking,answer\nHow deep?,nan,Nine metres.\nHow wide?,I saw it once.,As a barn.\n")
    source = Source(source=f"path:{path}", mapping={"reasoning": "thinking"})
    normalizer = rows.RowNormalizer(SFT_ROW_TYPES, "It", is_chat=True)
    first, second = normalizer(files.read_source_rows(source), source)
    assert "reasoning_content" not in first["completion"][0]
    assert second["completion"][0]["reasoning_content"] == "I saw it once."
    [finding] = report_source(source).findings
    assert (finding["id"], finding["rows"]) == ("empty_words", [1])


def test_one_of_two_answers_that_is_a_word_for_nothing_is_no_answer() -> None:
    judged = [
        {"question": f"Which {i}?", "answer_a": f"The red one of {i}.", "answer_b": "NULL" if i == 2 else f"Blue, {i}.", "better": "a"}
        for i in range(4)
    ]  # fmt: skip
    normalizer = rows.RowNormalizer(("preference",), "It", is_chat=True)
    assert len(list(normalizer(judged))) == 3
    assert normalizer.drop_counts == {"the second of two answers is only the word “NULL”": 1}
    assert [finding["rows"] for finding in report_rows(judged).findings if finding["id"] == "empty_words"] == [[3]]


def test_a_word_for_nothing_is_empty_within_a_text_made_of_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("title,details,reply\nLamp?,nan,Seven.\nDesk?,The oak one.,NULL\nBed?,The low one.,Two.\n")
    templates = {"prompt": "{title} {details}", "completion": "{reply}"}
    source = Source(source=f"path:{path}", templates=templates)
    assert learned_pairs(source) == (
        [("Lamp? ", "Seven."), ("Bed? The low one.", "Two.")],
        {"the answer is only the word “NULL”": 1},
    )
    assert [(finding["rows"], finding["text"]) for finding in report_source(source).findings] == [
        ([1], "One cell of `details` is only the word “nan”: it counts as empty."),
        ([2], "One cell of `reply` is only the word “NULL”: it counts as empty, and its row is left out."),
    ]
    assert len(learned_pairs(source.model_copy(update={"empty_words": "keep"}))[0]) == 3


def test_a_column_of_a_template_that_is_empty_in_all_rows_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("title,reply\nLamp?,\nDesk?, \n")
    source = Source(source=f"path:{path}", templates={"prompt": "About {title}", "completion": "{reply}"})
    texts = [finding["text"] for finding in report_source(source).findings]
    assert "`reply` is empty in all rows: nothing can be learned from it." in texts


def test_inspect_preview_audit_and_run_agree(tmp_path: Path) -> None:
    source = write_table(tmp_path / "a.csv", [("Who?", "nan"), *GOOD_PAIRS])
    reason = "the answer is only the word “nan”"
    spec = parse_spec({"method": "sft", "data": [{"source": source.source}], "holdout": {}})
    loaded = load.load_data(spec, SFT_ROW_TYPES, "It", chat=True)  # what the audit and the run read
    assert (len(loaded.train), dict(loaded.dropped), loaded.dropped_row_numbers) == (2, {reason: 1}, {reason: [1]})
    preview = preview_source({"source": {"source": source.source}, "method": "sft"})
    assert preview["first_example"] == {"why": f"Row 1 is left out: {reason}."}
    assert [finding["rows"] for finding in preview["now"]["findings"]] == [[1]]


# -- columns that are empty in all rows ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "answer"), [("prompt,answer", ""), ("question,response", " "), ("prompt,completion", "nan")]
)
def test_a_column_that_is_empty_in_all_rows_is_named(header: str, answer: str, tmp_path: Path) -> None:
    source = write_table(tmp_path / "a.csv", [("One.", answer), ("Two.", answer)], header)
    column = header.partition(",")[2]
    methods = find_compatible_methods(list(files.read_source_rows(source)), source)["methods"]
    assert methods["sft"].startswith("cannot use these rows: ")
    report = report_source(source)
    assert any(f"`{column}` is empty in all rows" in finding["text"] for finding in report.findings)
    method_report = report_source(source, row_types=SFT_ROW_TYPES)
    assert any(f"`{column}` is empty in all rows" in finding["text"] for finding in method_report.findings)
    if header != "prompt,completion":
        assert methods["sft"].endswith(f"`{column}` is empty in all rows")
        with pytest.raises(Problem, match=f"`{column}` is empty in all rows"):
            learned_pairs(source)


def test_a_column_that_is_empty_in_some_rows_is_not(tmp_path: Path) -> None:
    source = write_table(tmp_path / "a.csv", [("One.", ""), ("Two.", "2")])
    assert not any(finding["id"] == "empty_column" for finding in report_source(source).findings)
    compatible = find_compatible_methods(list(files.read_source_rows(source)), source)
    assert compatible["methods"]["sft"] == ""
