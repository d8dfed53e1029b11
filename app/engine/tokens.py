"""Tokens: the prepared rows and batches of a trainer that was stopped before training, as text a person can read.

Every TRL trainer prepares its data before it calls `super().__init__`, and a class that stands there can keep what it
was given. So nothing here decides what is learned: it shows what the trainer decided. Only two private facts of TRL are
used, the base class `_BaseTrainer` and that order; tests/test_equality.py guards both.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate, islice, pairwise
from typing import Any

from app.engine.job import Job

SHOWN = 50_000  # tokens of one answer to the page


class Captured(Exception):
    """Raised instead of running the training loop's constructor."""


def stopped(trainer: type) -> type:
    """The trainer's class, stopped where its data is ready: rows at once, without order or batches."""
    from trl.trainer.base_trainer import _BaseTrainer

    class Stop(_BaseTrainer):
        def __init__(self, *args: Any, **kwargs: Any):
            self.__dict__["captured"] = kwargs
            raise Captured

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        try:
            trainer.__init__(self, *args, **kwargs)
        except Captured:
            self.train_dataset, self.args = self.captured["train_dataset"], self.captured["args"]
            self.processing_class = self.captured["processing_class"]

    return type(f"Stopped{trainer.__name__}", (trainer, Stop), {"__init__": __init__})


def weightless(trainer: type) -> type:
    """The whole trainer on a model without weights: its loader gives the very batches, in the very order."""
    return type(f"Weightless{trainer.__name__}", (trainer,),
                {"_move_model_to_device": lambda *_: None, "_send_telemetry": lambda _: None})  # fmt: skip


def keeping(shape: Callable[[type], type]) -> Callable[[type], type]:
    """The shape, on a trainer that keeps its rows as they are before anything is cut off or packed, as `whole`.

    TRL takes rows that are tokens already as they are, so it prepares in two strides what it would in one.
    """

    def kept(trainer: type) -> type:
        shaped = shape(trainer)

        def prepare(self: Any, dataset: Any, tokenizer: Any, args: Any, packing: bool, form: Any, name: str) -> Any:
            if not hasattr(dataset, "add_column") or is_stream(dataset):
                return shaped._prepare_dataset(self, dataset, tokenizer, args, packing, form, name)
            endless = copy.copy(args)
            endless.max_length = None
            whole = shaped._prepare_dataset(self, dataset, tokenizer, endless, False, form, name)
            self.whole = whole.add_column("row", list(range(len(whole))))
            return shaped._prepare_dataset(self, self.whole, tokenizer, args, packing, None, name)

        return type(shaped.__name__, (shaped,), {"_prepare_dataset": prepare, "whole": None})

    return kept


def is_stream(dataset: Any) -> bool:
    from datasets import IterableDataset

    return isinstance(dataset, IterableDataset)


@dataclass(frozen=True)
class Part:
    """A prepared example: its tokens, which of them are labels, and its row in the trainer's `whole`, where that is known."""

    ids: list[int]
    labels: list[int]
    row: int | None = None


def rows(job: Job) -> list[dict[str, Any]]:
    """The first rows as tokens: [{"tokens": [{"text", "id", "trained", "special"}], "length"}]."""
    trainer, parts = prepared(job)
    return [row_tokens(trainer.processing_class, part.ids, part.labels) for part in parts]


def prepared(job: Job) -> tuple[Any, list[Part]]:
    """The stopped trainer and its first examples, in the order of the file; of packed rows, the documents in them."""
    job.preview, job.shape = True, keeping(stopped)
    trainer = job.method.build(job)
    count = job.rows or 50
    if "input_ids" not in (trainer.train_dataset.column_names or next(iter(trainer.train_dataset))):
        return trainer, prompts(trainer, count)
    rows_of = places(job, trainer)
    found = (part for row in iter(trainer.train_dataset) for part in parts_of(row))
    return trainer, [
        replace(part, row=rows_of.get(tuple(part.ids)) if part.row is None else part.row)
        for part in islice(found, count)
    ]


def places(job: Job, trainer: Any) -> dict[tuple[int, ...], int]:
    """Packing forgets which row a document was; where it only cuts the end off, the tokens tell."""
    if trainer.whole is None or not packs_whole(job):
        return {}
    limit = job.knobs.max_length
    return {tuple(ids[:limit]): number for number, ids in enumerate(trainer.whole["input_ids"])}


def packs_whole(job: Job) -> bool:
    return getattr(job.knobs, "packing", False) and getattr(job.knobs, "packing_strategy", "wrapped") == "bfd"


def parts_of(row: dict[str, Any]) -> list[Part]:
    """The documents of a prepared row: a packed one holds several."""
    ends = list(accumulate(row.get("seq_lengths") or [len(row["input_ids"])]))
    return [Part(row["input_ids"][start:end], row["labels"][start:end], row.get("row")) for start, end in pairwise([0, *ends])]  # fmt: skip


def prompts(trainer: Any, count: int) -> list[Part]:
    """A method that writes its own answers learns nothing of the prompt; its rows are what the model is asked."""
    asked = [row["prompt"] for row in islice(iter(trainer.train_dataset), count)]
    if not hasattr(trainer, "chat_template_kwargs"):
        trainer.chat_template_kwargs = {}
    ids, *_ = trainer._tokenize_prompts(asked)
    return [Part(one, [-100] * len(one), number) for number, one in enumerate(ids)]


def batches(job: Job, count: int) -> list[dict[str, Any]]:
    """The first batches that training will receive, as tensors by name. Only for methods whose rows are prepared ahead."""
    from transformers import set_seed

    job.preview, job.shape = True, weightless
    trainer = job.method.build(job)
    set_seed(trainer.args.seed)  # as the loop does before it draws its first batch
    return list(islice(iter(trainer.get_train_dataloader()), count))


def batch_tokens(job: Job, count: int) -> list[dict[str, Any]]:
    """Batches for the page: rows of documents, each a list of tokens, padding left out and counted."""
    return [shown_batch(job.tokenizer, batch) for batch in batches(job, count)]


def shown_batch(tokenizer: Any, batch: dict[str, Any]) -> dict[str, Any]:
    """tokens: all positions that are computed. padding: the share of them that holds nothing."""
    rows, positions = documents(tokenizer, batch), batch["input_ids"].numel()
    return {"rows": rows, "tokens": positions, "padding": round(sum(row["padding"] for row in rows) / positions, 4)}


def documents(tokenizer: Any, batch: dict[str, Any]) -> list[dict[str, Any]]:
    """Each batch row cut at its document boundaries: a packed row holds several."""
    found = []
    for index, (ids, labels) in enumerate(zip(batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True)):
        if "attention_mask" in batch:
            kept = [bool(one) for one in batch["attention_mask"][index].tolist()]
            cuts = [0, len(ids)]
        else:
            kept = [True] * len(ids)
            cuts = [i for i, position in enumerate(batch["position_ids"][index].tolist()) if position == 0] + [len(ids)]
        parts = []
        for start, end in pairwise(cuts):
            part = [i for i in range(start, end) if kept[i]]
            parts.append(row_tokens(tokenizer, [ids[i] for i in part], [labels[i] for i in part]))
        found.append({"documents": parts, "padding": kept.count(False)})
    return found


def row_tokens(tokenizer: Any, ids: list[int], labels: list[int], cut: int = 0, most: int = SHOWN) -> dict[str, Any]:
    """Tokens with their text. A row's first token is never trained: nothing stands before it to predict it from.

    cut: so many at the end are beyond the maximum length; length counts the others.
    """
    special = special_ids(tokenizer)
    end = len(ids) - cut
    tokens = [
        {"text": text, "id": one, "trained": 0 < place < end and label != -100, "special": one in special}
        for place, (text, one, label) in enumerate(zip(pieces(tokenizer, ids[:most]), ids, labels, strict=False))
    ]
    for token in tokens[end:]:
        token["cut"] = True
    return {"tokens": tokens, "length": end, "cut": cut}


def special_ids(tokenizer: Any) -> set[int]:
    """Of the tokens with a role, such as the end, and of those that a chat template writes between turns."""
    return {
        *tokenizer.all_special_ids,
        *(one for one, token in tokenizer.added_tokens_decoder.items() if token.special),
    }


def pieces(tokenizer: Any, ids: list[int]) -> list[str]:
    """The text of each token; a character made of several tokens shows with the last of them."""
    different = list(set(ids))
    alone = dict(zip(different, tokenizer.batch_decode([[one] for one in different], **AS_IT_IS), strict=True))
    for one, name in zip(different, tokenizer.convert_ids_to_tokens(different), strict=True):
        if name.startswith("▁") and not alone[one].startswith(" "):
            alone[one] = " " + alone[one]  # these tokenizers drop the space before a word that stands alone
    texts, pending = [], []
    for one in ids:
        pending.append(one)
        text = alone[one] if len(pending) == 1 else tokenizer.decode(pending, **AS_IT_IS)
        whole = not text.endswith("\ufffd") or len(pending) > 4
        texts.append(text if whole else "")
        pending = [] if whole else pending
    return texts


AS_IT_IS = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
