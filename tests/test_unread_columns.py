"""Unread columns: a verdict, a worse answer, a further text, a thought or a medium that is not used is named, and nothing is sure while one is left."""

from __future__ import annotations

from typing import Any

import pytest

from app.data.column_words import is_prose_column, is_text_column, name_words
from app.data.findings.source_report import report_rows
from app.data.layout_match import ROW_TYPE_PRIORITY
from app.data.rows import RowNormalizer
from app.setup.spec import Source
from tests.test_labels import ANSWERS, QUESTIONS, apply_remedy

OTHER_ANSWERS = [f"No idea, ask somebody else about router {number}." for number in range(12)]


def table(**columns: list[Any]) -> list[dict[str, Any]]:
    names = {name.replace("__", " "): cells for name, cells in columns.items()}
    return [dict(zip(names, cells, strict=True)) for cells in zip(*names.values(), strict=True)]


def turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


CONVERSATIONS = [turns(question, answer) for question, answer in zip(QUESTIONS, ANSWERS, strict=True)]
SMALL_NUMBERS = [number % 5 for number in range(12)]


@pytest.mark.parametrize(("rows", "kind", "column", "remedy_layout"), [
    (table(prompt=QUESTIONS, response=ANSWERS, helpfulness=SMALL_NUMBERS, verbosity=SMALL_NUMBERS), "verdict", "helpfulness", "thumbs"),
    (table(user_input=QUESTIONS, model_output=ANSWERS, toxicity=[number % 2 for number in range(12)]), "verdict", "toxicity", "thumbs"),
    (table(question=QUESTIONS, answer=ANSWERS, Rueckmeldung=["👍", "👎"] * 6), "verdict", "Rueckmeldung", "thumbs"),
    (table(messages=CONVERSATIONS, quality=SMALL_NUMBERS), "verdict", "quality", "thumbs_conversation"),
    (table(prompt=QUESTIONS, completion=ANSWERS, label=["toll", "mies"] * 6), "verdict", "label", "thumbs"),
    (table(Question=QUESTIONS, Response=ANSWERS, Complex_CoT=OTHER_ANSWERS), "reasoning", "Complex_CoT", "pair"),
    (table(question=QUESTIONS, erklaerung=ANSWERS), "text", "erklaerung", "pair"),
    (table(question=QUESTIONS, answer=ANSWERS, notes=OTHER_ANSWERS), "text", "notes", None),
    (table(question=QUESTIONS, answer=ANSWERS, audio=[{"path": "a.wav"}] * 12), "media", "audio", None),
])  # fmt: skip
def test_what_is_not_used_is_named_and_nothing_is_sure(
    rows: list[dict[str, Any]], kind: str, column: str, remedy_layout: str | None
) -> None:
    report = report_rows(rows)
    assert report.certainty == "likely"
    [finding] = [finding for finding in report.findings if finding["id"] == f"unread_{kind}"]
    assert finding["severity"] == "careful"
    assert f"`{column}`" in finding["text"]
    assert (finding["remedy"] or {"changes": {}})["changes"].get("data.0.layout") == remedy_layout
    if remedy_layout:
        mended = report_rows(rows, apply_remedy(finding["remedy"]))
        assert mended.layout == remedy_layout
        assert f"`{column}`" not in " ".join(
            finding["text"] for finding in mended.findings if finding["id"].startswith("unread")
        )


def test_of_a_toxicity_the_high_numbers_are_bad() -> None:
    rows = table(prompt=QUESTIONS, response=ANSWERS, toxicity=[number % 2 for number in range(12)])
    source = apply_remedy(report_rows(rows).findings[0]["remedy"])
    normalized = list(RowNormalizer(("thumbs",), "It", True)(rows, source))
    assert [row["label"] for row in normalized[:2]] == [True, False]


@pytest.mark.parametrize("rows", [
    table(question=QUESTIONS, answer=ANSWERS, id=list(range(12)), date=["2024-05-01"] * 12, author=["Ann Lee", "Bo Ray"] * 6, url=["https://a.b/c"] * 12),
    table(question=QUESTIONS, answer=ANSWERS, source=["forum"] * 12, is_multilingual=[True, False] * 6, level=SMALL_NUMBERS),
    table(prompt=QUESTIONS, messages=CONVERSATIONS, prompt_id=[f"a{number}f" for number in range(12)]),
    table(instruction=QUESTIONS, input=[""] * 12, output=ANSWERS, text=[f"Below is a task.\n{q}\nAnswer: {a}" for q, a in zip(QUESTIONS, ANSWERS, strict=True)]),
    table(prompt=QUESTIONS, chosen=ANSWERS, rejected=OTHER_ANSWERS, score_chosen=[5.0] * 12, score_rejected=[1.0] * 12),
    table(prompt=QUESTIONS, completion=ANSWERS, label=[True, False] * 6, rating=[5.0, 1.0] * 6),
])  # fmt: skip
def test_ids_dates_people_and_repetitions_are_no_matter(rows: list[dict[str, Any]]) -> None:
    report = report_rows(rows)
    assert (report.certainty, report.findings) == ("sure", [])


@pytest.mark.parametrize(("names", "certainty"), [
    (("User", "Bot"), "sure"), (("human", "gpt"), "sure"), (("Customer", "Agent"), "sure"), (("Customer message", "Agent reply"), "likely"),
    (("user_prompt", "model answer"), "likely"), (("userPrompt", "botResponse"), "likely"), (("problem", "deepseek_solution"), "likely"),
])  # fmt: skip
def test_names_of_speakers_and_parts_of_names_tell_question_and_answer(names: tuple[str, str], certainty: str) -> None:
    rows = [dict(zip(names, cells, strict=True)) for cells in zip(QUESTIONS, ANSWERS, strict=True)]
    report = report_rows(rows)
    assert (report.layout, report.certainty) == ("pair", certainty)
    assert {part["name"]: part["column"] for part in report.parts if part["column"]} == {"prompt": names[0], "completion": names[1]}  # fmt: skip


@pytest.mark.parametrize("rows", [
    table(uuid=[f"3f2504e0-4f89-11d3-9a0c-0305e82c33{number:02}" for number in range(12)], author=["Ann Lee"] * 12, created=["2024-01-02 10:00"] * 12),
    table(reviewer=["Bo Ray"] * 12, remark=QUESTIONS),
    table(**{"from": ["human"] * 12, "value": QUESTIONS}),
    table(labeler=["x y z"] * 12, timestamp=["2022-07-30"] * 12),
    table(customer_id=[f"c{number}" for number in range(12)], agent_name=["Ann Lee"] * 12),
])  # fmt: skip
def test_ids_people_and_fields_of_turns_are_never_offered_as_question_or_answer(rows: list[dict[str, Any]]) -> None:
    report = report_rows(rows)
    assert (report.layout, [finding["remedy"] for finding in report.findings]) == (None, [None])


def test_a_guess_goes_by_names_question_marks_and_lengths() -> None:
    rows = table(
        Ticket=[f"T-{number}" for number in range(12)],
        Betreff=["Frage zum Router"] * 12,
        Loesung=ANSWERS,
        Anfrage=QUESTIONS,
    )
    report = report_rows(rows)
    assert (report.certainty, report.findings[0]["id"]) == ("possible", "guess")
    assert report.findings[0]["remedy"]
    assert report.findings[0]["remedy"]["changes"] == {"data.0.mapping": {"prompt": "Anfrage", "completion": "Loesung"}}


def test_a_thought_that_a_person_names_comes_before_the_answer() -> None:
    rows = table(question=QUESTIONS[:1], answer=ANSWERS[:1], thinking=["It has a button."])
    source = apply_remedy(report_rows(rows).findings[0]["remedy"])
    [row] = RowNormalizer(("prompt_completion",), "It", True)(rows, source)
    assert row["completion"] == [{"role": "assistant", "content": ANSWERS[0], "reasoning_content": "It has a button."}]


@pytest.mark.parametrize("rows", [
    table(messages=[turns("<audio>What is that?", "Glass.")], audios=[["1.mp3"]]),
    table(messages=[turns("<video>What happens?", "A cat jumps.")], videos=[["a.mp4"]]),
    table(prompt=["What is said in <audio>?"], completion=["Hello there."], audio=["a.wav"]),
    table(prompt=["What is said in <audio>?"], completion=["Hello there."], recording=[{"array": [0.1], "sampling_rate": 16000}]),
    table(prompt=["What is said in <audio>?"], completion=["Hello there."], audio_file=["clips/a.flac"]),
    table(messages=[[{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, {"role": "assistant", "content": "Hi."}]]),
])  # fmt: skip
def test_rows_that_speak_of_sound_or_films_are_refused_alike_in_report_and_run(rows: list[dict[str, Any]]) -> None:
    report = report_rows(rows)
    assert "it has sound or a film, which no model here can use" in report.findings[0]["text"]
    assert (report.certainty, report.findings[0]["severity"]) == ("likely", "wrong")
    normalizer = RowNormalizer((report.kind or "",), "It", True)
    assert list(normalizer(rows, Source(source="path:x"))) == []
    assert dict(normalizer.drop_counts) == {"it has sound or a film, which no model here can use": 1}


MEDIA_COLUMNS: dict[str, list[Any]] = {
    "clip": ["a.mp3", "b.mp3"], "recording": [{"array": [0.1], "sampling_rate": 16000}] * 2,
    "video": ["dQw4w9WgXcQ", "9bZkp7q19f0"], "audio_url": ["https://a.example/1", "https://a.example/2"],
    "takes": [["a.wav", "b.wav"]] * 2, "videoFile": ["a.mp4", "b.mp4"], "audio2": [{"bytes": "x"}] * 2,
}  # fmt: skip
OTHER_COLUMNS: dict[str, list[Any]] = {
    "part_of_speech": ["noun", "verb"], "video_id": ["dQw4w9WgXcQ", "9bZkp7q19f0"], "audio_duration": [3.5, 7.25],
    "video_title": ["Casablanca", "Metropolis"], "has_audio": [True, False], "speech_act": ["request", "promise"],
    "film": ["Casablanca", "Metropolis"], "audio_language": ["en", "fr"], "speech": ["direct", "indirect"],
}  # fmt: skip


@pytest.mark.parametrize("name", [*MEDIA_COLUMNS, *OTHER_COLUMNS])
def test_a_column_holds_media_by_its_cells_and_not_by_a_word_in_its_name(name: str) -> None:
    cells = (MEDIA_COLUMNS | OTHER_COLUMNS)[name]
    rows = [
        {"question": question, "answer": answer, name: cell}
        for question, answer, cell in zip(QUESTIONS, ANSWERS, cells, strict=False)
    ]
    about_media = [finding["text"] for finding in report_rows(rows).findings if finding["id"] == "unread_media"]
    assert bool(about_media) == (name in MEDIA_COLUMNS)
    marked = [row | {"question": f"<audio>{row['question']}"} for row in rows]
    normalizer = RowNormalizer(("prompt_completion",), "It", True)
    assert len(list(normalizer(marked, Source(source="path:x", layout="pair")))) == (0 if name in MEDIA_COLUMNS else 2)


@pytest.mark.parametrize(("rows", "finding_id", "row_types"), [
    (table(text=["<|im_start|>user\nOpen?<|im_end|>\n<|im_start|>assistant\nUntil six.<|im_end|>"] * 3), "chat_text", ("text",)),
    (table(prompt=QUESTIONS, response=ANSWERS, helpfulness=SMALL_NUMBERS), "unread_verdict", ("prompt_completion",)),
    (table(question=QUESTIONS, erklaerung=ANSWERS), "unread_text", ("prompt",)),
])  # fmt: skip
def test_no_remedy_changes_to_a_layout_that_the_method_cannot_read(
    rows: list[dict[str, Any]], finding_id: str, row_types: tuple[str, ...]
) -> None:
    for types, has_remedy in ((row_types, False), (ROW_TYPE_PRIORITY, True)):
        [finding] = [finding for finding in report_rows(rows, row_types=types).findings if finding["id"] == finding_id]
        assert bool(finding["remedy"]) == has_remedy


def test_a_placeholder_without_a_picture_is_named() -> None:
    report = report_rows(table(messages=[turns("<image>What is it?", "A cat.")] * 3))
    assert (report.certainty, report.findings[0]["id"], report.findings[0]["count"]) == ("likely", "placeholder", 3)


def test_an_input_and_output_beside_a_pair_adds_no_turn() -> None:
    rows = [
        {
            "conversation": [{"input": "Hi", "output": "Hello."}],
            "chosen": turns("Hi", "Hello."),
            "rejected": turns("Hi", "What."),
            "rating_chosen": 5,
        }
    ]
    [row] = RowNormalizer(("preference",), "It", True)(rows, Source(source="path:x"))
    assert (report_rows(rows).layout, report_rows(rows).certainty) == ("preference", "sure")
    assert row == {"prompt": turns("Hi", "")[:1], "chosen": turns("", "Hello.")[1:], "rejected": turns("", "What.")[1:]}


@pytest.mark.parametrize(("name", "words"), [
    ("Customer message", ["customer", "message"]), ("userPrompt", ["user", "prompt"]), ("Complex_CoT", ["complex", "cot"]), ("response1", ["response", "1"]),
])  # fmt: skip
def test_a_name_has_words(name: str, words: list[str]) -> None:
    assert name_words(name) == words


@pytest.mark.parametrize("cells", [
    ["a94a8fe5ccb19ba61c4c0873d391e987982fbbd3"], ["2024-01-02"], ["10:30 Uhr"], ["https://a.b/c"], ["a@b.org"], ["Ann Lee", "Bo Ray"], ["12 %"], [3, 4], [""],
])  # fmt: skip
def test_ids_dates_addresses_and_people_are_no_text(cells: list[Any]) -> None:
    assert not is_text_column(cells)


def test_text_is_text_also_where_it_is_short() -> None:
    assert is_text_column(["Hello.", "Me."])
    assert is_prose_column(["Wie geht es?", "Gut."])
    assert not is_prose_column(["billing", "repairs", "billing"])


def test_scores_that_contradict_the_pair_are_named_and_the_answers_can_be_swapped() -> None:
    rows = table(
        prompt=QUESTIONS,
        chosen=ANSWERS,
        rejected=OTHER_ANSWERS,
        score_chosen=[1.0] * 12,
        score_rejected=["5"] * 9 + ["0"] * 3,
    )
    [finding] = report_rows(rows).findings
    assert (finding["id"], finding["severity"], finding["count"]) == ("pair_scores", "wrong", 9)
    source = apply_remedy(finding["remedy"])
    [first_row, *_] = RowNormalizer(("preference",), "It", True)(rows, source)
    assert (first_row["chosen"][0]["content"], first_row["rejected"][0]["content"]) == (OTHER_ANSWERS[0], ANSWERS[0])
    mostly_right = [row | {"score_rejected": 0} for row in rows[1:]] + rows[:1]
    assert [finding["severity"] for finding in report_rows(mostly_right).findings] == ["careful"]
