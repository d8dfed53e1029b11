"""Kinds: what a row is to a method. Each function makes one raw row into what TRL takes, or says why it is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.data.fields import Row
from app.data.messages import as_turn, opened, unpacked
from app.data.split_prompt import as_messages, is_empty, is_text_or_turns, without_prompt

BESIDE = ("tools", "chat_template_kwargs", "images", "image")  # columns that change how a row is read
YES, NO = {"true", "yes", "good", "up", "1", "+", "👍", "like", "liked"}, {"false", "no", "bad", "down", "0", "-", "-1", "👎", "dislike", "disliked"}  # fmt: skip

MASKS = ("assistant_masks", "assistant_mask", "completion_mask", "loss_mask")  # names of a mask beside tokens
UNLEARNED = -100  # as every trainer takes it

TURNS_NEED_CHAT = "conversations need a model with a chat format"


def messages(row: Row, chat: bool) -> Row | str:
    """{"messages"}: a conversation in which the assistant says something."""
    turns = opened(row.get("messages", row.get("conversations")))
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return "messages is not a list of turns"
    turns = [as_turn(turn) for turn in turns]
    if not any(turn["role"] == "assistant" and (turn.get("content") or turn.get("tool_calls")) for turn in turns):
        return "no answer in the conversation"
    return {"messages": with_system({"prompt": turns}, row.get("system"), True)["prompt"]} | beside(row)


def prompt_completion(row: Row, chat: bool) -> Row | str:
    """{"prompt", "completion"}"""
    prompt, completion = opened(row.get("prompt")), opened(row.get("completion"))
    if is_empty(prompt) or is_empty(completion):
        return "empty prompt or completion"
    if not (is_text_or_turns(prompt) and is_text_or_turns(completion)):
        return "prompt or completion is neither text nor a list of turns"
    return shaped({"prompt": prompt, "completion": completion}, chat, row)


def text(row: Row, chat: bool) -> Row | str:
    """{"text"}"""
    told = row.get("text")
    return {"text": told} if isinstance(told, str) and told.strip() else "empty text"


def prompt(row: Row, chat: bool) -> Row | str:
    """{"prompt"}. Every other column stays: rewards read them."""
    asked = opened(row.get("prompt"))
    if is_empty(asked):
        return "empty prompt"
    if not is_text_or_turns(asked):
        return "prompt is neither text nor a list of turns"
    asked = with_system({"prompt": asked}, row.get("system"), chat)["prompt"]
    return row | {"prompt": as_messages(asked, "user") if chat else asked}


def hinted(row: Row, chat: bool) -> Row | str:
    """{"prompt", "privileged_context"}: a question, and what only the teacher is told."""
    asked, hint = opened(row.get("prompt")), row.get("privileged_context")
    if is_empty(asked) or is_empty(hint):
        return "empty prompt or hint"
    if not is_text_or_turns(asked) or not isinstance(hint, str):
        return "the prompt is neither text nor a list of turns, or the hint is no text"
    return row | {"prompt": as_messages(asked, "user") if chat else asked, "privileged_context": hint}


def preference(row: Row, chat: bool) -> Row | str:
    """{"prompt", "chosen", "rejected", "margin" if there is one}. What both answers begin with alike is the prompt when none is named."""
    asked = row.get("prompt", row.get("conversations"))
    parted = without_prompt(opened(asked), opened(row.get("chosen")), opened(row.get("rejected")))
    if isinstance(parted, str):
        return parted
    asked, chosen, rejected = parted
    if says_nothing(chosen) or says_nothing(rejected):
        return "an empty answer"
    if chosen == rejected:
        return "both answers are the same"
    margin = row.get("margin")
    more = {"margin": float(margin)} if isinstance(margin, int | float) and not isinstance(margin, bool) else {}
    made = shaped({"prompt": asked, "chosen": chosen, "rejected": rejected}, chat, row)
    return made if isinstance(made, str) else made | more


def ranked(row: Row, chat: bool) -> Row | str:
    """{"prompt", "chosen", "rejected", "reference"}: a pair, and the best answer there is."""
    pair, best = preference(row, chat), opened(row.get("reference"))
    if isinstance(pair, str):
        return pair
    if not is_text_or_turns(best):
        return "the reference is neither text nor a list of turns"
    made = shaped({"reference": best}, chat, {})
    if isinstance(made, str):
        return made
    asked, best = pair["prompt"], made["reference"]
    best = best[len(asked) :] if best[: len(asked)] == asked else best  # it may repeat the prompt, as the others may
    return "an empty reference" if says_nothing(best) else pair | {"reference": best}


def thumbs(row: Row, chat: bool) -> Row | str:
    """{"prompt", "completion", "label"}: an answer, and whether it was liked."""
    pair, label = prompt_completion(row, chat), as_label(row.get("label"))
    if isinstance(pair, str):
        return pair
    return "the label is neither yes nor no" if label is None else pair | {"label": label}


def stepwise(row: Row, chat: bool) -> Row | str:
    """{"prompt", "completions", "labels"}: a solution in steps, and which of them are right. Steps are text, never chat."""
    asked, steps, labels = row.get("prompt"), row.get("completions"), row.get("labels")
    if is_empty(asked) or not isinstance(asked, str):
        return "the prompt is no text"
    if not isinstance(steps, list) or not steps or not all(isinstance(step, str) and step.strip() for step in steps):
        return "the steps are not a list of texts"
    judged = [as_label(label) for label in labels] if isinstance(labels, list) else []
    if len(judged) != len(steps) or None in judged:
        return "not every step is judged right or wrong"
    return {"prompt": asked, "completions": steps, "labels": judged}


def tokens(row: Row, chat: bool) -> Row | str:
    """{"input_ids", "labels"}: rows that are tokens already. A mask says as well as labels do which of them are learned."""
    ids, labels = row.get("input_ids"), row.get("labels")
    if not is_numbers(ids):
        return "the tokens are not a list of whole numbers"
    mask = next((row[name] for name in MASKS if is_numbers(row.get(name))), None)
    if labels is None:
        labels = ids if mask is None else [token if learned else UNLEARNED for token, learned in zip(ids, mask, strict=False)]  # fmt: skip
    if not is_numbers(labels) or len(labels) != len(ids):
        return "there is not one label for each token"
    return {"input_ids": ids, "labels": labels}


def segments(row: Row, chat: bool) -> Row | str:
    """{"segments": [{"text", "train"}]}: pieces of text without any chat format, each learned or not."""
    pieces = unpacked(row.get("segments"))
    if not isinstance(pieces, list) or not all(
        isinstance(one, dict) and isinstance(one.get("text"), str) for one in pieces
    ):
        return "the segments are not a list of texts with marks"
    marks = [as_label(one.get("train", one.get("label"))) for one in pieces]
    if None in marks:
        return "a segment is not marked as learned or not"
    made = [{"text": one["text"], "train": mark} for one, mark in zip(pieces, marks, strict=True) if one["text"]]
    return {"segments": made} if any(one["train"] for one in made) else "no segment is learned"


Kind = Callable[[Row, bool], Row | str]
KINDS: dict[str, Kind] = {
    one.__name__: one
    for one in (
        messages,
        prompt_completion,
        text,
        prompt,
        hinted,
        preference,
        ranked,
        thumbs,
        stepwise,
        tokens,
        segments,
    )
}


# -- what several kinds share -------------------------------------------------------------------------------------


def shaped(parts: Row, chat: bool, row: Row) -> Row | str:
    """All parts as turns where the model chats, and as text where it does not. `prompt` is the user's, the others the assistant's;
    a column `system` goes before the prompt."""
    parts = with_system(parts, row.get("system"), chat)
    if chat:
        told = {name: as_messages(value, "user" if name == "prompt" else "assistant") for name, value in parts.items()}
    elif any(isinstance(value, list) for value in parts.values()):
        return TURNS_NEED_CHAT
    else:
        told = {name: str(value) for name, value in parts.items()}
    return told | beside(row)


def with_system(parts: Row, system: Any, chat: bool) -> Row:
    asked = parts.get("prompt")
    if asked is None or not isinstance(system, str) or is_empty(system):
        return parts
    if not chat:
        return parts | {"prompt": f"{system}\n\n{asked}"} if isinstance(asked, str) else parts
    turns = as_messages(asked, "user")
    return (
        parts if turns[0]["role"] == "system" else parts | {"prompt": [{"role": "system", "content": system}, *turns]}
    )


def beside(row: Row) -> Row:
    return {key: row[key] for key in BESIDE if key in row}


def as_label(value: Any) -> bool | None:
    """Yes or no, also as 1 and 0, as words and as thumbs."""
    if isinstance(value, bool):
        return value
    told = str(value).strip().lower().removesuffix(".0")
    return True if told in YES else False if told in NO else None


def says_nothing(answer: Any) -> bool:
    """No words, and no turn with words or a call of a tool."""
    if isinstance(answer, list):
        return not any(
            turn.get("tool_calls") or not is_empty(turn.get("content", turn.get("value"))) for turn in answer
        )
    return is_empty(answer)


def is_numbers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(one) in (int, bool) for one in value)
