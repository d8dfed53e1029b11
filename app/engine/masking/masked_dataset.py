"""Masked dataset: tables of conversations and texts become tables of token ids with labels for TRL."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypedDict

from app.core.json_types import JsonValue
from app.core.problems import Problem, shorten
from app.data.apply_layout import drop_train_flags
from app.data.fields import Row
from app.engine.masking.chat_template import TemplateKwargs
from app.engine.masking.token_labels import CharMask, splits_token, tokenize_with_offsets
from app.engine.model.template_source import TEMPLATE_ERRORS
from app.engine.tokens.tokenized_examples import IGNORE_INDEX
from app.engine.trainer_class import named_after

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset
    from transformers import PreTrainedTokenizerBase, ProcessorMixin
    from trl import SFTConfig

    from app.engine.tokens.tokenized_examples import IntArray

_BATCH_ROWS = 500
_NOTHING_LEARNED = "nothing in it is marked as learned"
_SPLIT_TOKEN = "swallowed"
TRAILING_SPACE, NOT_RENDERED, REPEATED_PHRASE = "loose", "unwritten", "several"
NOTES = {
    _SPLIT_TOKEN: (
        "{some} the learned text begins in the middle of a token, which is then not learned: "
        "leave the white space at the end of what you look for to the words behind it."
    ),
    TRAILING_SPACE: (
        "{some} a part ends in white space where the next is learned otherwise. That space belongs to the next word’s "
        "token, which is then not learned: begin the next part with the space instead."
    ),
    NOT_RENDERED: (
        "{some} something that should be learned is not written by the chat format at all, "
        "such as thoughts in an earlier answer."
    ),
    REPEATED_PHRASE: (
        "{some} what answers begin with stands several times, and only what follows the last is learned. "
        "Say also what questions begin with, and every answer is."
    ),
}


@dataclass
class MaskedText:
    """A row as the model reads it, and which of its characters are trained.

    untrained_reason: why none is, in a sentence; otherwise empty. notes: keys of NOTES, what a person should know of
    the row. phrase_ends: where the trained text begins because a phrase of the person ends there."""

    text: str
    char_mask: CharMask
    untrained_reason: str = ""
    notes: list[str] = field(default_factory=list)
    phrase_ends: list[int] = field(default_factory=list)


class Mask(Protocol):
    """How rows of one kind are masked. add_special_tokens: the tokenizer adds its own, as around plain text."""

    @property
    def add_special_tokens(self) -> bool: ...

    def __call__(self, row: Row) -> MaskedText: ...


class MaskedColumns(TypedDict):
    """Masked rows as columns. why: why nothing of a row is trained, or empty. notes: keys of NOTES."""

    input_ids: list[list[int]]
    labels: list[list[int]]
    why: list[str]
    notes: list[list[str]]


@dataclass
class BatchMasker:
    """Masks rows given as columns."""

    tokenizer: PreTrainedTokenizerBase
    mask: Mask

    def __call__(self, columns: dict[str, Sequence[JsonValue]]) -> MaskedColumns:
        rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
        masked_texts = [self.mask(row) for row in rows]
        texts = [masked.text for masked in masked_texts]
        tokenized = tokenize_with_offsets(self.tokenizer, texts, self.mask.add_special_tokens)
        masked_columns: MaskedColumns = {"input_ids": [], "labels": [], "why": [], "notes": []}
        for masked, (token_ids, starts, ends) in zip(masked_texts, tokenized, strict=True):
            labels = masked.char_mask.token_labels(token_ids, starts, ends)
            has_labels = any(label != IGNORE_INDEX for label in labels)
            reason = masked.untrained_reason or ("" if has_labels else _NOTHING_LEARNED)
            masked_columns["input_ids"].append(token_ids)
            masked_columns["labels"].append([IGNORE_INDEX] * len(token_ids) if reason else labels)
            masked_columns["why"].append(reason)
            masked_columns["notes"].append(_notes(masked, starts, ends))
        return masked_columns


def _notes(masked: MaskedText, starts: IntArray, ends: IntArray) -> list[str]:
    """The notes on a row, each once."""
    splits = any(splits_token(starts, ends, position) for position in masked.phrase_ends)
    return list(dict.fromkeys(masked.notes + ([_SPLIT_TOKEN] if splits else [])))


def _masked_table(tokenizer: PreTrainedTokenizerBase, table: Dataset, mask: Mask) -> Dataset:
    """The table as token ids with labels, with the rows' indices where it has them."""
    from datasets import Features, List, Value
    from datasets.fingerprint import generate_random_fingerprint

    masked_features = {
        "input_ids": List(Value("int32")),
        "labels": List(Value("int64")),
        "why": Value("string"),
        "notes": List(Value("string")),
    }
    index_features = {name: table.features[name] for name in ("row",) if name in table.column_names}
    return table.map(
        BatchMasker(tokenizer, mask),
        batched=True,
        batch_size=_BATCH_ROWS,
        features=Features(index_features | masked_features),
        remove_columns=[name for name in table.column_names if name not in index_features],
        new_fingerprint=generate_random_fingerprint(),
        desc="Masking",
    )


def with_masking(trainer: type, tokenizer: PreTrainedTokenizerBase, mask: Mask | None, marked: bool = False) -> type:
    """The trainer's class, whose rows are masked by us before TRL gets them, where TRL's own masks do not suffice.

    marked: rows say themselves what is trained; these flags must not reach TRL.
    """

    @named_after(trainer)
    class Masking(trainer):
        def _prepare_dataset(
            self,
            dataset: Dataset | IterableDataset,
            processing_class: PreTrainedTokenizerBase | ProcessorMixin,
            args: SFTConfig,
            packing: bool,
            formatting_func: Callable[[Row], str] | None,
            dataset_name: str,
        ) -> Dataset | IterableDataset:
            unmasked = dataset
            try:
                if (mask or marked) and "input_ids" not in dataset.column_names:
                    dataset = _masked_table(tokenizer, dataset, mask) if mask else dataset.map(drop_train_flags)
                if packing and mask:  # TRL drops rows with nothing to train where it truncates, and not where it packs
                    dataset = dataset.filter(lambda row: any(label != IGNORE_INDEX for label in row["labels"]))
                return super()._prepare_dataset(dataset, processing_class, args, packing, formatting_func, dataset_name)
            except Exception as error:  # boundary: a chat template is foreign code
                if problem := _template_refusal(tokenizer, self.chat_template, unmasked):
                    raise problem from error
                raise

    return Masking


def _template_refusal(
    tokenizer: PreTrainedTokenizerBase, template: str | None, table: Dataset | IterableDataset
) -> Problem | None:
    """A Problem that names the first row which the chat template refuses; None when it refuses none."""
    for number, row in enumerate(table, 1):
        messages = row.get("messages") or [*(row.get("prompt") or []), *(row.get("completion") or [])]
        if not messages or not isinstance(messages[0], dict):
            return None
        try:
            tokenizer.apply_chat_template(messages, tokenize=False, chat_template=template, **row_template_kwargs(row))
        except TEMPLATE_ERRORS as error:  # boundary: a chat template is foreign code
            return Problem(
                f"The chat format refuses example {number}: {shorten(str(error), 160).rstrip('.')}.",
                advice="Mend it, choose another chat format, or leave such rows out (drop: refused).",
                reason="refused_row",
            )
    return None


def row_template_kwargs(row: Row) -> TemplateKwargs:
    """What the chat template gets from a row beside the messages, as TRL passes it."""
    tools = row.get("tools")
    return {"tools": json.loads(tools) if isinstance(tools, str) else tools, **(row.get("chat_template_kwargs") or {})}
