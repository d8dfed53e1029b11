"""Texts: which characters of plain text are learned: those in marked segments, or what follows a phrase that answers begin with."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from app.core.problems import shorten
from app.engine.masking.chat_template import Format
from app.engine.masking.label_policy import LossMaskPolicy, as_told, labeled_turns
from app.engine.masking.masked_dataset import LOOSE, SEVERAL, Drawn, options_of
from app.engine.masking.token_labels import Letters


@dataclass
class BySegments:
    """Masks rows of segments, which bring all their marks themselves: nothing is added."""

    special: bool = False

    def __call__(self, row: dict[str, Any]) -> Drawn:
        segments = row["segments"]
        text = "".join(one["text"] for one in segments)
        drawn, at = Drawn(text, Letters(len(text))), 0
        for number, one in enumerate(segments):
            drawn.letters.set(at, at + len(one["text"]), bool(one["train"]))
            at += len(one["text"])
            changes = number + 1 < len(segments) and bool(segments[number + 1]["train"]) != bool(one["train"])
            if changes and one["text"] != one["text"].rstrip(" \t"):
                drawn.notes.append(LOOSE)
        return drawn


@dataclass
class ByPhrase:
    """Masks rows by the phrase that answers begin with and, where there are several, the one that questions begin with.

    A phrase is looked for among the tokens of the very row, as it stands there: alone it would often be other tokens.
    """

    tokenizer: Any
    form: Format | None
    response: str
    instruction: str = ""

    @property
    def special(self) -> bool:
        return self.form is None

    def __call__(self, row: dict[str, Any]) -> Drawn:
        text = self.text_of(row)
        drawn = Drawn(text, Letters(len(text)))
        begins = [*found(text, words_of(self.tokenizer, self.response))]
        asks = [start for start, _ in found(text, words_of(self.tokenizer, self.instruction))]
        if not begins:
            drawn.why = f"“{shorten(self.response.strip(), 40)}”, which answers should begin with, does not stand in it"
        if not self.instruction:
            drawn.notes += [SEVERAL] if len(begins) > 1 else []
            begins = begins[-1:]
        for _, begin in begins:
            end = next((start for start in asks if start >= begin), len(text))
            drawn.letters.set(begin, end, True)
            drawn.edges.append(begin)
        return drawn

    def text_of(self, row: dict[str, Any]) -> str:
        """As TRL would read it: a conversation in the chat format, plain text with the end token behind it."""
        if self.form is not None:
            return self.form.written(as_told(labeled_turns(row, LossMaskPolicy())), **options_of(row))[0]
        text = row["text"] if "text" in row else row["prompt"] + row["completion"]
        end = self.tokenizer.eos_token or ""
        return text if text.endswith(end) else text + end


def words_of(tokenizer: Any, phrase: str) -> str:
    """The phrase as text; it may be given as a list of tokens' ids."""
    try:
        ids = json.loads(phrase)
    except ValueError:  # a border: what is no JSON is meant as text
        return phrase
    numbers = isinstance(ids, list) and ids and all(type(one) is int and 0 <= one < len(tokenizer) for one in ids)
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False) if numbers else phrase


def found(text: str, phrase: str) -> Iterator[tuple[int, int]]:
    """Where it stands, from and to."""
    at = text.find(phrase) if phrase else -1
    while at >= 0:
        yield at, at + len(phrase)
        at = text.find(phrase, at + len(phrase))
