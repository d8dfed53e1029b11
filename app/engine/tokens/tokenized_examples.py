"""Tokenized examples: a trainer's own rows and batches as texts of which some tokens are trained."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate, groupby, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy import bool_, int64
    from numpy.typing import NDArray

    IntArray = NDArray[int64]
    BoolArray = NDArray[bool_]

    from datasets import Dataset
    from torch import Tensor

    from app.data.fields import Row

IGNORE_INDEX = -100  # the label of a token that is read and not trained, as PyTorch's cross entropy ignores it


@dataclass(frozen=True)
class TokenizedText:
    """One text as the model reads it.

    labels: IGNORE_INDEX where a token is only read. name: which of several completions it is (`chosen`, `rejected`, …),
    or empty. image_token_counts: {position: number of tokens that the image there has for the model}, after
    `collapse_image_tokens`."""

    token_ids: list[int]
    labels: list[int]
    name: str = ""
    image_token_counts: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """What is trained from one row: one text, or several completions whose first `shared_tokens`, the prompt, are the
    same.

    row_index: the row's position among the rows that the trainer got, if known. raw_row: the row's own columns, where
    the trainer kept them. truncated_tokens: how many tokens at the end lie beyond the maximum length, where that is
    known of one example alone. left_out_reason: why the trainer leaves it out; empty when it does not. document_starts:
    positions where documents begin in a row of texts joined end to end."""

    texts: list[TokenizedText]
    shared_tokens: int = 0
    row_index: int | None = None
    raw_row: Row = field(default_factory=dict)
    truncated_tokens: int = 0
    left_out_reason: str = ""
    document_starts: tuple[int, ...] = ()


@dataclass(frozen=True)
class BatchRow:
    """One row of a batch. attention_mask: False where it is padding. boundaries: where documents begin, and the end."""

    text: TokenizedText
    attention_mask: list[bool]
    boundaries: list[int]


# -- rows ---------------------------------------------------------------------------------------------------------


def examples_of_row(row: Row, pad: int | None = None) -> list[Example]:
    """The examples in a prepared row: one, or the documents of a packed row. pad: the id of the padding token."""
    if "input_ids" in row:
        return _packed_documents(row)
    if "chosen_input_ids" in row:  # CPO and ORPO keep labels
        texts = [
            TokenizedText(row[f"{side}_input_ids"], row[f"{side}_labels"], side) for side in ("chosen", "rejected")
        ]
        chosen_labels = _with_prompt_labels(texts[0].labels, row.get("prompt_labels"))
        texts[0] = TokenizedText(texts[0].token_ids, chosen_labels, "chosen")
        shared_tokens = min(
            common_prefix_length(texts), len(row["prompt_input_ids"])
        )  # completions may also begin alike
        return [Example(texts, shared_tokens, row_index=row.get("row"), raw_row=row)]
    if "prompt_ids" in row:
        prompt_ids = row["prompt_ids"]
        texts = [
            _text_after_prompt(prompt_ids, row[f"{name}_ids"], _side_name(name, row)) for name in completion_names(row)
        ]
        return [Example(texts, len(prompt_ids), raw_row=row)]
    texts = [_scored_text(row[f"{side}_ids"], side, pad) for side in ("chosen", "rejected")]
    return [Example(texts, common_prefix_length(texts), raw_row=row)]


def _with_prompt_labels(labels: list[int], prompt_labels: list[int] | None) -> list[int]:
    """The chosen completion's labels, with the prompt's where a loss trains on both."""
    trained = [label for label in prompt_labels or () if label != IGNORE_INDEX]
    return trained + labels[len(trained) :]


def completion_names(row: Row) -> list[str]:
    """Which completions stand beside the prompt, by the row's columns."""
    return [name for name in ("chosen", "rejected", "reference", "completion") if f"{name}_ids" in row]


def _side_name(name: str, row: Row) -> str:
    """The name to show: a completion with a like or dislike is named by that."""
    return ("liked" if row["label"] else "disliked") if name == "completion" and "label" in row else name


def _text_after_prompt(prompt_ids: list[int], completion_ids: list[int], name: str) -> TokenizedText:
    return TokenizedText(prompt_ids + completion_ids, [IGNORE_INDEX] * len(prompt_ids) + completion_ids, name)


def _scored_text(token_ids: list[int], name: str, pad: int | None) -> TokenizedText:
    """A text that gets one score, read at its last token that is not `pad`: transformers finds the end of a text so,
    also where the tokenizer pads with the token that ends a text."""
    last = max((position for position, token_id in enumerate(token_ids) if token_id != pad), default=len(token_ids) - 1)
    labels = [token_id if position == last else IGNORE_INDEX for position, token_id in enumerate(token_ids)]
    return TokenizedText(token_ids, labels, name)


def common_prefix_length(texts: list[TokenizedText]) -> int:
    """How many tokens all texts begin with alike; never including the last token of the shortest text."""
    shortest = min(len(text.token_ids) for text in texts) - 1
    return next((i for i in range(shortest) if len({text.token_ids[i] for text in texts}) > 1), max(0, shortest))


def collapse_image_tokens(text: TokenizedText, image_token_id: int | None) -> TokenizedText:
    """The text with one token for each image, which the model reads as many equal ones.

    image_token_id: that token, of a vision model; None for other models.
    """
    if image_token_id is None or image_token_id not in text.token_ids:
        return text
    token_ids: list[int] = []
    labels: list[int] = []
    image_token_counts: dict[int, int] = {}
    for token_id, run in groupby(zip(text.token_ids, text.labels, strict=True), key=lambda pair: pair[0]):
        run_labels = [label for _, label in run]
        if token_id == image_token_id:
            image_token_counts[len(token_ids)], run_labels = len(run_labels), run_labels[:1]
        token_ids += [token_id] * len(run_labels)
        labels += run_labels
    return TokenizedText(token_ids, labels, text.name, image_token_counts)


def _packed_documents(row: Row) -> list[Example]:
    ends = list(accumulate(row.get("seq_lengths") or [len(row["input_ids"])]))
    labels = row.get("labels") or _labels_from_mask(row["input_ids"], row.get("completion_mask"))
    return [
        Example([TokenizedText(row["input_ids"][start:end], labels[start:end])], row_index=row.get("row"))
        for start, end in pairwise([0, *ends])
    ]


def _labels_from_mask(token_ids: list[int], mask: list[int] | None) -> list[int]:
    """Labels of a row that says by a loss mask what is trained; without a mask every token is."""
    if mask is None:
        return token_ids
    return [token_id if is_trained else IGNORE_INDEX for token_id, is_trained in zip(token_ids, mask, strict=True)]


# -- tables -------------------------------------------------------------------------------------------------------


def token_counts(table: Dataset) -> tuple[IntArray, IntArray] | None:
    """(lengths, trained): numpy arrays with a number of tokens for each text of a prepared table; None when it holds no
    text.

    Counted before batches truncate anything. A packed row counts as one text.
    """
    import numpy

    if table._indices is not None:  # a filtered table still holds the rows that were filtered out
        table = table.flatten_indices()
    names = table.column_names
    if "labels" in names:
        return _list_lengths(table, "labels"), _count_not_equal(table, "labels", IGNORE_INDEX)
    if "completion_mask" in names and "input_ids" in names:
        return _list_lengths(table, "input_ids"), _count_not_equal(table, "completion_mask", 0)
    if "chosen_labels" in names:
        label_columns = ("chosen_labels", "rejected_labels")
        trained = [_count_not_equal(table, column, IGNORE_INDEX) for column in label_columns]
        if "prompt_labels" in names:
            trained[0] = trained[0] + _list_lengths(table, "prompt_labels")
        lengths = numpy.concatenate([_list_lengths(table, column) for column in label_columns])
        return lengths, numpy.concatenate(trained)
    columns = tuple(f"{name}_ids" for name in completion_names(dict.fromkeys(names)))
    if not columns:
        return None
    lengths = numpy.concatenate([_list_lengths(table, column) for column in columns])
    if "prompt_ids" not in names:
        return lengths, numpy.ones_like(lengths)  # each text gets one score
    return lengths + numpy.tile(_list_lengths(table, "prompt_ids"), len(columns)), lengths


def _list_lengths(table: Dataset, column: str) -> IntArray:
    """The length of each list in a column."""
    import pyarrow.compute as pc

    return pc.list_value_length(table.data.column(column)).to_numpy()


def _count_not_equal(table: Dataset, column: str, ignored: int) -> IntArray:
    """How many entries of each list in a column differ from `ignored`."""
    import numpy

    lists = table.data.column(column).combine_chunks()
    running_total = numpy.concatenate([[0], numpy.cumsum(lists.values.to_numpy() != ignored)])
    offsets = lists.offsets.to_numpy()
    return running_total[offsets[1:]] - running_total[offsets[:-1]]


# -- batches ------------------------------------------------------------------------------------------------------


def batch_rows(batch: dict[str, Tensor], sides: tuple[str, ...] = (), pad: int | None = None) -> list[BatchRow]:
    """The rows of a batch of tensors.

    sides: the names of completions that a method stacks one after another in a batch, in this order. pad: the id of the
    padding token.
    """
    if "chosen_input_ids" in batch:
        return [row for side in ("chosen", "rejected") for row in _rows_of_side(batch, side, f"{side}_", pad)]
    count = len(batch["input_ids"])
    names = [sides[i * len(sides) // count] if sides else "" for i in range(count)]
    if "label" in batch:
        names = ["liked" if liked else "disliked" for liked in batch["label"].tolist()]
    return [_with_side_name(row, name) for name, row in zip(names, _rows_of_side(batch, "", "", pad), strict=True)]


def _rows_of_side(batch: dict[str, Tensor], name: str, prefix: str, pad: int | None) -> list[BatchRow]:
    input_ids = batch[f"{prefix}input_ids"].tolist()
    mask = batch.get(f"{prefix}attention_mask")
    attention_masks = mask.bool().tolist() if mask is not None else [[True] * len(row) for row in input_ids]
    labels = _loss_labels(batch, prefix, input_ids, attention_masks, pad)
    return [
        BatchRow(
            TokenizedText(token_ids, row_labels, name),
            attention_mask,
            _document_boundaries(batch, index, len(attention_mask)),
        )
        for index, (token_ids, row_labels, attention_mask) in enumerate(
            zip(input_ids, labels, attention_masks, strict=True)
        )
    ]


def _loss_labels(
    batch: dict[str, Tensor],
    prefix: str,
    input_ids: list[list[int]],
    attention_masks: list[list[bool]],
    pad: int | None,
) -> list[list[int]]:
    """Labels as the loss reads them: from labels, from a completion mask or, where a text gets one score, at the token
    where the score is read."""
    if f"{prefix}labels" in batch:
        labels = batch[f"{prefix}labels"].tolist()
        if prefix != "chosen_" or "prompt_labels" not in batch:
            return labels
        prompt_labels = batch["prompt_labels"].tolist()
        return [_with_prompt_labels(row, prompt) for row, prompt in zip(labels, prompt_labels, strict=True)]
    if "completion_mask" in batch:
        masks = batch["completion_mask"].bool().tolist()
        return [_labels_from_mask(row, mask) for row, mask in zip(input_ids, masks, strict=True)]
    unpadded = [
        [token_id for token_id, is_token in zip(row, mask, strict=True) if is_token]
        for row, mask in zip(input_ids, attention_masks, strict=True)
    ]
    return [
        _scored_text(token_ids, "", pad).labels + [IGNORE_INDEX] * (len(row) - len(token_ids))
        for token_ids, row in zip(unpadded, input_ids, strict=True)
    ]


def _document_boundaries(batch: dict[str, Tensor], index: int, length: int) -> list[int]:
    """Where documents begin in a row of a batch, and its end. A batch without padding restarts its position ids
    there."""
    if "attention_mask" in batch or "position_ids" not in batch:
        return [0, length]
    return [i for i, position in enumerate(batch["position_ids"][index].tolist()) if position == 0] + [length]


def _with_side_name(row: BatchRow, name: str) -> BatchRow:
    if not name:
        return row
    return BatchRow(TokenizedText(row.text.token_ids, row.text.labels, name), row.attention_mask, row.boundaries)


def count_positions(batch: Mapping[str, Tensor]) -> int:
    """Positions of all texts in a batch, padding included, without texts that are only compared with. 0 for rows whose
    completions are still to be generated."""
    columns = ("input_ids", "chosen_input_ids", "rejected_input_ids")
    return sum(batch[column].numel() for column in columns if column in batch) if isinstance(batch, dict) else 0
