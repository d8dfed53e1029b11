"""Columns: the target columns of layouts, with their aliases and what their cells must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.data.column_words import ANSWER_WORDS, CHOSEN_WORDS, QUESTION_WORDS, REJECTED_WORDS
from app.data.conversations.messages import is_dict_list, is_message_list, parse_json_cell, unwrap_messages
from app.data.conversations.split_prompt import is_text_or_messages
from app.data.fields import Cell
from app.data.labels import is_verdict_like, label_number
from app.data.row_types import is_integer_list


@dataclass(frozen=True)
class ColumnSpec:
    """A target column.

    title, plural_title: what one cell, and all cells, hold, in words. aliases: names of such columns in datasets, most
    likely first. expected_type: what a cell must be, in words; is_valid: whether a cell is that. words: parts of other
    names of such columns.
    """

    title: str
    plural_title: str
    aliases: tuple[str, ...]
    expected_type: str = "text"
    is_valid: Callable[[Cell], bool] = lambda cell: isinstance(cell, str)
    words: frozenset[str] = frozenset()

    @property
    def may_be_text(self) -> bool:
        """Whether a cell may be text for a model."""
        return self.expected_type.startswith("text")

    @property
    def may_be_turns(self) -> bool:
        """Whether a cell may be a list of turns."""
        return "list of turns" in self.expected_type


def _is_text_or_message_cell(cell: Cell) -> bool:
    """Whether a cell holds text, a number, or messages, also wrapped or as JSON."""
    cell = unwrap_messages(cell)
    return is_message_list(cell) if isinstance(cell, list) else is_text_or_messages(cell)


def _is_text_list(cell: Cell) -> bool:
    """Whether a cell holds a list of texts, also as JSON."""
    cell = parse_json_cell(cell)
    return isinstance(cell, list) and all(isinstance(text, str) for text in cell)


def _is_label_list(cell: Cell) -> bool:
    """Whether a cell holds a list of yes/no labels, also as JSON."""
    cell = parse_json_cell(cell)
    if not isinstance(cell, list) or any(isinstance(label, list | dict) for label in cell):
        return False
    return not cell or sum(map(is_verdict_like, cell)) * 2 >= len(cell)  # words such as neutral may be among them


def _is_label_cell(cell: Cell) -> bool:
    """Whether a cell holds a verdict, or a word that may be one among others."""
    return is_verdict_like(cell) or (isinstance(cell, str) and 0 < len(cell.strip()) <= _MAX_LABEL_LENGTH)


def _is_segment_list(cell: Cell) -> bool:
    """Whether a cell holds a list of objects with a `text`, also as JSON."""
    cell = parse_json_cell(cell)
    return is_dict_list(cell) and all(isinstance(segment.get("text"), str) for segment in cell)


def _is_answer_cell(cell: Cell) -> bool:
    """Whether a cell holds an answer, and not only whether something was chosen."""
    return not isinstance(cell, bool) and _is_text_or_message_cell(cell)


def _is_rated_step_list(cell: Cell) -> bool:
    """Whether a cell holds a list of steps, each with its possible continuations, as PRM800K has them."""
    cell = parse_json_cell(cell)
    return is_dict_list(cell) and bool(cell) and all("completions" in step for step in cell)


_TEXT_OR_MESSAGES = ("text, or a list of turns", _is_text_or_message_cell)
ANSWER_ALIASES = (
    "completion",
    "answer",
    "response",
    "output",
    "target",
    "assistant",
    "reply",
    "a",
    "label",
    "category",
    "class",
)
_MAX_LABEL_LENGTH = 20  # characters of a word that may be a verdict
LABEL_ALIASES = (
    *("label", "liked", "thumb", "thumbs", "vote", "feedback", "is_good", "kto_tag", "rating", "stars", "verdict"),
    *("desirable", "helpful", "is_helpful", "is_correct", "is_safe", "accepted", "user_rating", "user_feedback"),
)


def _numbered(number: str) -> tuple[str, ...]:
    """Names of one of several answers."""
    names = ("response", "answer", "output", "completion", "conversation", "message", "candidate")
    return tuple(name + joint + number for joint in ("_", "") for name in names)


def _scores(*numbers: str) -> tuple[str, ...]:
    """Names of the score of one of several answers."""
    names = [name for number in numbers for name in (f"score_{number}", f"rating_{number}", f"reward_{number}")]
    return tuple(names)


def _is_number(cell: Cell) -> bool:
    """Whether a cell is a number, also as text in a table."""
    return label_number(cell) is not None


COLUMN_SPECS = {
    "messages": ColumnSpec(
        "The conversation",
        "conversations",
        (
            *("messages", "conversations", "conversation", "dialog", "dialogue", "chat", "turns"),
            *("contents", "chat_messages", "data"),  # of Gemini, of Claude's export, of UltraChat
        ),
        "a list of turns, each with who speaks and what is said",
        lambda cell: is_message_list(unwrap_messages(cell, is_conversation=True)),
    ),
    "prompt": ColumnSpec(
        "The question",
        "questions",
        ("prompt", "question", "instruction", "input", "query", "user", "ask", "q", "problem", "message", "text"),
        *_TEXT_OR_MESSAGES,
        words=QUESTION_WORDS,
    ),
    "completion": ColumnSpec("The answer", "answers", ANSWER_ALIASES, *_TEXT_OR_MESSAGES, words=ANSWER_WORDS),
    "reasoning": ColumnSpec("How it thinks before it answers", "thoughts before the answers", ("reasoning",)),
    "text": ColumnSpec("The text", "running text", ("text", "content", "body", "document", "story", "article", "page")),
    "chosen": ColumnSpec(
        "The better answer",
        "better answers",
        (
            "chosen",
            "better",
            "preferred",
            "preferred_output",
            "accepted",
            "winner",
            "good",
            "chosen_response",
            "response_chosen",
            "positive",
        ),
        "text, or a list of turns",
        _is_answer_cell,
        CHOSEN_WORDS,
    ),
    "rejected": ColumnSpec(
        "The worse answer",
        "worse answers",
        (
            "rejected",
            "worse",
            "dispreferred",
            "non_preferred_output",
            "refused",
            "loser",
            "bad",
            "rejected_response",
            "response_rejected",
            "negative",
        ),
        "text, or a list of turns",
        _is_answer_cell,
        REJECTED_WORDS,
    ),
    "answer_a": ColumnSpec(
        "The first of two answers",
        "first answers",
        (*_numbered("0"), *_numbered("a"), "human_ref_a", *_numbered("1")),
        *_TEXT_OR_MESSAGES,
    ),
    "answer_b": ColumnSpec(
        "The second of two answers",
        "second answers",
        (*_numbered("1"), *_numbered("b"), "human_ref_b", *_numbered("2")),
        *_TEXT_OR_MESSAGES,
    ),
    "better": ColumnSpec(
        "Which of the two is better",
        "verdicts on which answer is better",
        (
            "better_response_id",
            "better_response",
            "better",
            "winner",
            "preference",
            "overall_preference",
            "preference_strength",
            "preferred",
            "preferred_response",
            "safer_response_id",
            "choice",
            "chosen",
            "labels",
            "label",
        ),
        "which of two answers is better",
        lambda cell: isinstance(cell, str | int | float),
    ),
    "score_a": ColumnSpec(
        "The score of the first answer", "scores of first answers", _scores("0", "a", "1"), "a number", _is_number
    ),
    "score_b": ColumnSpec(
        "The score of the second answer", "scores of second answers", _scores("1", "b", "2"), "a number", _is_number
    ),
    "rated_steps": ColumnSpec(
        "The steps with their ratings",
        "steps with ratings",
        ("rated_steps",),
        "a list of steps, each with its possible continuations",
        _is_rated_step_list,
    ),
    "reference": ColumnSpec(
        "The best answer", "best answers", ("reference", "best", "ideal", "gold", "ground_truth"), *_TEXT_OR_MESSAGES
    ),
    "label": ColumnSpec(
        "Liked or not",
        "thumbs up or down",
        LABEL_ALIASES,
        "yes or no, or a number or word that says how good it is",
        _is_label_cell,
    ),
    "completions": ColumnSpec(
        "The steps", "solutions in steps", ("completions", "steps", "solution"), "a list of texts", _is_text_list
    ),
    "labels": ColumnSpec(
        "Which steps are right",
        "marks for each step",
        ("labels", "step_labels", "marks", "ratings"),
        "a list of yes and no",
        _is_label_list,
    ),
    "privileged_context": ColumnSpec(
        "The hint", "hints", ("privileged_context", "hint", "hints", "explanation", "context")
    ),
    "system": ColumnSpec(
        "What it is told first",
        "instructions for all",
        ("system", "system_prompt", "systeminstruction", "system_instruction"),
    ),
    "tools": ColumnSpec(
        "What it may call",
        "tools",
        ("tools", "functions"),
        "a list, or JSON",
        lambda cell: isinstance(parse_json_cell(cell), list),
    ),
    "margin": ColumnSpec(
        "How clear it is", "margins", ("margin",), "a number", lambda cell: isinstance(cell, int | float)
    ),
    "instruction": ColumnSpec("The task", "tasks", ("instruction",)),
    "input": ColumnSpec("What the task is about", "inputs of tasks", ("input", "context")),
    "history": ColumnSpec(
        "What was said before",
        "earlier turns",
        ("history",),
        "a list of questions with their answers",
        lambda cell: isinstance(parse_json_cell(cell), list),
    ),
    "output": ColumnSpec("The answer", "answers", ("output", "response", "completion", "answer"), *_TEXT_OR_MESSAGES),
    "input_ids": ColumnSpec(
        "The tokens", "tokens", ("input_ids", "token_ids", "tokens"), "a list of whole numbers", is_integer_list
    ),
    "segments": ColumnSpec(
        "The pieces",
        "pieces of text with marks",
        ("segments", "input_output"),
        "a list of texts, each with a mark",
        _is_segment_list,
    ),
}
# Target columns whose cells may be turns, before a layout makes the columns of its row type of them.
TURN_COLUMNS = tuple(name for name, spec in COLUMN_SPECS.items() if spec.may_be_turns)


def join_with_and(phrases: list[str]) -> str:
    """The phrases as “a, b and c”."""
    return " and ".join(filter(None, [", ".join(phrases[:-1]), phrases[-1]]))
