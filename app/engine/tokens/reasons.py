"""Reasons: why each token is learned or only read, in words, from what is known for certain: labels, marks and the turns of a chat."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from app.engine.masking.chat_template import format_of
from app.engine.masking.label_policy import LossMaskPolicy, as_told
from app.engine.masking.label_policy import labeled_turns as wanted_turns
from app.engine.masking.masked_dataset import options_of
from app.engine.masking.message_spans import places
from app.engine.tokens.tokenized_examples import UNLEARNED, Text

Span = tuple[int, int, str]  # from and to in characters, and whose words they are

WHOSE = {
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


# What learning a token of such an answer means.
VERBS = {
    "rejected": "made less likely",
    "disliked": "made less likely",
    "chosen": "made likelier",
    "liked": "made likelier",
    "reference": "learned: the best answer",
}


# And of one where a step ends, by its label.
JUDGED = {0: "judged here: this step is wrong", 1: "judged here: this step is right"}


def verb(kind: str, name: str) -> str | dict[int, str]:
    """kind: of model. name: which of several answers. Where steps are judged, by label."""
    if kind != "causal":
        return "the score is read here" if kind == "scores" else JUDGED
    return VERBS.get(name, "learned")


def segments(
    tokenizer: Any, row: dict[str, Any], text: Text, spans: list[Span], learned: str | dict[int, str] = "learned"
) -> list[dict[str, Any]]:
    """[{"start", "end", "why"}]: runs of tokens with one reason, covering all tokens shown. learned: what happens to those
    that are, or that by label."""
    whose = owners([token["text"] for token in row["tokens"]], spans)
    end, by_label = tokenizer.eos_token_id, not isinstance(learned, str)
    known: dict[tuple[Any, ...], str] = {}  # of tens of thousands of tokens there are a few kinds
    told = []
    for place, (token, owner, label) in enumerate(zip(row["tokens"], whose, text.labels, strict=False)):
        starts, ends = place == 0 and label != UNLEARNED, token["id"] == end
        kind = (token.get("cut"), token["special"], token["trained"], owner, starts, ends, label if by_label else 0)
        if kind not in known:
            known[kind] = why(token, owner, starts, ends, learned.get(label, "") if by_label else learned)
        told.append(known[kind])
    found, at = [], 0
    for reason, run in groupby(told):
        end = at + len(list(run))
        found.append({"start": at, "end": end, "why": reason})
        at = end
    return found


def why(token: dict[str, Any], owner: str | None, starts: bool, ends: bool, learned: str = "learned") -> str:
    """starts: the first token, which would be learned if anything stood before it. ends: the token that ends a text."""
    if token.get("cut"):
        return "beyond the maximum length: cut off"
    if starts:
        return "the first token: read only, as nothing stands before it to tell it from"
    if token["special"] and ends and token["trained"]:
        return (
            "the end token: learned, so that the model knows when to stop"
            if learned == "learned"
            else f"the end token: {learned}"
        )
    what = "a mark of the format" if token["special"] else WHOSE.get(owner or "", "")
    how = learned if token["trained"] else "read only"
    return f"{what}: {how}" if what else how


def owners(texts: list[str], spans: list[Span]) -> list[str | None]:
    """Whose words each token is, by where it begins or, where it begins before a span, by what it reaches into."""
    found: list[str | None] = []
    at, spans = 0, list(reversed(spans))
    for text in texts:
        end = max(at + len(text), at + 1)
        while spans and spans[-1][1] <= at:
            spans.pop()
        inside = spans and spans[-1][0] < end
        found.append(spans[-1][2] if inside else None)
        at += len(text)
    return found


def spans_of(tokenizer: Any, template: str | None, raw: dict[str, Any], text: str) -> list[Span]:
    """Where in `text`, the row as the model reads it, each turn's words stand; empty when that is not certain."""
    turns = turns_of(raw)
    if turns is None:
        return plain_spans(raw, text)
    pictured = any(is_picture(part) for turn in turns for part in turn.get("content") or ())
    if not pictured and not template:
        return []
    if not pictured and (spoken := spoken_spans(tokenizer, template or "", raw, text)):
        return spoken  # else a method leaves out what a format writes after the last answer, and the frame alone tells
    options = {"chat_template": template, "tools": raw.get("tools"), **(raw.get("chat_template_kwargs") or {})}
    named, said = marked(turns)
    options["add_generation_prompt"] = "completion" not in raw and "messages" not in raw
    try:
        framed = tokenizer.apply_chat_template(named, tokenize=False, **options)
    except Exception:  # a border: a template is a stranger's program and may refuse our marks
        return []
    return filled(framed, said, text)


def spoken_spans(tokenizer: Any, template: str, raw: dict[str, Any], text: str) -> list[Span]:
    """Of turns without pictures: their words, the thoughts before them, and what the format writes around both."""
    turns = as_told(wanted_turns(raw, LossMaskPolicy(splits_thoughts="<think>" in text)))
    asks = "completion" not in raw and "messages" not in raw
    form = format_of(tokenizer, template)
    found = next((found for told in (turns, as_told(wanted_turns(raw, LossMaskPolicy())))
                  if (found := places(form, told, text, open_end=True, asks=asks, **options_of(raw))) is not None), None)  # fmt: skip
    spans, at = [], 0
    for place in found or []:
        spans += [(at, place.start, "frame")] if at < place.start else []
        spans.append((place.start, place.end, "thoughts" if place.field == "reasoning_content" else turns[place.turn]["role"]))  # fmt: skip
        at = place.end
    return [*spans, (at, max(at, len(text)), "frame")] if found is not None else []


def is_picture(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") not in ("text", "reasoning")


def marked(turns: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(the turns with a mark in place of each of their texts, these texts as turns of their own): a turn with pictures has
    texts between them."""
    named: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    for turn in turns:
        parts = turn.get("content")
        if not isinstance(parts, list):
            named.append(turn | {"content": mark(len(said))})
            said.append(turn)
            continue
        kept = []
        for part in parts:
            told = part.get("type") == "text"
            kept.append({"type": "text", "text": mark(len(said))} if told else {"type": part.get("type")})
            said += [{"role": turn["role"], "content": part["text"]}] if told else []
        named.append(turn | {"content": kept})
    return named, said


def filled(framed: str, turns: list[dict[str, Any]], text: str) -> list[Span]:
    """The frame with each mark replaced by its turn's words must be the very text."""
    spans: list[Span] = []
    built = ""
    for number, turn in enumerate(turns):
        before, found, framed = framed.partition(mark(number))
        content = turn.get("content")
        if not found or not isinstance(content, str):
            return []
        spans.append((len(built), len(built) + len(before), "frame"))
        built += before
        words = next((words for words in (content, content.strip()) if text.startswith(words, len(built))), None)
        if words is None:
            return []
        spans.append((len(built), len(built) + len(words), turn["role"]))
        built += words
    spans.append((len(built), len(built) + len(framed), "frame"))
    return (
        spans if (built + framed).startswith(text) and len(text) >= len(built) else []
    )  # the last frame may be left open


def mark(number: int) -> str:
    """Characters that stand in no text: of the private use area."""
    return f"\ue000{number}\ue001"


def turns_of(raw: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The turns of a chat, None for plain text."""
    turns = raw.get("messages")
    if turns is None and isinstance(raw.get("prompt"), list):
        turns = raw["prompt"] + (raw["completion"] if isinstance(raw.get("completion"), list) else [])
    return turns


def plain_spans(raw: dict[str, Any], text: str) -> list[Span]:
    """Of plain text, or of a plain prompt and its completion, or its steps."""
    if "completions" in raw:
        return step_spans([(raw["prompt"], "prompt"), *((step, "step") for step in raw["completions"])], text)
    if "segments" in raw:
        parts = [(one["text"], "segment") for one in raw["segments"]]
    elif isinstance(raw.get("prompt"), str):
        parts = [(raw["prompt"], "prompt"), (str(raw.get("completion", "")), "completion")]
    else:
        parts = [(str(raw.get("text", "")), "text")]
    spans, at = [], 0
    for words, owner in parts:
        if not text.startswith(words, at):
            return []
        spans.append((at, at + len(words), owner))
        at += len(words)
    return spans


def step_spans(parts: list[tuple[str, str]], text: str) -> list[Span]:
    """The prompt and the steps, between which something stands that marks the end of a step."""
    spans, at = [], 0
    for words, owner in parts:
        start = text.find(words, at)
        if start < 0:
            break  # cut off before
        at = start + len(words)
        spans.append((start, at, owner))
    return spans
