"""Columns: the target columns of layouts, with their aliases and what their cells must be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.data.fields import Cell
from app.data.messages import is_dict_list, is_message_list, parse_json_cell, unwrap_messages
from app.data.row_types import is_integer_list, parse_label
from app.data.split_prompt import is_text_or_messages


@dataclass(frozen=True)
class ColumnSpec:
    """A target column.

    title, plural_title: what one cell, and all cells, hold, in words. aliases: names of such columns in datasets, most
    likely first. expected_type: what a cell must be, in words; is_valid: whether a cell is that.
    """

    title: str
    plural_title: str
    aliases: tuple[str, ...]
    expected_type: str = "text"
    is_valid: Callable[[Cell], bool] = lambda cell: isinstance(cell, str)


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
    return isinstance(cell, list) and all(parse_label(label) is not None for label in cell)


def _is_segment_list(cell: Cell) -> bool:
    """Whether a cell holds a list of objects with a `text`, also as JSON."""
    cell = parse_json_cell(cell)
    return is_dict_list(cell) and all(isinstance(segment.get("text"), str) for segment in cell)


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
    ),
    "completion": ColumnSpec("The answer", "answers", ANSWER_ALIASES, *_TEXT_OR_MESSAGES),
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
        *_TEXT_OR_MESSAGES,
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
        *_TEXT_OR_MESSAGES,
    ),
    "reference": ColumnSpec(
        "The best answer", "best answers", ("reference", "best", "ideal", "gold", "ground_truth"), *_TEXT_OR_MESSAGES
    ),
    "label": ColumnSpec(
        "Liked or not",
        "thumbs up or down",
        ("label", "liked", "thumb", "thumbs", "vote", "feedback", "is_good", "kto_tag", "rating"),
        "yes or no",
        lambda cell: parse_label(cell) is not None,
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
    "reasoning": ColumnSpec(
        "The reasoning before the answer",
        "reasoning before answers",
        (
            *("reasoning", "reasoning_content", "complex_cot", "cot", "chain_of_thought", "thinking", "thoughts"),
            *("thought", "thought_process", "reasoning_trace", "thinking_trajectory", "deepseek_reasoning"),
            *("deepseek_thinking_trajectory", "r1_reasoning", "model_reasoning", "thinking_content"),
        ),
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


def join_with_and(phrases: list[str]) -> str:
    """The phrases as “a, b and c”."""
    return " and ".join(filter(None, [", ".join(phrases[:-1]), phrases[-1]]))
