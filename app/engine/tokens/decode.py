"""Decoding of prepared rows and batches into text that a person can read, token by token."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, NotRequired, TypedDict

from app.engine.job import Job
from app.engine.model.tokenizer import special_token_ids
from app.engine.preview import trainer_capture
from app.engine.tokens.tokenized_examples import (
    IGNORE_INDEX,
    BatchRow,
    TokenizedText,
    batch_rows,
    collapse_image_tokens,
)

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

MAX_TOKENS = 50_000  # of one text sent to the page
_DECODE_OPTIONS = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}


class Token(TypedDict):
    """A token for the page. cut: it lies beyond the maximum length. begins: a packed document begins here. count: of
    the image tokens that it stands for."""

    text: str
    id: int
    trained: bool
    special: bool
    cut: NotRequired[bool]
    begins: NotRequired[bool]
    count: NotRequired[int]


class DecodedText(TypedDict):
    """A text as tokens. cut: how many at the end lie beyond the maximum length; length counts the others."""

    tokens: list[Token]
    length: int
    cut: int


class DecodedRow(TypedDict):
    """A row of a batch, split at its document boundaries, as a packed row holds several. padding: a count of tokens.
    name: which of several completions it is."""

    documents: list[DecodedText]
    padding: int
    name: NotRequired[str]


class DecodedBatch(TypedDict):
    """A batch. tokens: all positions that are computed. padding: the share of them that is padding."""

    rows: list[DecodedRow]
    tokens: int
    padding: float


def decode_first_rows(job: Job) -> list[DecodedText]:
    """The first rows as tokens; of several completions the first."""
    trainer, examples = trainer_capture.prepare_examples(job)
    return [decode_text(trainer.processing_class, example.texts[0]) for example in examples]


def decode_batches(job: Job, count: int) -> list[DecodedBatch]:
    """The first batches for the page; padding is left out and counted."""
    return [decode_batch(job, batch) for batch in trainer_capture.first_batches(job, count)]


def decode_batch(job: Job, batch: dict[str, Tensor], boundaries: list[list[int]] | None = None) -> DecodedBatch:
    """A batch of tensors for the page.

    boundaries: where documents begin in each row, and the end, where the batch itself does not say.
    """
    rows = batch_rows(batch, job.method.batch_sides, job.tokenizer.pad_token_id)
    if boundaries:
        rows = [replace(row, boundaries=own) for row, own in zip(rows, boundaries, strict=True)]
    decoded = [_decode_documents(job.tokenizer, row, job.image_token_id) for row in rows]
    positions = sum(len(row.attention_mask) for row in rows)
    padding = sum(row["padding"] for row in decoded) / positions
    return {"rows": decoded, "tokens": positions, "padding": round(padding, 4)}


def _decode_documents(
    tokenizer: PreTrainedTokenizerBase, row: BatchRow, image_token_id: int | None = None
) -> DecodedRow:
    documents = []
    for start, end in pairwise(row.boundaries):
        positions = [i for i in range(start, end) if row.attention_mask[i]]
        text = TokenizedText([row.text.token_ids[i] for i in positions], [row.text.labels[i] for i in positions])
        text = collapse_image_tokens(text, image_token_id)
        documents.append(label_image_tokens(decode_text(tokenizer, text), text))
    decoded: DecodedRow = {"documents": documents, "padding": row.attention_mask.count(False)}
    if row.text.name:
        decoded["name"] = row.text.name
    return decoded


def decode_text(
    tokenizer: PreTrainedTokenizerBase, text: TokenizedText, cut: int = 0, max_tokens: int = MAX_TOKENS
) -> DecodedText:
    """A text as tokens. Its first token is never trained: no token stands before it to predict it from.

    cut: how many tokens at the end lie beyond the maximum length; `length` counts the others. max_tokens: decode no
    more than these."""
    special = special_token_ids(tokenizer)
    end = len(text.token_ids) - cut
    texts = token_texts(tokenizer, text.token_ids[:max_tokens])
    tokens: list[Token] = [
        {
            "text": token_text,
            "id": token_id,
            "trained": 0 < position < end and label != IGNORE_INDEX,
            "special": token_id in special,
        }
        for position, (token_text, token_id, label) in enumerate(zip(texts, text.token_ids, text.labels, strict=False))
    ]
    for token in tokens[end:]:
        token["cut"] = True
    collapsed = sum(count - 1 for position, count in text.image_token_counts.items() if position < end)
    return {"tokens": tokens, "length": end + collapsed, "cut": cut}


def label_image_tokens(row: DecodedText, text: TokenizedText) -> DecodedText:
    """The decoded text, where the one token of a collapsed image says what it stands for."""
    for position, count in text.image_token_counts.items():
        if position < len(row["tokens"]):
            token = row["tokens"][position]
            token["text"], token["special"], token["count"] = f"[picture: {count} tokens]", True, count
    return row


def token_texts(tokenizer: PreTrainedTokenizerBase, token_ids: list[int]) -> list[str]:
    """The text of each token; a character made of several tokens is shown at the last of them."""
    if not token_ids:
        return []
    distinct_ids = list(set(token_ids))
    decoded = tokenizer.batch_decode([[token_id] for token_id in distinct_ids], **_DECODE_OPTIONS)
    text_by_id = dict(zip(distinct_ids, map(str, decoded), strict=True))
    for token_id, name in zip(distinct_ids, tokenizer.convert_ids_to_tokens(distinct_ids), strict=True):
        if name.startswith("▁") and not text_by_id[token_id].startswith(" "):
            text_by_id[token_id] = " " + text_by_id[token_id]  # decoding one token alone drops the space before a word
    texts, pending = [], []
    for token_id in token_ids:
        pending.append(token_id)
        text = text_by_id[token_id] if len(pending) == 1 else str(tokenizer.decode(pending, **_DECODE_OPTIONS))
        is_complete = not text.endswith("\ufffd") or len(pending) > 4
        texts.append(text if is_complete else "")
        pending = [] if is_complete else pending
    return texts
