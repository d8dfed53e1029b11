"""Prepared: a trainer's own rows and batches, read by their columns as texts of which some tokens are learned."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate, groupby, pairwise
from typing import Any

UNLEARNED = -100  # the label of a token that is only read


@dataclass(frozen=True)
class Text:
    """One text as the model reads it. labels: UNLEARNED where a token is only read. name: which of several answers it is.
    pictures: {place: how many tokens the one that stands there is to the model}, where it was folded."""

    ids: list[int]
    labels: list[int]
    name: str = ""
    pictures: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Example:
    """What is learned from one row: one text, or several answers whose first `shared` tokens, the prompt, are the same.

    row: its place among the rows as the trainer got them. raw: the row's own columns, where the trainer kept them. cut: so
    many tokens at the end are beyond the maximum length, where that is known of an example by itself.
    """

    texts: list[Text]
    shared: int = 0
    row: int | None = None
    raw: dict[str, Any] = field(default_factory=dict)
    cut: int = 0
    why: str = ""
    begins: tuple[int, ...] = ()


@dataclass(frozen=True)
class BatchRow:
    """One row of a batch. kept: False where it is padding. cuts: where documents begin, and the end."""

    text: Text
    kept: list[bool]
    cuts: list[int]


# -- rows ---------------------------------------------------------------------------------------------------------


def examples(row: dict[str, Any], pad: int | None = None) -> list[Example]:
    """The examples in a prepared row: one, or the documents of a packed one. pad: the token that fills batches up."""
    if "input_ids" in row:
        return documents(row)
    if "chosen_input_ids" in row:  # CPO and ORPO keep labels
        texts = [Text(row[f"{side}_input_ids"], row[f"{side}_labels"], side) for side in ("chosen", "rejected")]
        texts[0] = Text(texts[0].ids, imitated(texts[0].labels, row.get("prompt_labels")), "chosen")
        shared = min(alike(texts), len(row["prompt_input_ids"]))  # answers may also begin alike
        return [Example(texts, shared, row=row.get("row"), raw=row)]
    if "prompt_ids" in row:
        prompt = row["prompt_ids"]
        return [Example([after(prompt, row[f"{name}_ids"], side_of(name, row)) for name in answers(row)], len(prompt), raw=row)]  # fmt: skip
    texts = [scored(row[f"{side}_ids"], side, pad) for side in ("chosen", "rejected")]
    return [Example(texts, alike(texts), raw=row)]


def imitated(labels: list[int], prompt: list[int] | None) -> list[int]:
    """The better answer's labels, with the prompt's where a loss imitates both."""
    learned = [one for one in prompt or () if one != UNLEARNED]
    return learned + labels[len(learned) :]


def answers(row: dict[str, Any]) -> list[str]:
    """Which answers stand beside the prompt."""
    return [name for name in ("chosen", "rejected", "reference", "completion") if f"{name}_ids" in row]


def side_of(name: str, row: dict[str, Any]) -> str:
    """An answer with a thumb is called by it."""
    return ("liked" if row["label"] else "disliked") if name == "completion" and "label" in row else name


def after(prompt: list[int], answer: list[int], name: str) -> Text:
    return Text(prompt + answer, [UNLEARNED] * len(prompt) + answer, name)


def scored(ids: list[int], name: str, pad: int | None) -> Text:
    """A text that gets one score, read at its last token that is not `pad`: so transformers finds where a text ends, also
    where a tokenizer fills up with the very token that ends it."""
    last = max((place for place, one in enumerate(ids) if one != pad), default=len(ids) - 1)
    return Text(ids, [one if place == last else UNLEARNED for place, one in enumerate(ids)], name)


def alike(texts: list[Text]) -> int:
    """How many tokens all texts begin with alike; the last of the shortest is never among them."""
    shortest = min(len(text.ids) for text in texts) - 1
    return next((i for i in range(shortest) if len({text.ids[i] for text in texts}) > 1), max(0, shortest))


def folded(text: Text, picture: int | None) -> Text:
    """One token for each picture, which is many of the same to the model. picture: that token, of a model that sees."""
    if picture is None or picture not in text.ids:
        return text
    ids, labels, found = [], [], {}
    for one, run in groupby(zip(text.ids, text.labels, strict=True), key=lambda both: both[0]):
        several = [label for _, label in run]
        if one == picture:
            found[len(ids)], several = len(several), several[:1]
        ids += [one] * len(several)
        labels += several
    return Text(ids, labels, text.name, found)


def documents(row: dict[str, Any]) -> list[Example]:
    ends = list(accumulate(row.get("seq_lengths") or [len(row["input_ids"])]))
    labels = row.get("labels") or masked(row["input_ids"], row.get("completion_mask"))
    return [
        Example([Text(row["input_ids"][start:end], labels[start:end])], row=row.get("row"))
        for start, end in pairwise([0, *ends])
    ]


def masked(ids: list[int], mask: list[int] | None) -> list[int]:
    """Labels of a row that tells by a mask what is learned, or that is learned whole."""
    return ids if mask is None else [one if learned else UNLEARNED for one, learned in zip(ids, mask, strict=True)]


def measured(table: Any) -> tuple[Any, Any] | None:
    """(lengths, learned): numpy arrays with one number of tokens for each text of a prepared table; None when it holds none.

    Before batches cut anything off. A packed row counts as one text.
    """
    import numpy
    import pyarrow.compute as pc

    if table._indices is not None:  # a filtered table still holds what was left out
        table = table.flatten_indices()

    def size(name: str) -> Any:
        return pc.list_value_length(table.data.column(name)).to_numpy()

    def trained(name: str, unlearned: int = UNLEARNED) -> Any:
        column = table.data.column(name).combine_chunks()
        ends = numpy.concatenate([[0], numpy.cumsum(column.values.to_numpy() != unlearned)])
        offsets = column.offsets.to_numpy()
        return ends[offsets[1:]] - ends[offsets[:-1]]

    names = table.column_names
    if "labels" in names:
        return size("labels"), trained("labels")
    if "completion_mask" in names and "input_ids" in names:
        return size("input_ids"), trained("completion_mask", unlearned=0)
    if "chosen_labels" in names:
        sides = ("chosen_labels", "rejected_labels")
        learned = [trained(one) for one in sides]
        if "prompt_labels" in names:
            learned[0] = learned[0] + size("prompt_labels")
        return numpy.concatenate([size(one) for one in sides]), numpy.concatenate(learned)
    sides = [f"{one}_ids" for one in answers(dict.fromkeys(names))]
    if not sides:
        return None
    learned = numpy.concatenate([size(one) for one in sides])
    if "prompt_ids" not in names:
        return learned, numpy.ones_like(learned)  # one score a text
    return learned + numpy.tile(size("prompt_ids"), len(sides)), learned


# -- batches ------------------------------------------------------------------------------------------------------


def batch_rows(batch: dict[str, Any], sides: tuple[str, ...] = (), pad: int | None = None) -> list[BatchRow]:
    """The rows of a batch of tensors. sides: the names of answers that a method stacks one after another, in this order.
    pad: the token that fills it up."""
    if "chosen_input_ids" in batch:
        return [row for side in ("chosen", "rejected") for row in rows_of(batch, side, f"{side}_", pad)]
    count = len(batch["input_ids"])
    names = [sides[i * len(sides) // count] if sides else "" for i in range(count)]
    if "label" in batch:
        names = ["liked" if liked else "disliked" for liked in batch["label"].tolist()]
    return [row for name, row in zip(names, rows_of(batch, "", "", pad), strict=True) for row in [renamed(row, name)]]


def rows_of(batch: dict[str, Any], name: str, prefix: str, pad: int | None) -> list[BatchRow]:
    ids = batch[f"{prefix}input_ids"].tolist()
    mask = batch.get(f"{prefix}attention_mask")
    kept = mask.bool().tolist() if mask is not None else [[True] * len(row) for row in ids]
    labels = labels_of(batch, prefix, ids, kept, pad)
    return [BatchRow(Text(*told, name), keeps, cuts(batch, i, len(keeps))) for i, (told, keeps) in enumerate(zip(zip(ids, labels, strict=True), kept, strict=True))]  # fmt: skip


def labels_of(
    batch: dict[str, Any], prefix: str, ids: list[list[int]], kept: list[list[bool]], pad: int | None
) -> list[list[int]]:
    """As the loss reads them: labels, a mask of the answers, or, where a text gets one score, the token it is read at."""
    if f"{prefix}labels" in batch:
        labels = batch[f"{prefix}labels"].tolist()
        if prefix != "chosen_" or "prompt_labels" not in batch:
            return labels
        return [imitated(one, prompt) for one, prompt in zip(labels, batch["prompt_labels"].tolist(), strict=True)]
    if "completion_mask" in batch:
        masks = batch["completion_mask"].bool().tolist()
        return [[one if learned else UNLEARNED for one, learned in zip(*row, strict=True)] for row in zip(ids, masks, strict=True)]  # fmt: skip
    texts = [[one for one, keep in zip(*row, strict=True) if keep] for row in zip(ids, kept, strict=True)]
    return [
        scored(text, "", pad).labels + [UNLEARNED] * (len(row) - len(text))
        for text, row in zip(texts, ids, strict=True)
    ]


def cuts(batch: dict[str, Any], index: int, length: int) -> list[int]:
    if "attention_mask" in batch or "position_ids" not in batch:
        return [0, length]
    return [i for i, position in enumerate(batch["position_ids"][index].tolist()) if position == 0] + [length]


def renamed(row: BatchRow, name: str) -> BatchRow:
    return BatchRow(Text(row.text.ids, row.text.labels, name), row.kept, row.cuts) if name else row


def positions(batch: Any) -> int:
    """Of all texts in a batch, padding too; not those that a text is only compared with. Rows that are still to be written have none."""
    named = ("input_ids", "chosen_input_ids", "rejected_input_ids")
    return sum(batch[name].numel() for name in named if name in batch) if isinstance(batch, dict) else 0
