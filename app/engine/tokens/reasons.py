"""Reasons: a few words for each token on why it is trained or only read."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from app.data.conversations.messages import Messages
from app.data.fields import Row
from app.engine.masking.chat_template import cached_chat_template
from app.engine.masking.label_policy import LossMaskPolicy, labeled_messages, template_messages
from app.engine.masking.masked_dataset import row_template_kwargs
from app.engine.masking.message_spans import find_message_spans
from app.engine.model.template_source import try_render
from app.engine.tokens.decode import Token
from app.engine.tokens.tokenized_examples import IGNORE_INDEX, TokenizedText

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TextSpan(NamedTuple):
    """Characters from `start` to `end` of a text, and whose they are: a role or another key of _OWNER_NAMES."""

    start: int
    end: int
    owner: str


class Segment(TypedDict):
    """A run of tokens with one reason: tokens from `start` to `end`, and why they are trained or only read."""

    start: int
    end: int
    why: str


_OWNER_NAMES = {
    "user": "the question",
    "assistant": "the answer",
    "thoughts": "the thoughts before an answer",
    "system": "the system message",
    "developer": "the system message",
    "tool": "a tool’s result",
    "prompt": "the prompt",
    "completion": "the answer",
    "text": "the text",
    "segment": "the text",
    "step": "a step",
    "frame": "the frame around a turn",
}


# What training a token of such a completion does.
_LEARNED_PHRASES = {
    "rejected": "made less likely",
    "disliked": "made less likely",
    "chosen": "made likelier",
    "liked": "made likelier",
    "reference": "learned: the best answer",
}


# What training a token at the end of a step does, by its label.
_STEP_PHRASES = {0: "judged here: this step is wrong", 1: "judged here: this step is right"}


def learned_phrase(kind: str, name: str) -> str | dict[int, str]:
    """What happens to trained tokens; where steps are judged, a phrase for each label.

    kind: of model, as `Job.kind`. name: which of several completions it is.
    """
    if kind != "causal":
        return "the score is read here" if kind == "scores" else _STEP_PHRASES
    return _LEARNED_PHRASES.get(name, "learned")


# -- reasons ------------------------------------------------------------------------------------------------------


def reason_segments(
    eos_token_id: int | None,
    tokens: list[Token],
    text: TokenizedText,
    spans: list[TextSpan],
    learned: str | dict[int, str] = "learned",
) -> list[Segment]:
    """The segments that together cover all tokens of the decoded text.

    learned: what happens to trained tokens, or that by label.
    """
    segments: list[Segment] = []
    start = 0
    for reason, run in groupby(_token_reasons(eos_token_id, tokens, text, spans, learned)):
        end = start + len(list(run))
        segments.append({"start": start, "end": end, "why": reason})
        start = end
    return segments


def _token_reasons(
    eos_token_id: int | None,
    tokens: list[Token],
    text: TokenizedText,
    spans: list[TextSpan],
    learned: str | dict[int, str],
) -> list[str]:
    owners = _token_owners([token["text"] for token in tokens], spans)
    reason_by_kind: dict[tuple[str | bool | None, ...], str] = {}  # tens of thousands of tokens are of a few kinds
    reasons = []
    for position, (token, owner, label) in enumerate(zip(tokens, owners, text.labels, strict=False)):
        is_first = position == 0 and label != IGNORE_INDEX
        is_eos = token["id"] == eos_token_id
        phrase = learned if isinstance(learned, str) else learned.get(label, "")
        kind = (token.get("cut"), token["special"], token["trained"], owner, is_first, is_eos, phrase)
        if kind not in reason_by_kind:
            reason_by_kind[kind] = _reason(token, owner, is_first, is_eos, phrase)
        reasons.append(reason_by_kind[kind])
    return reasons


def _reason(token: Token, owner: str | None, is_first: bool, is_eos: bool, learned: str) -> str:
    """is_first: the first token, which would be trained if a token stood before it. is_eos: the end-of-sequence
    token."""
    if token.get("cut"):
        return "beyond the maximum length: cut off"
    if is_first:
        return "the first token: read only, as nothing stands before it to tell it from"
    if token["special"] and is_eos and token["trained"]:
        if learned == "learned":
            return "the end token: learned, so that the model knows when to stop"
        return f"the end token: {learned}"
    owner_name = "a mark of the format" if token["special"] else _OWNER_NAMES.get(owner or "", "")
    use = learned if token["trained"] else "read only"
    return f"{owner_name}: {use}" if owner_name else use


def _token_owners(texts: list[str], spans: list[TextSpan]) -> list[str | None]:
    """The owner of each token, by the span where it begins or, where it begins before a span, by the span it reaches
    into."""
    owners: list[str | None] = []
    start, remaining = 0, list(reversed(spans))
    for text in texts:
        end = max(start + len(text), start + 1)
        while remaining and remaining[-1].end <= start:
            remaining.pop()
        is_inside = remaining and remaining[-1].start < end
        owners.append(remaining[-1].owner if is_inside else None)
        start += len(text)
    return owners


# -- spans --------------------------------------------------------------------------------------------------------


def text_spans(tokenizer: PreTrainedTokenizerBase, template: str | None, raw: Row, text: str) -> list[TextSpan]:
    """Where in `text`, the row as the model reads it, the text of each message stands; empty when that is not
    certain."""
    messages = _conversation_messages(raw)
    if messages is None:
        return _plain_text_spans(raw, text)
    has_media = any(_is_media_part(part) for message in messages for part in message.get("content") or ())
    if not has_media and not template:
        return []
    if not has_media and (spans := _conversation_spans(tokenizer, template or "", raw, text)):
        return spans  # otherwise a method drops what the template writes after the last answer: only the frame can tell
    template_kwargs = {"chat_template": template, "tools": raw.get("tools"), **(raw.get("chat_template_kwargs") or {})}
    template_kwargs["add_generation_prompt"] = "completion" not in raw and "messages" not in raw
    with_placeholders, replaced = _with_placeholders(messages)
    frame = try_render(tokenizer, with_placeholders, **template_kwargs)
    return [] if frame is None else _spans_in_frame(frame, replaced, text)


def _conversation_spans(tokenizer: PreTrainedTokenizerBase, template: str, raw: Row, text: str) -> list[TextSpan]:
    """Spans of messages without images: their text, the reasoning before it, and what the template writes around
    both."""
    chat_template, template_kwargs = cached_chat_template(tokenizer, template), row_template_kwargs(raw)
    is_open = "completion" not in raw and "messages" not in raw
    render = partial(chat_template.render, template_kwargs=template_kwargs, with_generation_prompt=is_open)
    messages = template_messages(labeled_messages(raw, LossMaskPolicy(splits_thoughts="<think>" in text)))
    message_spans = None
    for candidate in (messages, template_messages(labeled_messages(raw, LossMaskPolicy()))):
        answers = {index for index, message in enumerate(candidate) if message["role"] == "assistant"}
        message_spans = find_message_spans(render, candidate, text, open_end=True, exact_indices=answers)
        if message_spans is not None:
            break
    if message_spans is None:
        return []
    spans: list[TextSpan] = []
    end = 0
    for span in message_spans:
        owner = "thoughts" if span.field == "reasoning_content" else messages[span.message_index]["role"]
        spans += [TextSpan(end, span.start, "frame")] if end < span.start else []
        spans.append(TextSpan(span.start, span.end, owner))
        end = span.end
    return [*spans, TextSpan(end, max(end, len(text)), "frame")]


def _is_media_part(part: str | Row) -> bool:
    return isinstance(part, dict) and part.get("type") not in ("text", "reasoning")


def _with_placeholders(messages: Messages) -> tuple[Messages, Messages]:
    """(the messages with a placeholder for each of their texts, these texts as messages of their own): a message with
    images has several texts between them."""
    with_placeholders: Messages = []
    replaced: Messages = []
    for message in messages:
        content = message.get("content")
        if not isinstance(content, list):
            with_placeholders.append(message | {"content": _placeholder(len(replaced))})
            replaced.append(message)
            continue
        parts = []
        for part in content:
            if part.get("type") == "text":
                parts.append({"type": "text", "text": _placeholder(len(replaced))})
                replaced.append({"role": message["role"], "content": part["text"]})
            else:
                parts.append({"type": part.get("type")})
        with_placeholders.append(message | {"content": parts})
    return with_placeholders, replaced


def _spans_in_frame(frame: str, replaced: Messages, text: str) -> list[TextSpan]:
    """The spans, if the frame with its placeholders replaced by the messages' texts is exactly `text`; otherwise
    empty."""
    spans: list[TextSpan] = []
    built = ""
    for index, message in enumerate(replaced):
        before, placeholder, frame = frame.partition(_placeholder(index))
        content = message.get("content")
        if not placeholder or not isinstance(content, str):
            return []
        spans.append(TextSpan(len(built), len(built) + len(before), "frame"))
        built += before
        written = next(
            (variant for variant in (content, content.strip()) if text.startswith(variant, len(built))), None
        )
        if written is None:
            return []
        spans.append(TextSpan(len(built), len(built) + len(written), message["role"]))
        built += written
    spans.append(TextSpan(len(built), len(built) + len(frame), "frame"))
    is_same = (built + frame).startswith(text) and len(text) >= len(built)  # the text may stop within the last frame
    return spans if is_same else []


def _placeholder(number: int) -> str:
    """Characters of the Unicode private use area, which occur in no text."""
    return f"\ue000{number}\ue001"


def _conversation_messages(raw: Row) -> Messages | None:
    """The messages of a conversation, None for plain text."""
    messages = raw.get("messages")
    if messages is None and isinstance(raw.get("prompt"), list):
        messages = raw["prompt"] + (raw["completion"] if isinstance(raw.get("completion"), list) else [])
    return messages


def _plain_text_spans(raw: Row, text: str) -> list[TextSpan]:
    """Spans of a plain text, of marked segments, of a plain prompt with its completion, or with its steps."""
    if "completions" in raw:
        return _step_spans([(raw["prompt"], "prompt"), *((step, "step") for step in raw["completions"])], text)
    if "segments" in raw:
        owned_texts = [(segment["text"], "segment") for segment in raw["segments"]]
    elif isinstance(raw.get("prompt"), str):
        owned_texts = [(raw["prompt"], "prompt"), (str(raw.get("completion", "")), "completion")]
    else:
        owned_texts = [(str(raw.get("text", "")), "text")]
    spans, start = [], 0
    for owned_text, owner in owned_texts:
        if not text.startswith(owned_text, start):
            return []
        spans.append(TextSpan(start, start + len(owned_text), owner))
        start += len(owned_text)
    return spans


def _step_spans(owned_texts: list[tuple[str, str]], text: str) -> list[TextSpan]:
    """Spans of the prompt and the steps; between them stands a separator that marks the end of a step."""
    spans, end = [], 0
    for owned_text, owner in owned_texts:
        start = text.find(owned_text, end)
        if start < 0:
            break  # truncated before this step
        end = start + len(owned_text)
        spans.append(TextSpan(start, end, owner))
    return spans
