"""Splitting of a preference pair into prompt, chosen and rejected answer, whichever way a dataset wrote the three."""

from __future__ import annotations

from itertools import takewhile
from typing import TypeAlias, TypeGuard

from app.data.conversations.messages import Messages, is_dict_list, normalize_message
from app.data.fields import Cell, Row

TextOrMessages: TypeAlias = str | int | float | Messages


def split_prompt(prompt: Cell, chosen: Cell, rejected: Cell) -> tuple[Cell, str | Messages, str | Messages] | str:
    """(prompt, chosen, rejected), or the reason why the row is dropped.

    Both answers may repeat the prompt, or be the only place where it stands: then their common beginning is the prompt.
    """
    if not (is_text_or_messages(chosen) and is_text_or_messages(rejected)):
        return "chosen or rejected is neither text nor a list of turns"
    if isinstance(chosen, list) != isinstance(rejected, list):
        return "one answer is text and the other a list of turns"
    if isinstance(chosen, list) and isinstance(rejected, list):
        return _split_messages(
            prompt,
            [normalize_message(message) for message in chosen],
            [normalize_message(message) for message in rejected],
        )
    chosen, rejected = str(chosen), str(rejected)
    if not is_empty(prompt):
        if isinstance(prompt, str) and chosen.startswith(prompt) and rejected.startswith(prompt):
            return prompt, chosen[len(prompt) :], rejected[len(prompt) :]
        return prompt, chosen, rejected
    length = len(_common_prefix(chosen, rejected))
    length = max(chosen.rfind(" ", 0, length), chosen.rfind("\n", 0, length)) + 1  # no word is cut in two
    return (chosen[:length], chosen[length:], rejected[length:]) if chosen[:length].strip() else "no prompt"


def _split_messages(prompt: Cell, chosen: Messages, rejected: Messages) -> tuple[Messages, Messages, Messages] | str:
    """The same for answers that are messages with standard roles."""
    shared_messages = [
        message for message, _ in takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False))
    ]
    while shared_messages and shared_messages[-1]["role"] == "assistant":
        shared_messages.pop()  # an answer that both share belongs to the answers, not to the prompt
    chosen_answer, rejected_answer = chosen[len(shared_messages) :], rejected[len(shared_messages) :]
    if is_empty(prompt):
        return (shared_messages, chosen_answer, rejected_answer) if shared_messages else "no prompt"
    prompt_messages = as_messages(prompt, "user")
    length = len(prompt_messages)
    starts_with_prompt = _have_equal_text(shared_messages[:length], prompt_messages)
    ends_with_prompt = _have_equal_text(
        shared_messages[-length:], prompt_messages
    )  # the prompt may be the last question only
    full_prompt = shared_messages if starts_with_prompt or ends_with_prompt else prompt_messages + shared_messages
    return full_prompt, chosen_answer, rejected_answer


def _have_equal_text(first_messages: Messages, second_messages: Messages) -> bool:
    """Whether both lists hold the same messages, apart from white space around their text."""
    return [*map(_strip_content, first_messages)] == [*map(_strip_content, second_messages)]


def _strip_content(message: Row) -> Row:
    """The message without white space around its text."""
    content = message["content"]
    return message | {"content": content.strip() if isinstance(content, str) else content}


def _common_prefix(first: str, second: str) -> str:
    """What both texts begin with. A binary search is fast also for megabytes."""
    equal_length, max_length = 0, min(len(first), len(second))
    while equal_length < max_length:
        middle = (equal_length + max_length + 1) // 2
        if first[equal_length:middle] == second[equal_length:middle]:
            equal_length = middle
        else:
            max_length = middle - 1
    return first[:equal_length]


def is_empty(text_or_messages: Cell) -> bool:
    """Whether there is no text: null, an empty list, or only white space. 0 and False are answers."""
    return text_or_messages is None or text_or_messages == [] or not str(text_or_messages).strip()


def is_text_or_messages(text_or_messages: Cell) -> TypeGuard[TextOrMessages]:
    """Whether this is text, a number, or a list of messages."""
    return is_dict_list(text_or_messages) or isinstance(text_or_messages, str | int | float)


def as_messages(text_or_messages: Cell, role: str) -> Messages:
    """Messages with standard roles; text becomes one message of `role`."""
    if isinstance(text_or_messages, list):
        return [normalize_message(message) for message in text_or_messages]
    return [{"role": role, "content": str(text_or_messages)}]
