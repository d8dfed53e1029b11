"""Two answers to each question, and a verdict on which one is better, as PKU-SafeRLHF, SHP and chatbot arenas have them."""

from __future__ import annotations

from app.data.column_words import name_words
from app.data.columns import COLUMN_SPECS
from app.data.fields import Row
from app.data.row_types import UNKNOWN_PREFERENCE
from app.setup.sources import LabelChoice

TITLE = "Two answers and which is better"
KIND = "preference"
NEEDS = ("answer_a", "answer_b", "better")
MAY = ("prompt", "system", "margin")
NAMES = {"prompt": ("prompt", "question", "instruction", "query", "user", "problem", "history", "input", "context")}
TELLING = "two answers, and which is better"
_MAX_VERDICT_LENGTH = 60  # characters; a longer text is an answer
_TIES = ("tie", "tie (bothbad)", "tie_bothbad", "both", "both_bad", "equal", "same", "neither", "none", "draw")


def choices(columns: dict[str, str]) -> dict[str, LabelChoice]:
    """What a verdict says: the name, the letter or the number of an answer, or a tie."""
    choice_by_verdict: dict[str, LabelChoice] = dict.fromkeys(_TIES, "left_out")
    for choice, column in (("first", columns["answer_a"]), ("second", columns["answer_b"])):
        end = name_words(column)[-1:]
        numbered_names = [f"{noun}_{part}" for noun in ("model", "response", "answer", "output") for part in end]
        for verdict in (choice, column, *end, *numbered_names):
            choice_by_verdict[verdict.lower()] = choice  # type: ignore[assignment]
    if columns["answer_a"].lower() == "human_ref_a":  # of SHP, whose `labels` are 1 where A is preferred
        choice_by_verdict |= {"1": "first", "0": "second"}
    return choice_by_verdict


def fits(row: Row) -> bool:
    answers_fit = all(COLUMN_SPECS[name].is_valid(row[name]) for name in ("answer_a", "answer_b"))
    return answers_fit and not isinstance(row["better"], list | dict) and len(str(row["better"])) <= _MAX_VERDICT_LENGTH


def row(mapped_row: Row) -> Row | str:
    """The row with its better answer as the chosen one."""
    first, second, verdict = (mapped_row.get(name) for name in NEEDS)
    if verdict == "left_out":
        return "neither answer is better"
    if verdict not in ("first", "second"):
        return UNKNOWN_PREFERENCE
    chosen, rejected = (first, second) if verdict == "first" else (second, first)
    other_columns = {name: cell for name, cell in mapped_row.items() if name not in NEEDS}
    return {**other_columns, "chosen": chosen, "rejected": rejected}
