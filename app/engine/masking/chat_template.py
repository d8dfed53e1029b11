"""Format: how a chat format writes a conversation: what stands before an answer, what ends it, and what it marks as learned."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

from app.engine.model.tokenizer import special_ids

Turns = list[dict[str, Any]]

ASKED = {"role": "user", "content": "Hello"}
PROBE = [ASKED, {"role": "assistant", "content": "Good day"}, {"role": "user", "content": "Farewell"}, {"role": "assistant", "content": "See you"}]  # fmt: skip
LONGEST = 200  # characters of a mark
THINKS = "<think"  # a format that begins an answer with it asks the model to think: that is a part of the answer


@dataclass
class Format:
    """A tokenizer's chat format, as this text of a template writes it."""

    tokenizer: Any
    template: str

    @cached_property
    def marks_answers(self) -> bool:
        from trl.chat_template_utils import has_generation_markers

        return has_generation_markers(self.template)

    def written(self, turns: Turns, asks: bool = False, **options: Any) -> tuple[str, list[tuple[int, int]]]:
        """(the conversation as text, what the format itself marks as learned, from and to in characters)."""
        return self.rendered([in_parts(turn) for turn in turns] if self.takes_parts else turns, asks, **options)

    def rendered(self, turns: Turns, asks: bool, **options: Any) -> tuple[str, list[tuple[int, int]]]:
        from transformers.utils.chat_template_utils import render_jinja_template

        turns = [{key: value for key, value in turn.items() if value is not None} for turn in turns]
        told = {**self.tokenizer.special_tokens_map, **options, "add_generation_prompt": asks}
        text, marked = render_jinja_template([turns], chat_template=self.template, return_assistant_tokens_mask=self.marks_answers, **told)  # fmt: skip
        return text[0], [tuple(one) for one in marked[0]] if self.marks_answers else []

    @cached_property
    def takes_parts(self) -> bool:
        """Formats of models that see write nothing of words that do not stand among pictures."""
        try:
            return PROBE[1]["content"] not in self.rendered(PROBE, False)[0]
        except Exception:  # a border: a template is a stranger's program
            return True

    # -- what a short conversation shows ----------------------------------------------------------------------------

    @cached_property
    def specials(self) -> re.Pattern[str]:
        """One mark of the vocabulary: a token that was added to it whole."""
        added = self.tokenizer.added_tokens_decoder
        known = [added[one].content for one in special_ids(self.tokenizer) | set(added) if one in added]
        named = sorted((one for one in known if one.strip()), key=len, reverse=True)
        return re.compile("|".join(map(re.escape, named)) or r"(?!)")

    @cached_property
    def probe(self) -> str:
        return self.written(PROBE)[0]

    @cached_property
    def header(self) -> str:
        """What stands right before an answer and is never a part of it; empty where the format writes nothing there."""
        begun, asked = self.written([ASKED])[0], self.written([ASKED], asks=True)[0]
        if not asked.startswith(begun):
            return ""
        told = asked[len(begun) :].partition(THINKS)[0]
        before = self.probe[: self.probe.find(PROBE[1]["content"])]
        return next((told[:end] for end in range(len(told), 0, -1) if told[:end] in before), "")

    @cached_property
    def ending(self) -> str:
        """What ends every answer: marks that stand behind one in the middle of a conversation and behind the last alike."""
        between = self.probe.split(PROBE[1]["content"])[-1]
        last = self.probe.split(PROBE[3]["content"])[-1]
        alike = ""
        while (one := self.first_mark(between, len(alike))) and last.startswith(alike + one):
            alike += one
        return alike

    def first_mark(self, text: str, at: int) -> str:
        """The mark that stands there, with a space before it where the format writes one."""
        space = " " if text.startswith(" ", at) else ""
        found = self.specials.match(text, at + len(space))
        return space + found.group() if found else ""

    @cached_property
    def is_exact(self) -> bool:
        """What it marks as learned are the answers with their ends and nothing else: no line break after, no name before."""
        from app.engine.masking.assistant_spans import Written, answers_in

        if not self.marks_answers or self.takes_parts:
            return False
        text, marked = self.written(PROBE)
        return marked == [(one.start, one.end) for one in answers_in(Written(self, PROBE, text, marked, None, {}))]


@lru_cache(maxsize=4)
def format_of(tokenizer: Any, template: str) -> Format:
    """The same one again: what a short conversation shows of it is found once."""
    return Format(tokenizer, template)


def in_parts(turn: dict[str, Any]) -> dict[str, Any]:
    words = turn.get("content")
    return turn | {"content": [{"type": "text", "text": words}]} if isinstance(words, str) else turn


def closing_mark(form: Format, text: str, start: int, end: int) -> tuple[int, int]:
    """(where the last mark before `end` begins, and ends): the white space behind it is no part of an answer. (end, end) where
    the text ends in words."""
    stripped = start + len(text[start:end].rstrip())
    for found in form.specials.finditer(text, max(start, stripped - LONGEST), stripped):
        if found.end() == stripped:
            return found.start(), stripped
    return end, end
