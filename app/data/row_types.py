"""Row types: the forms of examples that methods train on.

Each function converts a row with target columns to the columns that TRL expects, or returns the reason why the row is
dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeGuard

from app.data.conversations.chat_text import CHAT_END_MARKS
from app.data.conversations.message_content import normalize_content
from app.data.conversations.messages import (
    Messages,
    content_text,
    is_dict_list,
    normalize_message,
    parse_json_cell,
    unwrap_messages,
)
from app.data.conversations.split_prompt import as_messages, is_empty, is_text_or_messages, split_prompt
from app.data.fields import Cell, Row
from app.data.labels import as_flag, parse_label
from app.setup.sources import LabelChoice

_EXTRA_COLUMNS = ("tools", "chat_template_kwargs", "images", "image")  # kept beside those of the row type

PROMPT_ROW_TYPES = frozenset(("prompt", "hinted"))  # they keep all other columns of a row, for rewards
_PROMPT_COLUMNS = ("prompt", *_EXTRA_COLUMNS)
LOSS_MASK_COLUMNS = ("assistant_masks", "assistant_mask", "completion_mask", "loss_mask")
_IGNORE_INDEX = -100  # label of a token without loss, as in torch's cross entropy
UNJUDGED = _IGNORE_INDEX  # label of a step that is only read
_STEP_LABELS: dict[LabelChoice | None, int] = {"good": 1, "bad": 0, "left_out": UNJUDGED}
# Reasons why a row is dropped.
UNKNOWN_LABEL = "the label is neither yes nor no"
UNJUDGED_STEP = "not every step is judged right or wrong"
UNKNOWN_PREFERENCE = "nothing says which answer is better"

_NEEDS_CHAT_TEMPLATE = "conversations need a model with a chat format"


def _make_messages_row(row: Row, is_chat: bool) -> Row | str:
    """{"messages"}: a conversation with at least one answer of the assistant."""
    messages = unwrap_messages(row.get("messages", row.get("conversations")))
    if not is_dict_list(messages):
        return "messages is not a list of turns"
    conversation = [normalize_message(message) for message in messages]
    if not any(
        message["role"] == "assistant" and (message.get("content") or message.get("tool_calls"))
        for message in conversation
    ):
        return "no answer in the conversation"
    columns = _prepend_system_prompt({"prompt": conversation}, row.get("system"), True)
    return {"messages": columns["prompt"]} | _extra_columns(row)


def _make_prompt_completion_row(row: Row, is_chat: bool) -> Row | str:
    """{"prompt", "completion"}: a question and its answer, as text or as messages."""
    prompt, completion = unwrap_messages(row.get("prompt")), unwrap_messages(row.get("completion"))
    if is_empty(prompt) or is_empty(completion):
        return "empty prompt or completion"
    if not (is_text_or_messages(prompt) and is_text_or_messages(completion)):
        return "prompt or completion is neither text nor a list of turns"
    completion = _with_reasoning(completion, row.get("reasoning"), is_chat)
    return _format_columns({"prompt": prompt, "completion": completion}, is_chat, row)


def _with_reasoning(completion: str | int | float | Messages, reasoning: Cell, is_chat: bool) -> Cell:
    """The answer with the reasoning of a column of its own: as `reasoning_content` of its first turn, or, for a model
    without a chat template, in think tags before it, as reasoning models write it."""
    if is_empty(reasoning):
        return completion
    reasoning_text = content_text(normalize_content(reasoning))
    if not is_chat:
        return completion if isinstance(completion, list) else f"<think>\n{reasoning_text}\n</think>\n\n{completion}"
    first_turn, *later_turns = as_messages(completion, "assistant")
    if first_turn["role"] != "assistant" or first_turn.get("reasoning_content"):
        return completion
    return [first_turn | {"reasoning_content": reasoning_text}, *later_turns]


def _make_text_row(row: Row, is_chat: bool) -> Row | str:
    """{"text"}: running text."""
    text = row.get("text")
    if not isinstance(text, str) or not text.strip():
        return "empty text"
    # Trainers add an end token unless the text ends with it: behind a chat's own end mark, white space would hide it.
    return {"text": text.rstrip() if text[-1].isspace() and text.rstrip().endswith(CHAT_END_MARKS) else text}


def _make_prompt_row(row: Row, is_chat: bool) -> Row | str:
    """{"prompt"} with all other columns of the row, because rewards read them."""
    prompt = unwrap_messages(row.get("prompt"))
    if is_empty(prompt):
        return "empty prompt"
    if not is_text_or_messages(prompt):
        return "prompt is neither text nor a list of turns"
    prompt = _prepend_system_prompt({"prompt": prompt}, row.get("system"), is_chat)["prompt"]
    return row | {"prompt": as_messages(prompt, "user") if is_chat else prompt}


def _make_hinted_row(row: Row, is_chat: bool) -> Row | str:
    """{"prompt", "privileged_context"}: a question, and a hint that only the teacher sees."""
    prompt, hint = unwrap_messages(row.get("prompt")), row.get("privileged_context")
    if is_empty(prompt) or is_empty(hint):
        return "empty prompt or hint"
    if not is_text_or_messages(prompt) or not isinstance(hint, str):
        return "the prompt is neither text nor a list of turns, or the hint is no text"
    return row | {"prompt": as_messages(prompt, "user") if is_chat else prompt, "privileged_context": hint}


def _make_preference_row(row: Row, is_chat: bool) -> Row | str:
    """{"prompt", "chosen", "rejected", "margin" if there is one}.

    Without a prompt column, the common beginning of both answers is the prompt.
    """
    prompt = row.get("prompt", row.get("conversations"))
    prompt_and_answers = split_prompt(
        unwrap_messages(prompt), unwrap_messages(row.get("chosen")), unwrap_messages(row.get("rejected"))
    )
    if isinstance(prompt_and_answers, str):
        return prompt_and_answers
    prompt, chosen, rejected = prompt_and_answers
    if _is_empty_answer(chosen) or _is_empty_answer(rejected):
        return "an empty answer"
    if chosen == rejected:
        return "both answers are the same"
    margin = row.get("margin")
    margin_column: Row = {}
    if isinstance(margin, int | float) and not isinstance(margin, bool):
        margin_column = {"margin": float(margin)}
    formatted = _format_columns({"prompt": prompt, "chosen": chosen, "rejected": rejected}, is_chat, row)
    return formatted if isinstance(formatted, str) else formatted | margin_column


def _make_ranked_row(row: Row, is_chat: bool) -> Row | str:
    """{"prompt", "chosen", "rejected", "reference"}: a preference pair and a reference answer that is better than
    both."""
    pair, reference = _make_preference_row(row, is_chat), unwrap_messages(row.get("reference"))
    if isinstance(pair, str):
        return pair
    if not is_text_or_messages(reference):
        return "the reference is neither text nor a list of turns"
    formatted = _format_columns({"reference": reference}, is_chat, {})
    if isinstance(formatted, str):
        return formatted
    prompt, reference = pair["prompt"], formatted["reference"]
    if reference[: len(prompt)] == prompt:  # the reference may repeat the prompt, as the two answers may
        reference = reference[len(prompt) :]
    return "an empty reference" if _is_empty_answer(reference) else pair | {"reference": reference}


def _make_thumbs_row(row: Row, is_chat: bool) -> Row | str:
    """{"prompt", "completion", "label"}: an answer, and whether it was liked (true) or disliked (false)."""
    pair, label = _make_prompt_completion_row(row, is_chat), parse_label(row.get("label"))
    if isinstance(pair, str):
        return pair
    if label == "left_out":
        return "its verdict is one that you leave out"
    flag = as_flag(label)
    return UNKNOWN_LABEL if flag is None else pair | {"label": flag}


def _make_stepwise_row(row: Row, is_chat: bool) -> Row | str:
    """{"prompt", "completions", "labels"}: a solution in steps, with 1 for each step that is right, 0 for a wrong one,
    and UNJUDGED for one that is only read.

    Steps are text, not messages.
    """
    prompt, steps, labels = row.get("prompt"), row.get("completions"), row.get("labels")
    if is_empty(prompt) or not isinstance(prompt, str):
        return "the prompt is no text"
    if not isinstance(steps, list) or not steps or not all(isinstance(step, str) and step.strip() for step in steps):
        return "the steps are not a list of texts"
    parsed_labels = [_STEP_LABELS.get(parse_label(label)) for label in labels] if isinstance(labels, list) else []
    if len(parsed_labels) != len(steps) or None in parsed_labels:
        return UNJUDGED_STEP
    if all(label == UNJUDGED for label in parsed_labels):
        return "no step is judged"
    return {"prompt": prompt, "completions": steps, "labels": parsed_labels}


def _make_tokens_row(row: Row, is_chat: bool) -> Row | str:
    """{"input_ids", "labels"}: rows that are token ids already.

    Without labels, a loss mask beside them gives the labels.
    """
    token_ids, labels = row.get("input_ids"), row.get("labels")
    if not is_integer_list(token_ids):
        return "the tokens are not a list of whole numbers"
    loss_mask = next((row[name] for name in LOSS_MASK_COLUMNS if is_integer_list(row.get(name))), None)
    if labels is None:
        labels = token_ids if loss_mask is None else _mask_labels(token_ids, loss_mask)
    if not is_integer_list(labels) or len(labels) != len(token_ids):
        return "there is not one label for each token"
    return {"input_ids": token_ids, "labels": labels}


def _mask_labels(token_ids: list[int], loss_mask: list[int]) -> list[int]:
    """The token ids as labels, with IGNORE_INDEX where the mask is 0."""
    pairs = zip(token_ids, loss_mask, strict=False)  # a length that differs is reported with the labels
    return [token_id if is_trained else _IGNORE_INDEX for token_id, is_trained in pairs]


def _make_segments_row(row: Row, is_chat: bool) -> Row | str:
    """{"segments": [{"text", "train"}]}: texts without a chat template, each trained on or not. With `add_special_tokens`,
    the tokenizer's own begin and end tokens are added where they do not stand there."""
    raw_segments = parse_json_cell(row.get("segments"))
    if not is_dict_list(raw_segments) or not all(isinstance(segment.get("text"), str) for segment in raw_segments):
        return "the segments are not a list of texts with marks"
    train_flags = [as_flag(segment.get("train", segment.get("label"))) for segment in raw_segments]
    if None in train_flags:
        return "a segment is not marked as learned or not"
    segments = [
        {"text": segment["text"], "train": train_flag}
        for segment, train_flag in zip(raw_segments, train_flags, strict=True)
        if segment["text"]
    ]
    if not any(segment["train"] for segment in segments):
        return "no segment is learned"
    return {"segments": segments} | ({"add_special_tokens": True} if row.get("add_special_tokens") is True else {})


RowConverter = Callable[[Row, bool], Row | str]
ROW_TYPES: dict[str, RowConverter] = {
    "messages": _make_messages_row,
    "prompt_completion": _make_prompt_completion_row,
    "text": _make_text_row,
    "prompt": _make_prompt_row,
    "hinted": _make_hinted_row,
    "preference": _make_preference_row,
    "ranked": _make_ranked_row,
    "thumbs": _make_thumbs_row,
    "stepwise": _make_stepwise_row,
    "tokens": _make_tokens_row,
    "segments": _make_segments_row,
}


# -- shared by several row types ---------------------------------------------------------------------------------------


def _format_columns(columns: Row, is_chat: bool, row: Row) -> Row | str:
    """All columns as messages for a chat model, and as text for any other, or the reason why the row is dropped.

    `prompt` gets the role user, the other columns the role assistant; the row's `system` goes before the prompt.
    """
    columns = _prepend_system_prompt(columns, row.get("system"), is_chat)
    if is_chat:
        roles = {"prompt": "user"}
        formatted: Row = {name: as_messages(cell, roles.get(name, "assistant")) for name, cell in columns.items()}
    elif any(isinstance(cell, list) for cell in columns.values()):
        return _NEEDS_CHAT_TEMPLATE
    else:
        formatted = {name: str(cell) for name, cell in columns.items()}
    return formatted | _extra_columns(row)


def _prepend_system_prompt(columns: Row, system: Cell, is_chat: bool) -> Row:
    """The columns with the system prompt before `prompt`, unless that begins with a system message already."""
    prompt = columns.get("prompt")
    if prompt is None or system is None or is_empty(system := content_text(normalize_content(system))):
        return columns
    if not is_chat:
        return columns | {"prompt": f"{system}\n\n{prompt}"} if isinstance(prompt, str) else columns
    prompt_messages = as_messages(prompt, "user")
    if prompt_messages[0]["role"] == "system":
        return columns
    return columns | {"prompt": [{"role": "system", "content": system}, *prompt_messages]}


def rendered_columns(row: Row, row_types: Sequence[str]) -> Row:
    """The columns of a row that a method renders: of a prompt, none of those that stay beside it for rewards, whose names
    and contents may be those of answers. row_types: of the method."""
    if not PROMPT_ROW_TYPES.issuperset(row_types):
        return row
    return {name: row[name] for name in _PROMPT_COLUMNS if name in row}


def _extra_columns(row: Row) -> Row:
    """The columns of a row that every row type keeps, such as tools and images."""
    return {key: row[key] for key in _EXTRA_COLUMNS if key in row}


def _is_empty_answer(answer: Cell) -> bool:
    """Whether an answer has neither text nor a tool call."""
    if isinstance(answer, list):
        return not any(
            message.get("tool_calls") or not is_empty(message.get("content", message.get("value")))
            for message in answer
        )
    return is_empty(answer)


def is_integer_list(numbers: Cell) -> TypeGuard[list[int]]:
    """Whether this is a non-empty list of whole numbers, such as token ids or a mask of bools."""
    return isinstance(numbers, list) and bool(numbers) and all(type(number) in (int, bool) for number in numbers)
