"""Tasks in Alpaca's form: an `instruction`, often an `input` that it is about, and the `output` wanted."""

from __future__ import annotations

from app.data.conversations.messages import Messages, parse_json_cell
from app.data.conversations.split_prompt import is_empty
from app.data.fields import Cell, Row

TITLE = "Tasks in Alpaca's form"
KIND = "prompt_completion"
NEEDS = ("instruction", "output")
MAY = ("input", "history", "system", "tools", "reasoning")
KNOWN = (("instruction", "response"),)  # column names of Dolly


def row(mapped_row: Row) -> Row:
    """The row with the task and its input as the prompt, and the output as the completion."""
    return {**mapped_row, "prompt": build_prompt(mapped_row), "completion": mapped_row.get("output")}


def build_prompt(mapped_row: Row) -> Cell:
    """Instruction and input as one text; with a history, the earlier messages and that text as the last one."""
    instruction, task_input = mapped_row.get("instruction"), mapped_row.get("input")
    if is_empty(task_input):
        prompt = instruction
    elif is_empty(instruction):
        prompt = task_input
    else:
        prompt = f"{instruction}\n\n{task_input}"
    earlier_messages = _history_messages(mapped_row.get("history"))
    if not earlier_messages or is_empty(prompt):
        return prompt
    return [*earlier_messages, {"role": "user", "content": str(prompt)}]


def _history_messages(history: Cell) -> Messages:
    """The messages of a history [[question, answer], …]."""
    parsed_history = parse_json_cell(history)
    if not isinstance(parsed_history, list):
        return []
    pairs = [pair for pair in parsed_history if isinstance(pair, list) and len(pair) == 2]
    return [
        message
        for question, answer in pairs
        for message in ({"role": "user", "content": str(question)}, {"role": "assistant", "content": str(answer)})
    ]
