"""The samples and the practice model's text: shipped as the scripts make them, and the test rows stay unseen."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from PIL import Image

from presets import make_samples, pocket_text
from presets.village import held_out, in_words, kept_back

SAMPLES = Path(make_samples.SAMPLES)
NAMES = ["tickets", "reviews", "diary", "manners", "thumbs", "steps", "ranks", "sums", "hints", "sum_pairs", "shapes"]
SUM = re.compile(r"(\d+) (?:\+|plus|and) (\d+)")
WORD_SUM = re.compile(r"has (\S+) \w+ and finds (\S+) more")
NUMBERS = {in_words(number): number for number in range(100)}


def rows(name: str, side: str) -> list[dict]:
    return [json.loads(line) for line in (SAMPLES / name / f"{side}.jsonl").read_text(encoding="utf-8").splitlines()]


def sums_in(text: str) -> list[tuple[int, int]]:
    """Every pair of numbers the text adds, in digits or in words."""
    told = [(NUMBERS[a], NUMBERS[b]) for a, b in WORD_SUM.findall(text)]
    return told + [(int(a), int(b)) for a, b in SUM.findall(text)]


def sums_asked(side: str, name: str = "sums") -> set[tuple[int, int]]:
    """The sums of a file, smaller number first."""
    found = [sums_in(row["prompt"][0]["content"]) for row in rows(name, side)]
    assert all(len(pairs) == 1 for pairs in found)
    return {(min(pair), max(pair)) for [pair] in found}


@pytest.fixture(scope="module")
def pocket_lines() -> list[str]:
    """All the practice model ever reads, as text."""
    reading = [row["text"] for row in pocket_text.reading_rows()]
    return reading + [said["content"] for row in pocket_text.chat_rows() for said in row["messages"]]


def test_the_shipped_files_are_what_the_script_makes(tmp_path: Path) -> None:
    assert list(make_samples.build(tmp_path)) == NAMES
    made = {file.relative_to(tmp_path): file.read_bytes() for file in tmp_path.rglob("*.*")}
    shipped = {file.relative_to(SAMPLES): file.read_bytes() for file in SAMPLES.rglob("*.*")}
    assert shipped.pop(Path("samples.toml"))
    assert made == shipped


def test_every_sample_is_described_and_they_are_small() -> None:
    described = tomllib.loads((SAMPLES / "samples.toml").read_text(encoding="utf-8"))
    assert sorted(described) == sorted(NAMES)
    assert all(set(entry) == {"title", "sentence", "layout"} for entry in described.values())
    assert sum(file.stat().st_size for file in SAMPLES.rglob("*.*")) < 2_200_000


@pytest.mark.parametrize("name", NAMES)
def test_no_held_out_row_is_among_the_training_rows(name: str) -> None:
    def told(row: dict) -> str:
        """What must not come twice: a sum has several pairs."""
        return json.dumps(row["images"] if name == "shapes" else row) if name in ("shapes", "sum_pairs") else make_samples.beginning(row)  # fmt: skip

    train, holdout = ([told(row) for row in rows(name, side)] for side in ("train", "holdout"))
    assert 300 <= len(train) <= (7000 if name == "sum_pairs" else 500)
    assert 60 <= len(holdout) <= 200
    assert len({*train, *holdout}) == len(train) + len(holdout)
    if name == "sum_pairs":
        asked = [{make_samples.beginning(row) for row in rows(name, side)} for side in ("train", "holdout")]
        assert not asked[0] & asked[1]


def test_each_sample_has_its_columns() -> None:
    columns = {name: list(rows(name, "train")[0]) for name in NAMES}
    assert columns == {
        "tickets": ["messages"],
        "reviews": ["prompt", "completion"],
        "diary": ["text"],
        "manners": ["prompt", "chosen", "rejected"],
        "thumbs": ["prompt", "completion", "label"],
        "steps": ["prompt", "completions", "labels"],
        "ranks": ["prompt", "chosen", "rejected", "reference"],
        "sums": ["prompt", "answer"],
        "hints": ["prompt", "privileged_context", "answer"],
        "sum_pairs": ["prompt", "chosen", "rejected"],
        "shapes": ["messages", "images"],
    }
    assert all(
        list(row) == columns[name] for name in NAMES for side in ("train", "holdout") for row in rows(name, side)
    )


def test_a_ticket_is_answered_with_one_line_of_json() -> None:
    answers = [row["messages"][1]["content"] for row in rows("tickets", "train")]
    labels = {(label["team"], label["urgent"]) for label in map(json.loads, answers)}
    assert labels == {
        (team, urgent) for team in ("billing", "shipping", "repairs", "account") for urgent in (True, False)
    }
    assert not any("\n" in answer for answer in answers)


@pytest.mark.parametrize("name", ["sums", "hints"])
def test_the_answers_to_the_sums_are_right(name: str) -> None:
    for row in rows(name, "train") + rows(name, "holdout"):
        [(a, b)] = sums_in(row["prompt"][0]["content"])
        assert row["answer"] == str(a + b)


def test_of_a_pair_of_sums_the_chosen_is_right_and_the_rejected_wrong() -> None:
    for row in rows("sum_pairs", "train") + rows("sum_pairs", "holdout"):
        [(a, b)] = sums_in(row["prompt"][0]["content"])
        assert row["chosen"][0]["content"] == str(a + b) != row["rejected"][0]["content"]


def test_a_hint_asks_for_the_same_sum_and_does_not_tell_it() -> None:
    for row in rows("hints", "train") + rows("hints", "holdout"):
        [(a, b)] = sums_in(row["prompt"][0]["content"])
        assert row["privileged_context"] == f"Add {a} and {b}."


@pytest.mark.parametrize("name", ["sums", "hints"])
def test_no_held_out_sum_is_in_the_training_rows(name: str) -> None:
    assert len(rows(name, "holdout")) == 200
    assert all(held_out(a, b) for a, b in sums_asked("holdout", name))
    assert not any(held_out(a, b) for a, b in sums_asked("train", name))
    assert not sums_asked("train", name) & sums_asked("holdout", name)


def test_no_held_out_sum_is_in_the_pocket_text_in_any_style(pocket_lines: list[str]) -> None:
    seen = {(min(pair), max(pair)) for line in pocket_lines for pair in sums_in(line)}
    assert len(seen) > 1000, "the pattern must find the sums that are there"
    assert not seen & sums_asked("holdout")


def test_no_held_out_ticket_is_in_the_pocket_text(pocket_lines: list[str]) -> None:
    held = {row["messages"][0]["content"] for row in rows("tickets", "holdout")}
    assert all(map(kept_back, held))
    assert not held & {part for line in pocket_lines for part in line.split("\n")}


def test_the_pocket_text_never_shows_the_label_of_a_ticket(pocket_lines: list[str]) -> None:
    answers = {row["messages"][1]["content"] for side in ("train", "holdout") for row in rows("tickets", side)}
    teams = {json.loads(answer)["team"] for answer in answers}
    assert not any(f'"team": "{team}"' in line for line in pocket_lines for team in teams)
    assert not answers & set(pocket_lines)


def test_each_answer_of_three_is_marked_by_what_is_true() -> None:
    """An answer to a question is right wherever it stands, or wrong wherever it stands, in both files."""
    marks: dict[tuple[str, str], set[bool]] = {}
    for row in rows("steps", "train") + rows("steps", "holdout"):
        questions = re.findall(r"W[^?]+\?", row["prompt"])
        assert len(questions) == len(row["completions"]) == len(row["labels"]) == 3
        for asked, said, label in zip(questions, row["completions"], row["labels"], strict=True):
            marks.setdefault((asked, said), set()).add(label)
    assert all(len(found) == 1 for found in marks.values())
    wrong = [found == {False} for found in marks.values()]
    assert 50 < sum(wrong) < len(wrong) - 50


def test_every_picture_opens_and_is_small() -> None:
    for row in rows("shapes", "train")[:20]:
        file = SAMPLES / "shapes" / row["images"][0]
        with Image.open(file) as picture:
            assert picture.size == (48, 48)
        assert file.stat().st_size < 400


def test_another_seed_gives_another_text() -> None:
    assert list(pocket_text.chat_rows(20)) == list(pocket_text.chat_rows(20))
    assert list(pocket_text.chat_rows(20)) != list(pocket_text.chat_rows(20, seed=8))
