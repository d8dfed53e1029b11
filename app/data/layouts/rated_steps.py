"""Solutions in steps with several continuations each, rated by people, as PRM800K has them: the chosen one of each is read."""

from __future__ import annotations

from app.data.columns import COLUMN_SPECS
from app.data.conversations.messages import parse_json_cell
from app.data.fields import Cell, Row

TITLE = "Solutions in steps with ratings"
KIND = "stepwise"
NEEDS = ("prompt", "rated_steps")
NAMES = {"prompt": ("question.problem", "problem", "question", "prompt"), "rated_steps": ("label.steps", "rated_steps")}
TELLING = "steps with rated continuations, of which the chosen one is read"
_LABELS: dict[Cell, str] = {1: "good", 0: "left_out", -1: "bad"}  # 0 is neutral: neither right nor wrong


def fits(row: Row) -> bool:
    return COLUMN_SPECS["rated_steps"].is_valid(row.get("rated_steps"))


def row(mapped_row: Row) -> Row | str:
    """The row with the text and the rating of each step."""
    steps = parse_json_cell(mapped_row.get("rated_steps"))
    if not isinstance(steps, list):
        return "the steps are not a list of texts"
    texts_and_labels = [_read_step(step) for step in steps if isinstance(step, dict)]
    read_steps = [text_and_label for text_and_label in texts_and_labels if text_and_label is not None]
    other_columns = {name: cell for name, cell in mapped_row.items() if name != "rated_steps"}
    return {
        **other_columns,
        "completions": [text for text, _ in read_steps],
        "labels": [label for _, label in read_steps],
    }


def _read_step(step: Row) -> tuple[Cell, Cell] | None:
    """The text and the label of a step: of the continuation that was chosen, else of one that a person wrote, else of
    the first, after which the solution ends; None where there is none."""
    completions, chosen_index, human_completion = (
        step.get(name) for name in ("completions", "chosen_completion", "human_completion")
    )
    if chosen_index is None and human_completion:
        return (human_completion.get("text") if isinstance(human_completion, dict) else human_completion), "good"
    if not isinstance(completions, list) or not completions:
        return None
    index = chosen_index if isinstance(chosen_index, int) and 0 <= chosen_index < len(completions) else 0
    completion = completions[index]
    if not isinstance(completion, dict):
        return None
    rating = completion.get("rating")
    return completion.get("text"), _LABELS.get(rating) if isinstance(rating, int | float) else None
