"""Kinds: what a row is to a method. Each function makes one raw row into what TRL takes, or says why it is left out."""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Any

from app.files import Row

Turns = list[Row]

ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "chatgpt": "assistant"}
BESIDE = ("tools", "chat_template_kwargs", "images", "image")  # columns that change how a row is read
YES, NO = {"true", "yes", "good", "up", "1", "+", "👍", "like", "liked"}, {"false", "no", "bad", "down", "0", "-", "-1", "👎", "dislike", "disliked"}  # fmt: skip

TURNS_NEED_CHAT = "conversations need a model with a chat format"


def messages(row: Row, chat: bool) -> Row | str:
    """{"messages"}: a conversation in which the assistant says something."""
    turns = row.get("messages", row.get("conversations"))
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        return "messages is not a list of turns"
    turns = [as_turn(turn) for turn in turns]
    if not any(turn["role"] == "assistant" and (turn.get("content") or turn.get("tool_calls")) for turn in turns):
        return "no answer in the conversation"
    return {"messages": turns} | beside(row)


def prompt_completion(row: Row, chat: bool) -> Row | str:
    """{"prompt", "completion"}"""
    prompt, completion = row.get("prompt"), row.get("completion")
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
    asked = row.get("prompt")
    if is_empty(asked):
        return "empty prompt"
    if not is_text_or_turns(asked):
        return "prompt is neither text nor a list of turns"
    return row | {"prompt": as_messages(asked, "user") if chat else asked}


def hinted(row: Row, chat: bool) -> Row | str:
    """{"prompt", "privileged_context"}: a question, and what only the teacher is told."""
    asked, hint = row.get("prompt"), row.get("privileged_context")
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


Kind = Callable[[Row, bool], Row | str]
KINDS: dict[str, Kind] = {
    one.__name__: one
    for one in (messages, prompt_completion, text, prompt, hinted, preference, ranked, thumbs, stepwise)
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


def without_prompt(asked: Any, chosen: Any, rejected: Any) -> tuple[Any, Any, Any] | str:
    """(prompt, chosen, rejected), where the answers may repeat the prompt or hold it alone."""
    if not (is_text_or_turns(chosen) and is_text_or_turns(rejected)):
        return "chosen or rejected is neither text nor a list of turns"
    if isinstance(chosen, list) != isinstance(rejected, list):
        return "one answer is text and the other a list of turns"
    if isinstance(chosen, list):
        return turns_apart(asked, [as_turn(turn) for turn in chosen], [as_turn(turn) for turn in rejected])
    chosen, rejected = str(chosen), str(rejected)
    if not is_empty(asked):
        repeats = isinstance(asked, str) and chosen.startswith(asked) and rejected.startswith(asked)
        return (asked, chosen[len(asked) :], rejected[len(asked) :]) if repeats else (asked, chosen, rejected)
    length = len(common(chosen, rejected))
    length = max(chosen.rfind(" ", 0, length), chosen.rfind("\n", 0, length)) + 1  # no word is cut in two
    return (chosen[:length], chosen[length:], rejected[length:]) if chosen[:length].strip() else "no prompt"


def turns_apart(asked: Any, chosen: Turns, rejected: Turns) -> tuple[Any, Turns, Turns] | str:
    shared = [turn for turn, _ in takewhile(lambda both: both[0] == both[1], zip(chosen, rejected, strict=False))]
    while shared and shared[-1]["role"] == "assistant":
        shared.pop()  # where both give the same answer, that is the answer
    if is_empty(asked):
        return (shared, chosen[len(shared) :], rejected[len(shared) :]) if shared else "no prompt"
    named = as_messages(asked, "user")
    repeated = alike(shared[: len(named)], named) or alike(
        shared[-len(named) :], named
    )  # it may name only the last question
    return shared if repeated else named + shared, chosen[len(shared) :], rejected[len(shared) :]


def alike(some: Turns, others: Turns) -> bool:
    """The same turns, whatever white space stands around their words."""
    return [said(turn) for turn in some] == [said(turn) for turn in others]


def said(turn: Row) -> Row:
    return turn | {"content": turn["content"].strip() if isinstance(turn["content"], str) else turn["content"]}


def common(one: str, other: str) -> str:
    return "".join(a for a, _ in takewhile(lambda both: both[0] == both[1], zip(one, other, strict=False)))


def as_label(value: Any) -> bool | None:
    """Yes or no, also as 1 and 0, as words and as thumbs."""
    if isinstance(value, bool):
        return value
    told = str(value).strip().lower().removesuffix(".0")
    return True if told in YES else False if told in NO else None


def is_empty(value: Any) -> bool:
    """Nothing, or only white space; 0 and False are answers."""
    return value is None or value == [] or not str(value).strip()


def says_nothing(answer: Any) -> bool:
    """No words, and no turn with words or a call of a tool."""
    if isinstance(answer, list):
        return not any(
            turn.get("tool_calls") or not is_empty(turn.get("content", turn.get("value"))) for turn in answer
        )
    return is_empty(answer)


def opened(value: Any) -> Any:
    """Turns out of what some data sets wrap them in: {"messages": […]}, or a single turn."""
    if not isinstance(value, dict):
        return value
    inner = value.get("messages", value.get("conversations"))
    return inner if inner is not None else [value]


def is_text_or_turns(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(turn, dict) for turn in value)
    return isinstance(value, str | int | float)


def as_turn(turn: Row) -> Row:
    """ShareGPT's from/value become role/content; the usual other names of roles are mapped."""
    role = str(turn.get("role") or turn.get("from") or "user").lower()
    rest = {key: value for key, value in turn.items() if key not in ("role", "from", "value", "content")}
    content = turn.get("content", turn.get("value"))
    return {"role": ROLES.get(role, role), "content": content if content is not None else ""} | rest


def as_messages(value: Any, role: str) -> Turns:
    return [as_turn(turn) for turn in value] if isinstance(value, list) else [{"role": role, "content": str(value)}]
