"""Tokens: the prepared rows and batches of a trainer that was stopped before training, as text a person can read.

Every TRL trainer prepares its data before it calls `super().__init__`, and a class that stands there can keep what it
was given. So nothing here decides what is learned: it shows what the trainer decided. Only two private facts of TRL are
used, the base class `_BaseTrainer` and that order; tests/test_equality.py guards both.
"""

from __future__ import annotations

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


def rows(job: Job) -> list[dict[str, Any]]:
    """The first rows as tokens: [{"tokens": [{"text", "id", "trained", "special"}]}]."""
    job.preview, job.shape = True, stopped
    trainer = job.method.build(job)
    if "input_ids" not in (trainer.train_dataset.column_names or next(iter(trainer.train_dataset))):
        return prompts(job, trainer)
    found = (part for row in iter(trainer.train_dataset) for part in parts_of(row))
    return [row_tokens(job.tokenizer, ids, labels) for ids, labels in islice(found, job.rows or 50)]


def parts_of(row: dict[str, Any]) -> list[tuple[list[int], list[int]]]:
    """(ids, labels) of each document in a prepared row: a packed one holds several."""
    ends = list(accumulate(row.get("seq_lengths") or [len(row["input_ids"])]))
    return [(row["input_ids"][start:end], row["labels"][start:end]) for start, end in pairwise([0, *ends])]


def prompts(job: Job, trainer: Any) -> list[dict[str, Any]]:
    """A method that writes its own answers learns nothing of the prompt; its rows are what the model is asked."""
    asked = [row["prompt"] for row in islice(iter(trainer.train_dataset), job.rows or 50)]
    if not hasattr(trainer, "chat_template_kwargs"):
        trainer.chat_template_kwargs = {}
    ids, *_ = trainer._tokenize_prompts(asked)
    return [row_tokens(job.tokenizer, one, [-100] * len(one)) for one in ids]


def batches(job: Job, count: int) -> list[dict[str, Any]]:
    """The first batches that training will receive, as tensors by name. Only for methods whose rows are prepared ahead."""
    from transformers import set_seed

    job.preview, job.shape = True, weightless
    trainer = job.method.build(job)
    set_seed(trainer.args.seed)  # as the loop does before it draws its first batch
    return list(islice(iter(trainer.get_train_dataloader()), count))


def batch_tokens(job: Job, count: int) -> list[dict[str, Any]]:
    """Batches for the page: rows of documents, each a list of tokens, padding left out and counted."""
    return [{"rows": documents(job.tokenizer, batch)} for batch in batches(job, count)]


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


def row_tokens(tokenizer: Any, ids: list[int], labels: list[int]) -> dict[str, Any]:
    """Tokens with their text. A row's first token is never trained: nothing stands before it to predict it from."""
    special = special_ids(tokenizer)
    texts = pieces(tokenizer, ids[:SHOWN])
    tokens = [
        {"text": text, "id": one, "trained": place > 0 and label != -100, "special": one in special}
        for place, (text, one, label) in enumerate(zip(texts, ids, labels, strict=False))
    ]
    return {"tokens": tokens, "length": len(ids)}


def special_ids(tokenizer: Any) -> set[int]:
    """Of the tokens with a role, such as the end, and of those that a chat template writes between turns."""
    return {
        *tokenizer.all_special_ids,
        *(one for one, token in tokenizer.added_tokens_decoder.items() if token.special),
    }


def pieces(tokenizer: Any, ids: list[int]) -> list[str]:
    """The text of each token; a character made of several tokens shows with the last of them."""
    texts, pending = [], []
    for one in ids:
        pending.append(one)
        text = tokenizer.decode(pending, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        whole = not text.endswith("\ufffd") or len(pending) > 4
        texts.append(text if whole else "")
        pending = [] if whole else pending
    return texts
