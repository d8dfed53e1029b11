"""Labels: words, numbers and stars that judge an answer or a step are read as a person says, and never guessed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.core.problems import Problem
from app.data import labels, rows
from app.data.findings import label_findings
from app.data.findings.compatible_methods import find_compatible_methods
from app.data.findings.source_report import report_rows, report_source
from app.data.reading import files
from app.data.rows import RowNormalizer
from app.planning import links
from app.setup.set_value import set_value
from app.setup.spec import Source, parse_spec
from tests.support import write_rows

QUESTIONS = [f"How do I reset router {number} at home?" for number in range(12)]
ANSWERS = [f"Hold the small button for {number + 5} seconds." for number in range(12)]
STARS = [
    {"question": question, "answer": answer, "rating": 1 + number % 5}
    for number, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS, strict=True))
]


def normalize(
    table_rows: list[dict[str, Any]], row_type: str, **fields: Any
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    normalizer = RowNormalizer((row_type,), "It", is_chat=True)
    return list(normalizer(table_rows, Source(source="path:x", **fields))), dict(normalizer.drop_counts)


def apply_remedy(remedy: dict[str, Any] | None) -> Source:
    """The source after a click on the remedy."""
    assert remedy
    spec = {"method": "sft", "data": [{"source": "path:x"}]}
    for path, value in remedy["changes"].items():
        spec = set_value(spec, path, value)
    return parse_spec(spec).data[0]


@pytest.mark.parametrize(("label", "choice"), [
    ("desirable", "good"), ("undesirable", "bad"), ("Accepted", "good"), ("rejected", "bad"), ("thumbs_up", "good"), ("Thumbs-Down", "bad"),
    ("helpful", "good"), ("not helpful", "bad"), ("harmful", "bad"), ("correct", "good"), ("INCORRECT", "bad"), ("wrong", "bad"), ("✅", "good"),
    (True, "good"), (0, "bad"), ("1.0", "good"), ("left_out", "left_out"), ("neutral", None), (5, None), (0.7, None), (None, None), ("", None),
])  # fmt: skip
def test_standard_words_are_good_or_bad(label: Any, choice: str | None) -> None:
    assert labels.parse_label(label) == choice


def test_a_persons_choice_comes_before_the_standard_words() -> None:
    choices: dict[str, Any] = {
        "good": "bad",
        "Meh": "left_out",
        ">=0.7": "good",
        "<0.7": "bad",
        "4": "left_out",
        "5.0": "good",
    }
    expected_choices = {
        "good": "bad",
        " meh ": "left_out",
        0.7: "good",
        "0.69": "bad",
        4.0: "left_out",
        5.0: "good",
        "yes": None,
    }
    assert {label: labels.choose(label, choices) for label in expected_choices} == expected_choices
    assert labels.choose(0.5, {"<0.9": "bad", "<0.6": "left_out"}) == "left_out", "the nearest bound counts"


@pytest.mark.parametrize(("numbers", "undecided"), [
    ([1, 0, 0], []), ([-1, 1], []), ([1], []), (["1", "0"], []), ([True, False, 1], []), ([1, 5], [1, 5]), ([-1, 0, 1], [-1, 0, 1]),
    ([0.1, 0.9], [0.1, 0.9]), (["5", "3", "1"], [1, 3, 5]), (["★", "★★"], [1, 2]), (["good", "bad"], []), ([2], [2]),
])  # fmt: skip
def test_numbers_of_more_than_two_values_are_never_guessed(numbers: list[Any], undecided: list[float]) -> None:
    assert labels.undecided_numbers(numbers, {}) == undecided
    partly: dict[str, Any] = {labels.label_text(numbers[0]): "good"}
    assert labels.undecided_numbers(numbers, partly) == ([] if not undecided else [
        number for number in undecided if number != labels.label_rank(numbers[0])]), "one choice does not decide on the others"  # fmt: skip


def test_stars_are_asked_about_and_one_click_says_what_they_mean() -> None:
    report = report_rows(STARS)
    assert (report.layout, report.certainty) == ("thumbs", "likely")
    [finding] = report.findings
    assert (finding["id"], finding["severity"], finding["count"]) == ("verdict", "wrong", 12)
    assert finding["text"].startswith("`rating` holds numbers from 1 to 5, and nothing says which of them are good")
    assert finding["remedy"]
    assert finding["remedy"]["title"] == "4 and 5 are good, 1 and 2 bad, 3 left out"
    assert [verdict["choice"] for verdict in report.verdicts] == [None] * 5
    with pytest.raises(Problem, match="nothing says which of them are good"):
        normalize(STARS, "thumbs")
    source = apply_remedy(finding["remedy"])
    kept_rows, drop_counts = normalize(STARS, "thumbs", labels=source.labels)
    assert [row["label"] for row in kept_rows] == [False, False, True, True] * 2 + [False, False]
    assert drop_counts == {"its verdict is one that you leave out": 2}
    mended = report_rows(STARS, source)
    assert {verdict["text"]: (verdict["count"], verdict["choice"]) for verdict in mended.verdicts} == {
        "5": (2, "good"), "4": (2, "good"), "3": (2, "left_out"), "2": (3, "bad"), "1": (3, "bad")}  # fmt: skip
    assert [finding["severity"] for finding in mended.findings] == ["careful"], "only the rows that are left out"


def test_the_method_offered_is_one_that_uses_the_verdict() -> None:
    assert find_compatible_methods(STARS)["best"] == "kto"
    assert find_compatible_methods([row | {"rating": "helpful"} for row in STARS])["best"] == "kto"


def test_a_number_that_shows_up_late_stops_the_run(tmp_path: Path) -> None:
    late_rows = [{"prompt": f"a {number}?", "completion": "b", "label": 1 + number // 60} for number in range(120)]
    with pytest.raises(Problem, match=r"Row 61 shows that `label` is no yes or no: it holds 1 and 2"):
        normalize(late_rows, "thumbs")
    steps = [
        {"prompt": "a?", "completions": ["b"], "labels": [int(number < 60) if number < 99 else -1]}
        for number in range(100)
    ]
    with pytest.raises(Problem, match=r"Row 100 shows that `labels` is no yes or no: it holds -1, 0 and 1"):
        normalize(steps, "stepwise")
    csv = tmp_path / "late.csv"
    csv.write_text("prompt,completion,label\n" + "".join(f"a {n}?,b,{1 + n // 60}\n" for n in range(120)))
    with pytest.raises(Problem, match="Row 61"):
        list(RowNormalizer(("thumbs",), "It", True)(files.read_source_rows(Source(source=f"path:{csv}"))))


def test_a_neutral_step_is_only_read_once_a_person_says_so() -> None:
    step_rows = [{"question": "2 + 2 * 3?", "steps": ["Let us see.", "2 * 3 = 6", "2 + 6 = 9"], "ratings": [0, 1, -1]}]
    [finding] = report_rows(step_rows).findings
    assert finding["remedy"]
    assert finding["remedy"]["title"] == "1 is right, -1 wrong, 0 not judged"
    with pytest.raises(Problem, match="which of them mark a right step"):
        normalize(step_rows, "stepwise")
    source = apply_remedy(finding["remedy"])
    assert normalize(step_rows, "stepwise", labels=source.labels)[0][0]["labels"] == [-100, 1, 0]
    assert report_rows(step_rows, source).verdict_choices == {"good": "right", "bad": "wrong", "left_out": "not judged"}
    unjudged_row = step_rows[0] | {"ratings": [0, 0, 0]}
    assert normalize([*step_rows, unjudged_row], "stepwise", labels=source.labels)[1] == {"no step is judged": 1}


def test_unknown_words_are_offered_as_a_map() -> None:
    word_rows = [
        {"prompt": question, "completion": "b", "label": ["accepted", "rejected", "so la la"][number % 3]}
        for number, question in enumerate(QUESTIONS)
    ]
    report = report_rows(word_rows)
    [finding] = report.findings
    assert "`label` says “so la la”, and nobody knows what that means" in finding["text"]
    assert (finding["severity"], finding["count"]) == ("careful", 4)
    assert finding["remedy"]
    assert finding["remedy"]["changes"] == {"data.0.labels": {"so la la": "left_out"}}
    assert {verdict["text"]: verdict["choice"] for verdict in report.verdicts} == {
        "accepted": "good", "rejected": "bad", "so la la": None}  # fmt: skip
    assert [row["label"] for row in normalize(word_rows, "thumbs", labels={"so la la": "bad"})[0][:3]] == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize("start", [None, 5])
def test_rows_without_a_verdict_are_named_beside_an_unknown_one(start: int | None) -> None:
    words = ["accepted", "rejected", "so la la", "", "accepted", "rejected", None, "rejected"]
    word_rows = [{"prompt": f"{number}?", "completion": "b", "label": word} for number, word in enumerate(words)]
    findings = report_rows(word_rows, Source(source="path:x", start=start)).findings
    offset = start or 0
    assert [(finding["id"], finding["rows"]) for finding in findings] == [
        ("verdict", [3 + offset]),
        ("left_out", [4 + offset, 7 + offset]),
    ]


def test_a_word_among_known_ones_leaves_the_column_a_verdict() -> None:
    word_rows = [row | {"rating": ["helpful", "harmful", "meh"][number % 3]} for number, row in enumerate(STARS)]
    assert (report_rows(word_rows).layout, find_compatible_methods(word_rows)["best"]) == ("thumbs", "kto")
    prose_rows = [row | {"feedback": f"Good, but {row['rating']} is too many."} for row in STARS]
    assert report_rows([{name: cell for name, cell in row.items() if name != "rating"} for row in prose_rows]).layout == "pair"  # fmt: skip


def test_many_numbers_are_divided_into_bands() -> None:
    scored_rows = [row | {"rating": number / 11} for number, row in enumerate(STARS)]
    report = report_rows(scored_rows)
    [finding] = report.findings
    assert finding["remedy"]
    assert finding["remedy"]["title"] == "0.6 and more is good, below 0.4 bad, 0.4 to 0.6 left out"
    source = apply_remedy(finding["remedy"])
    assert source.labels == {">=0.6": "good", ">=0.4": "left_out", "<0.4": "bad"}
    assert len(normalize(scored_rows, "thumbs", labels=source.labels)[0]) == 10


@pytest.mark.parametrize("scores", [
    [n * 10 for n in range(20)], [0.951 + n / 500 for n in range(20)], [n / 1_000_000 for n in range(20)], [12.4 + n / 220 for n in range(20)],
])  # fmt: skip
def test_the_bands_of_any_numbers_divide_them_in_three(scores: list[float]) -> None:
    choices = labels.suggest_choices(scores)
    assert {labels.choose(score, choices) for score in scores} == {"good", "bad", "left_out"}
    assert (labels.choose(scores[0], choices), labels.choose(scores[-1], choices)) == ("bad", "good")


def test_scores_that_all_differ_are_looked_at_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    undecided_numbers = label_findings.undecided_numbers

    def count_labels(some_labels: Any, *arguments: Any, **options: Any) -> list[float]:
        lengths.append(len(some_labels))
        return undecided_numbers(some_labels, *arguments, **options)

    monkeypatch.setattr(label_findings, "undecided_numbers", count_labels)
    scored_rows = [{"prompt": f"a {n}?", "completion": "b", "label": n / 999 - 0.5} for n in range(999)]
    assert len(normalize(scored_rows, "thumbs", labels={">=0": "good", "<0": "bad"})[0]) == 999
    assert sum(lengths) < 1010
    with pytest.raises(Problem, match=r"Row 1,000 shows .* it holds 7, and nothing says what that means"):
        normalize([*scored_rows, scored_rows[0] | {"label": 7}], "thumbs", labels={"<0.5": "good"})


def test_choices_travel_in_a_link() -> None:
    spec = parse_spec({"method": "kto", "data": [{"source": "sample:thumbs", "labels": {"5": "good", "<3": "bad"}}]})
    assert links.open_link(links.link_to_setup(spec))[1].data[0].labels == {"5": "good", "<3": "bad"}


@pytest.mark.parametrize(("columns", "verdicts", "chosen"), [
    (("response_0", "response_1", "better_response_id"), [0, 1], "ab"),
    (("response_1", "response_2", "preference"), [1, 2], "ab"),
    (("response_a", "response_b", "winner"), ["model_a", "model_b"], "ab"),
    (("answer_a", "answer_b", "preference"), ["A", "b"], "ab"),
    (("response1", "response2", "preference"), ["response1", "response2"], "ab"),
    (("human_ref_A", "human_ref_B", "labels"), [1, 0], "ab"),
    (("output_1", "output_2", "winner"), ["tie", "output_2"], "-b"),
])  # fmt: skip
def test_a_verdict_on_two_answers_makes_a_pair(columns: tuple[str, ...], verdicts: list[Any], chosen: str) -> None:
    table_rows = [
        {"prompt": "How do I rest?", **dict(zip(columns, ("a", "b", verdict), strict=True))} for verdict in verdicts
    ]
    report = report_rows(table_rows)
    assert (report.layout, report.certainty) == ("judged_pair", "sure")
    pairs, drop_counts = normalize(table_rows, "preference")
    assert [pair["chosen"][0]["content"] for pair in pairs] == [letter for letter in chosen if letter != "-"]
    assert [pair["rejected"][0]["content"] for pair in pairs] == [
        {"a": "b", "b": "a"}[letter] for letter in chosen if letter != "-"
    ]
    assert drop_counts == ({"neither answer is better": 1} if "-" in chosen else {})


def test_numbers_that_prefer_an_answer_are_asked_about() -> None:
    table_rows = [
        {"prompt": question, "response_1": "a", "response_2": "b", "preference_strength": number % 7 - 3}
        for number, question in enumerate(QUESTIONS)
    ]
    [finding] = report_rows(table_rows).findings
    assert (
        "`preference_strength` holds numbers from -3 to 3, and nothing says which answer they prefer" in finding["text"]
    )
    source = apply_remedy(finding["remedy"])
    assert {
        "<0": "first",
        "0": "left_out",
        ">0": "second",
        "-1": "first",
        "1": "second",
    }.items() <= source.labels.items()
    pairs, _ = normalize(table_rows, "preference", labels=source.labels)
    assert [pair["chosen"][0]["content"] for pair in pairs[:6]] == ["a", "a", "a", "b", "b", "b"]


def test_a_letter_pair_with_bare_zeros_and_ones_is_asked_about() -> None:
    table_rows = [{"prompt": "a?", "response_a": "b", "response_b": "c", "winner": number} for number in (0, 1)]
    [finding] = report_rows(table_rows).findings
    assert (finding["id"], finding["severity"]) == ("verdict", "wrong")


def spoken(*texts: str) -> list[dict[str, str]]:
    return [{"from": ["Kundin", "Werkstatt"][number % 2], "value": text} for number, text in enumerate(texts)]


COMPARED = [
    {"answer_a": spoken("Is it done?", f"Yes, {i}."), "answer_b": spoken("Is it done?", f"No, {i}."), "better": "a"}
    for i in range(4)
]


def test_speakers_of_two_answers_are_asked_about_and_the_persons_roles_apply() -> None:
    report = report_rows(COMPARED)
    assert {speaker["name"]: speaker["role"] for speaker in report.speakers} == {"Kundin": None, "Werkstatt": None}
    unknown = [finding["text"] for finding in report.findings if finding["id"] == "speaker"]
    assert len(unknown) == 2
    assert normalize(COMPARED, "preference")[0] == []
    pairs, dropped = normalize(COMPARED, "preference", roles={"Kundin": "user", "Werkstatt": "assistant"})
    assert dropped == {}
    assert pairs[0]["prompt"] == [{"role": "user", "content": "Is it done?"}]
    assert pairs[0]["chosen"] == [{"role": "assistant", "content": "Yes, 0."}]


@pytest.mark.parametrize("turns", [
    [{"speaker": "human", "text": "Done?"}, {"speaker": "bot", "text": "Yes."}],
    [{"name": "Ann", "text": "Done?"}, {"name": "Bot", "text": "Yes."}],
    [{"question": "Done?", "answer": "Yes."}],
], ids=["speaker", "name", "pair"])  # fmt: skip
def test_a_conversation_beside_a_worse_answer_may_have_any_form(turns: list[dict[str, str]]) -> None:
    rows = [{"conversation": turns, "rejected_response": f"No, {i}."} for i in range(3)]
    pairs, dropped = normalize(rows, "preference", roles={"Ann": "user"}, layout="rejected_conversation")
    assert dropped == {}
    assert [message["content"] for message in (*pairs[0]["prompt"], *pairs[0]["chosen"])] == ["Done?", "Yes."]


def test_two_verdicts_that_differ_are_both_named() -> None:
    table_rows = [
        {
            "prompt": question,
            "response_0": "a",
            "response_1": "b",
            "better_response_id": number % 2,
            "safer_response_id": 0,
        }
        for number, question in enumerate(QUESTIONS)
    ]
    report = report_rows(table_rows)
    [finding] = report.findings
    assert (report.certainty, finding["id"]) == ("likely", "unread_verdict")
    assert "`safer_response_id`" in finding["text"]
    source = apply_remedy(finding["remedy"])
    assert {
        pair["chosen"][0]["content"]
        for pair in normalize(table_rows, "preference", mapping=source.mapping, layout=source.layout)[0]
    } == {"a"}
    agreeing_rows = [row | {"safer_response_id": row["better_response_id"]} for row in table_rows]
    assert (report_rows(agreeing_rows).certainty, report_rows(agreeing_rows).findings) == ("sure", [])


def test_a_run_says_what_the_report_says(tmp_path: Path) -> None:
    source = Source(source=write_rows(tmp_path / "stars.jsonl", STARS))
    finding_text = report_source(source).findings[0]["text"]
    with pytest.raises(Problem) as error:
        rows.require_layout(STARS, source, ("thumbs",), "It")
    assert error.value.text == finding_text


def test_report_and_run_ask_alike_where_pairs_have_numbers_too() -> None:
    rows = [
        {"prompt": f"Why, {i}?", "chosen": f"So {i}.", "rejected": "No.", "completion": f"So {i}.", "rating": i % 5}
        for i in range(10)
    ]
    report = report_rows(rows, row_types=("thumbs", "preference"))
    assert (report.kind, [finding["severity"] for finding in report.findings][:1]) == ("thumbs", ["wrong"])
    with pytest.raises(Problem, match="rating"):
        list(RowNormalizer(("thumbs", "preference"), "It", True)(rows))
