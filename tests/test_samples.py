"""The shipped samples and the text of the practice model: they match their scripts, and held-out rows are in no training text."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from presets import make_samples, pocket_text
from presets.village import held_out, in_words, kept_back

SAMPLES = Path(make_samples.SAMPLES)
SAMPLE_NAMES = [
    "tickets",
    "reviews",
    "diary",
    "manners",
    "thumbs",
    "steps",
    "ranks",
    "kindness",
    "sums",
    "hints",
    "sum_pairs",
    "shapes",
]
SUM_PATTERN = re.compile(r"(\d+) (?:\+|plus|and) (\d+)")
WORD_SUM_PATTERN = re.compile(r"has (\S+) \w+ and finds (\S+) more")
NUMBER_BY_WORD = {in_words(number): number for number in range(100)}


def sample_rows(name: str, split: str) -> list[dict]:
    return [json.loads(text) for text in (SAMPLES / name / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]


def find_sums(text: str) -> list[tuple[int, int]]:
    """Every pair of numbers that the text adds, in digits or in words."""
    word_sums = [(NUMBER_BY_WORD[a], NUMBER_BY_WORD[b]) for a, b in WORD_SUM_PATTERN.findall(text)]
    return word_sums + [(int(a), int(b)) for a, b in SUM_PATTERN.findall(text)]


def sums_of_sample(split: str, name: str = "sums") -> set[tuple[int, int]]:
    """The sums in the prompts of a sample split, smaller number first."""
    sums_by_row = [find_sums(row["prompt"][0]["content"]) for row in sample_rows(name, split)]
    assert all(len(pairs) == 1 for pairs in sums_by_row)
    return {(min(pair), max(pair)) for [pair] in sums_by_row}


@pytest.fixture(scope="module")
def pocket_texts() -> list[str]:
    """Every training text of the practice model."""
    reading_texts = [row["text"] for row in pocket_text.reading_rows()]
    return reading_texts + [message["content"] for row in pocket_text.chat_rows() for message in row["messages"]]


@pytest.mark.slow
def test_the_shipped_files_match_what_the_script_builds(tmp_path: Path) -> None:
    assert list(make_samples.build(tmp_path)) == SAMPLE_NAMES
    built_files = {file.relative_to(tmp_path): file.read_bytes() for file in tmp_path.rglob("*.*")}
    shipped_files = {file.relative_to(SAMPLES): file.read_bytes() for file in SAMPLES.rglob("*.*")}
    assert shipped_files.pop(Path("samples.toml"))
    assert built_files == shipped_files


def test_every_sample_is_described_and_all_are_small() -> None:
    described = tomllib.loads((SAMPLES / "samples.toml").read_text(encoding="utf-8"))
    assert sorted(described) == sorted(SAMPLE_NAMES)
    assert all(set(entry) == {"title", "sentence", "layout"} for entry in described.values())
    assert sum(file.stat().st_size for file in SAMPLES.rglob("*.*")) < 2_200_000


@pytest.mark.parametrize("name", SAMPLE_NAMES)
def test_no_held_out_row_is_among_the_training_rows(name: str) -> None:
    def comparison_key(row: dict) -> str:
        """The part of a row that must be unique in the sample; a sum may occur in several pairs."""
        return json.dumps(row["images"] if name == "shapes" else row) if name in ("shapes", "sum_pairs") else make_samples.beginning(row)  # fmt: skip

    train, holdout = ([comparison_key(row) for row in sample_rows(name, split)] for split in ("train", "holdout"))
    assert 300 <= len(train) <= (7000 if name == "sum_pairs" else 500)
    assert 60 <= len(holdout) <= 200
    assert len({*train, *holdout}) == len(train) + len(holdout)
    if name == "sum_pairs":
        prompts = [{make_samples.beginning(row) for row in sample_rows(name, split)} for split in ("train", "holdout")]
        assert not prompts[0] & prompts[1]


def test_each_sample_has_its_columns() -> None:
    columns = {name: list(sample_rows(name, "train")[0]) for name in SAMPLE_NAMES}
    assert columns == {
        "tickets": ["messages"],
        "reviews": ["prompt", "completion"],
        "diary": ["text"],
        "manners": ["prompt", "chosen", "rejected"],
        "thumbs": ["prompt", "completion", "label"],
        "steps": ["prompt", "completions", "labels"],
        "ranks": ["prompt", "chosen", "rejected", "reference"],
        "kindness": ["prompt", "completion"],
        "sums": ["prompt", "answer"],
        "hints": ["prompt", "privileged_context", "answer"],
        "sum_pairs": ["prompt", "chosen", "rejected"],
        "shapes": ["messages", "images"],
    }
    assert all(
        list(row) == columns[name]
        for name in SAMPLE_NAMES
        for split in ("train", "holdout")
        for row in sample_rows(name, split)
    )


def test_the_answer_to_a_ticket_is_a_single_line_of_json() -> None:
    answers = [row["messages"][1]["content"] for row in sample_rows("tickets", "train")]
    labels = {(label["team"], label["urgent"]) for label in map(json.loads, answers)}
    assert labels == {
        (team, urgent) for team in ("billing", "shipping", "repairs", "account") for urgent in (True, False)
    }
    assert not any("\n" in answer for answer in answers)


@pytest.mark.parametrize("name", ["sums", "hints"])
def test_the_answers_to_the_sums_are_right(name: str) -> None:
    for row in sample_rows(name, "train") + sample_rows(name, "holdout"):
        [(a, b)] = find_sums(row["prompt"][0]["content"])
        assert row["answer"] == str(a + b)


def test_the_chosen_sum_of_a_pair_is_right_and_the_rejected_one_is_wrong() -> None:
    for row in sample_rows("sum_pairs", "train") + sample_rows("sum_pairs", "holdout"):
        [(a, b)] = find_sums(row["prompt"][0]["content"])
        assert row["chosen"][0]["content"] == str(a + b) != row["rejected"][0]["content"]


def test_a_hint_repeats_the_sum_without_its_answer() -> None:
    for row in sample_rows("hints", "train") + sample_rows("hints", "holdout"):
        [(a, b)] = find_sums(row["prompt"][0]["content"])
        assert row["privileged_context"] == f"Add {a} and {b}."


@pytest.mark.parametrize("name", ["sums", "hints"])
def test_no_held_out_sum_is_in_the_training_rows(name: str) -> None:
    assert len(sample_rows(name, "holdout")) == 200
    assert all(held_out(a, b) for a, b in sums_of_sample("holdout", name))
    assert not any(held_out(a, b) for a, b in sums_of_sample("train", name))
    assert not sums_of_sample("train", name) & sums_of_sample("holdout", name)


@pytest.mark.slow
def test_no_held_out_sum_is_in_the_pocket_text_in_any_style(pocket_texts: list[str]) -> None:
    sums_in_pocket_text = {(min(pair), max(pair)) for text in pocket_texts for pair in find_sums(text)}
    assert len(sums_in_pocket_text) > 1000, "the patterns must match the sums in the text"
    assert not sums_in_pocket_text & sums_of_sample("holdout")


def test_no_held_out_ticket_is_in_the_pocket_text(pocket_texts: list[str]) -> None:
    held_out_tickets = {row["messages"][0]["content"] for row in sample_rows("tickets", "holdout")}
    assert all(map(kept_back, held_out_tickets))
    assert not held_out_tickets & {part for text in pocket_texts for part in text.split("\n")}


def test_the_pocket_text_never_shows_the_label_of_a_ticket(pocket_texts: list[str]) -> None:
    answers = {row["messages"][1]["content"] for split in ("train", "holdout") for row in sample_rows("tickets", split)}
    teams = {json.loads(answer)["team"] for answer in answers}
    assert not any(f'"team": "{team}"' in text for text in pocket_texts for team in teams)
    assert not answers & set(pocket_texts)


def test_an_answer_to_a_question_has_the_same_label_in_every_row() -> None:
    """Whether an answer is correct depends only on its question, in both splits."""
    labels_by_answer: dict[tuple[str, str], set[bool]] = {}
    for row in sample_rows("steps", "train") + sample_rows("steps", "holdout"):
        questions = re.findall(r"W[^?]+\?", row["prompt"])
        assert len(questions) == len(row["completions"]) == len(row["labels"]) == 3
        for question, completion, label in zip(questions, row["completions"], row["labels"], strict=True):
            labels_by_answer.setdefault((question, completion), set()).add(label)
    assert all(len(labels) == 1 for labels in labels_by_answer.values())
    always_wrong = [labels == {False} for labels in labels_by_answer.values()]
    assert 50 < sum(always_wrong) < len(always_wrong) - 50


def test_every_image_opens_and_is_small() -> None:
    for row in sample_rows("shapes", "train")[:20]:
        file = SAMPLES / "shapes" / row["images"][0]
        with Image.open(file) as image:
            assert image.size == (48, 48)
        assert file.stat().st_size < 400


def test_a_different_seed_gives_a_different_text() -> None:
    assert list(pocket_text.chat_rows(20)) == list(pocket_text.chat_rows(20))
    assert list(pocket_text.chat_rows(20)) != list(pocket_text.chat_rows(20, seed=8))
