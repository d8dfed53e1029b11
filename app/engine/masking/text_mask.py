"""Text masks: which characters of plain text are trained: marked segments, or what follows a phrase."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from app.core.problems import shorten
from app.data.fields import Row
from app.engine.masking.chat_template import ChatTemplate
from app.engine.masking.label_policy import LossMaskPolicy, labeled_messages, template_messages
from app.engine.masking.masked_dataset import REPEATED_PHRASE, TRAILING_SPACE, MaskedText, row_template_kwargs
from app.engine.masking.token_labels import CharMask

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass
class SegmentMask:
    """Masks rows of segments, which say themselves whether they are trained. Special tokens are added only where a row asks
    for it, and only those that do not stand there already."""

    tokenizer: PreTrainedTokenizerBase
    add_special_tokens: bool = False

    def __call__(self, row: Row) -> MaskedText:
        segments = row["segments"]
        if row.get("add_special_tokens"):
            segments = self._with_special_tokens(segments)
        text = "".join(segment["text"] for segment in segments)
        masked, start = MaskedText(text, CharMask(len(text))), 0
        for index, segment in enumerate(segments):
            is_trained, end = bool(segment["train"]), start + len(segment["text"])
            masked.char_mask.set_range(start, end, is_trained)
            start = end
            changes = index + 1 < len(segments) and bool(segments[index + 1]["train"]) != is_trained
            if changes and segment["text"] != segment["text"].rstrip(" \t"):
                masked.notes.append(TRAILING_SPACE)
        return masked

    def _with_special_tokens(self, segments: list[Row]) -> list[Row]:
        """The segments with a begin token, where the tokenizer puts one before plain text, and with a trained end token behind
        an answer at the end."""
        text = "".join(segment["text"] for segment in segments)
        bos_token, eos_token = self.tokenizer.bos_token, self.tokenizer.eos_token
        if bos_token and not text.startswith(bos_token) and self._adds_bos_token:
            segments = [{"text": bos_token, "train": False}, *segments]
        last_trained = max((i for i, segment in enumerate(segments) if segment["train"]), default=-1)
        is_last = not "".join(segment["text"] for segment in segments[last_trained + 1 :]).strip()
        if eos_token and is_last and not segments[last_trained]["text"].rstrip().endswith(eos_token):
            segments = [*segments[: last_trained + 1], {"text": eos_token, "train": True}]
        return segments

    @cached_property
    def _adds_bos_token(self) -> bool:
        return self.tokenizer("a").input_ids[:1] == [self.tokenizer.bos_token_id]


@dataclass
class PhraseMask:
    """Masks rows by the phrase that answers begin with and, where there are several answers, the phrase of questions.

    A phrase is searched for in the text of the row, not as tokens: tokenized alone it would often be other tokens.
    """

    tokenizer: PreTrainedTokenizerBase
    chat_template: ChatTemplate | None
    response_phrase: str
    instruction_phrase: str = ""

    @property
    def add_special_tokens(self) -> bool:
        """Plain text gets the tokenizer's own special tokens; a chat template writes them itself."""
        return self.chat_template is None

    def __call__(self, row: Row) -> MaskedText:
        text = self._rendered_text(row)
        masked = MaskedText(text, CharMask(len(text)))
        responses = [*_occurrences(text, _phrase_text(self.tokenizer, self.response_phrase))]
        instructions = _occurrences(text, _phrase_text(self.tokenizer, self.instruction_phrase))
        instruction_starts = [start for start, _ in instructions]
        if not responses:
            phrase = shorten(self.response_phrase.strip(), 40)
            masked.untrained_reason = f"“{phrase}”, which answers should begin with, does not stand in it"
        if not self.instruction_phrase:
            masked.notes += [REPEATED_PHRASE] if len(responses) > 1 else []
            responses = responses[-1:]
        for _, answer_start in responses:
            answer_end = next((start for start in instruction_starts if start >= answer_start), len(text))
            masked.char_mask.set_range(answer_start, answer_end, True)
            masked.phrase_ends.append(answer_start)
        return masked

    def _rendered_text(self, row: Row) -> str:
        """The row as TRL would read it: a conversation in the chat template, plain text with the end-of-sequence
        token."""
        if self.chat_template is not None:
            messages = template_messages(labeled_messages(row, LossMaskPolicy()))
            return self.chat_template.render(messages, row_template_kwargs(row))[0]
        text = row["text"] if "text" in row else row["prompt"] + row["completion"]
        eos_token = self.tokenizer.eos_token or ""
        return text if text.endswith(eos_token) else text + eos_token


def _phrase_text(tokenizer: PreTrainedTokenizerBase, phrase: str) -> str:
    """The phrase as text; it may be given as a JSON list of token ids."""
    try:
        token_ids = json.loads(phrase)
    except ValueError:  # boundary: a person's input; what is no JSON is meant as text
        return phrase
    if not isinstance(token_ids, list) or not token_ids:
        return phrase
    if not all(type(token_id) is int and 0 <= token_id < len(tokenizer) for token_id in token_ids):
        return phrase
    [text] = tokenizer.batch_decode([token_ids], clean_up_tokenization_spaces=False)
    return text


def _occurrences(text: str, phrase: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each occurrence, in characters; none of an empty phrase."""
    start = text.find(phrase) if phrase else -1
    while start >= 0:
        yield start, start + len(phrase)
        start = text.find(phrase, start + len(phrase))
