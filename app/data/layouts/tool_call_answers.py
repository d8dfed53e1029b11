"""Questions that are answered by calling tools, the calls written as JSON, as xLAM's function calling data has them."""

from __future__ import annotations

from app.data.conversations.messages import is_dict_list, parse_json_cell
from app.data.conversations.split_prompt import as_messages, is_empty, is_text_or_messages
from app.data.fields import Cell, Row

TITLE = "Questions answered by calling tools"
KIND = "messages"
NEEDS = ("prompt", "completion")
MAY = ("tools", "system")
NAMES = {
    "prompt": ("query", "question", "prompt", "instruction", "user", "input"),
    "completion": ("answers", "answer", "function_calls", "function_call", "tool_calls", "calls", "output", "response"),
}
TELLING = "calls of tools as answers"


def fits(row: Row) -> bool:
    """Whether the answer calls tools that stand beside it; without any, an answer in JSON is text to be learned."""
    return bool(row.get("tools")) and is_text_or_messages(row["prompt"]) and bool(_parse_calls(row["completion"]))


def row(mapped_row: Row) -> Row | str:
    """The row as a conversation whose answer calls the tools."""
    prompt, calls = mapped_row.get("prompt"), _parse_calls(mapped_row.get("completion"))
    if not calls:
        return "the answer calls no tool"
    if is_empty(prompt) or not is_text_or_messages(prompt):
        return "empty prompt or completion"
    other_columns = {name: cell for name, cell in mapped_row.items() if name not in NEEDS}
    answer = {"role": "assistant", "content": "", "tool_calls": calls}
    return {**other_columns, "messages": [*as_messages(prompt, "user"), answer]}


def _parse_calls(cell: Cell) -> list[Row]:
    """The calls in a cell, each with the name of a tool and its arguments; empty where it holds anything else."""
    calls = parse_json_cell(cell)
    calls = [calls] if isinstance(calls, dict) else calls
    if not is_dict_list(calls):
        return []
    functions = [call.get("function", call) for call in calls]
    are_calls = all(isinstance(function, dict) and {"name", "arguments"} <= {*function} for function in functions)
    return calls if are_calls else []
