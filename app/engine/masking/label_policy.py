"""Label policy: what of a conversation is trained, by message and, within a message, by character."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate, groupby, pairwise

from app.data.conversations.messages import Messages
from app.data.fields import Row

LabeledSpan = tuple[int, int, bool]  # from and to in characters, and whether it is trained
_LABEL_KEYS = ("train", "weight", "train_detail", "train_spans")
_THINK_TAGS = ("<think>", "</think>")


@dataclass(frozen=True)
class LossMaskPolicy:
    """What of a conversation is trained.

    roles: whose messages. marked: what rows say themselves takes precedence. last: only the last message that would be
    trained. ends: whether the markers that end trained messages are trained too: `all`, only the `last` or `none`.
    splits_thoughts: reasoning inside an answer becomes a field of its own. trains_prompts: also train messages of a prompt
    that stands apart from its completion."""

    roles: tuple[str, ...] = ("assistant",)
    marked: bool = False
    last: bool = False
    ends: str = "all"
    splits_thoughts: bool = False
    trains_prompts: bool = False


@dataclass
class LabeledMessage:
    """A message as its chat template gets it, and what of it is trained.

    spans: {field: spans}, for fields of which only parts are trained.
    """

    message: Row
    is_trained: bool
    spans: dict[str, list[LabeledSpan]] = field(default_factory=dict)


def labeled_messages(row: Row, policy: LossMaskPolicy) -> list[LabeledMessage]:
    """All messages of a conversation, or of a prompt with its completion."""
    prompt = row.get("prompt") or []
    messages = row["messages"] if "messages" in row else [*prompt, *(row.get("completion") or [])]
    labeled = [_labeled_message(message, policy, index < len(prompt)) for index, message in enumerate(messages)]
    if policy.last:
        last = max((index for index, message in enumerate(labeled) if message.is_trained or message.spans), default=-1)
        for index, message in enumerate(labeled):
            if index != last:
                message.is_trained, message.spans = False, {}
    return labeled


def _labeled_message(message: Row, policy: LossMaskPolicy, is_prompt: bool) -> LabeledMessage:
    is_trained = message["role"] in policy.roles and (policy.trains_prompts or not is_prompt)
    if policy.marked:
        own_flag = _train_flag(message)
        is_trained = own_flag if own_flag is not None else is_trained or bool(message.get("train_detail"))
    labeled = LabeledMessage({key: value for key, value in message.items() if key not in _LABEL_KEYS}, is_trained)
    for name, parts in _text_parts(message).items():
        labeled.message[name] = "".join(part["text"] for part in parts)
        flags = [_train_flag(part) if policy.marked else None for part in parts]
        if any(flag is not None for flag in flags):
            labeled.spans[name] = _part_spans(parts, [is_trained if flag is None else flag for flag in flags])
    ranges = policy.marked and (message.get("train_detail") or message.get("train_spans"))
    if ranges and "content" not in labeled.spans:
        labeled.spans["content"] = _range_spans(labeled.message.get("content") or "", ranges, is_trained)
    if policy.splits_thoughts and "content" not in labeled.spans and message["role"] == "assistant":
        labeled.message |= _split_thoughts(labeled.message)
    return labeled


def _train_flag(marked: Row) -> bool | None:
    """`train`, or OpenAI's `weight` of 0 or 1, of a message or a part; None where it says nothing."""
    if isinstance(marked.get("train"), bool):
        return marked["train"]
    weight = marked.get("weight")
    return bool(weight) if isinstance(weight, int | float) else None


def _text_parts(message: Row) -> dict[str, list[Row]]:
    """{field: text parts} of fields that are lists of parts. Reasoning may stand among the content's parts or apart."""
    parts_by_field: dict[str, list[Row]] = {}
    for name in ("reasoning_content", "content"):
        for part in message[name] if isinstance(message.get(name), list) else []:
            is_reasoning = name == "reasoning_content" or part.get("type") == "reasoning"
            target = "reasoning_content" if is_reasoning else "content"
            parts_by_field.setdefault(target, []).append({**part, "text": part.get("text") or ""})
    if parts_by_field and isinstance(message.get("content"), list):
        parts_by_field.setdefault("content", [])
    return parts_by_field


def _part_spans(parts: list[Row], flags: list[bool]) -> list[LabeledSpan]:
    ends = list(accumulate((len(part["text"]) for part in parts), initial=0))
    return [(start, end, is_trained) for (start, end), is_trained in zip(pairwise(ends), flags, strict=True)]


def _range_spans(text: str, ranges: list[Row], is_trained: bool) -> list[LabeledSpan]:
    """Spans from ranges that include their last character; what no range covers is trained as its message is."""
    flags = [is_trained] * len(text)
    for span in ranges:
        start, end = max(0, int(span["begin_offset"])), min(len(text), int(span["end_offset"]) + 1)
        flags[start:end] = [bool(span.get("train"))] * max(0, end - start)
    runs = [(flag, len(list(run))) for flag, run in groupby(flags)]
    ends = list(accumulate((size for _, size in runs), initial=0))
    return [(start, end, flag) for (start, end), (flag, _) in zip(pairwise(ends), runs, strict=True)]


def _split_thoughts(message: Row) -> Row:
    """{"reasoning_content", "content"} of an answer that begins with reasoning in tags, as templates write the two
    where they belong; empty for other answers."""
    content = message.get("content")
    opening, closing = _THINK_TAGS
    if message.get("reasoning_content") or not isinstance(content, str):
        return {}
    if not content.lstrip().startswith(opening) or closing not in content:
        return {}
    thoughts, _, answer = content.lstrip().removeprefix(opening).partition(closing)
    return {"reasoning_content": thoughts.strip("\n"), "content": answer.lstrip("\n")}


def texts_with_trailing_space(messages: list[LabeledMessage]) -> Iterator[str]:
    """Texts that end in white space where the next text is trained otherwise: that space belongs to a token of both."""
    for message in messages:
        for name, spans in message.spans.items():
            for (start, end, is_trained), (_, _, next_is_trained) in pairwise(spans):
                text = message.message[name][start:end]
                if is_trained != next_is_trained and text != text.rstrip(" \t"):
                    yield text


def template_messages(messages: list[LabeledMessage]) -> Messages:
    """The messages as the chat template gets them."""
    return [message.message for message in messages]
