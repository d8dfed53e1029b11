"""Captured: a method's trainer, stopped where its data is ready, or whole on a model without weights.

Every TRL trainer prepares its data before it calls `super().__init__`, and a class that stands there can keep what it
was given. So nothing here decides what is learned: it shows what the trainer decided. Only two private facts of TRL are
used, the base class `_BaseTrainer` and that order; tests/test_equality.py guards both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from app.core.problems import Problem
from app.engine.datasets.row_filter import WHY
from app.engine.job import Job
from app.engine.model import vision
from app.engine.tokens import document_boundaries
from app.engine.tokens.tokenized_examples import UNLEARNED, Example, Text, examples, folded


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


def prepared(job: Job) -> tuple[Any, list[Example]]:
    """The stopped trainer and its first examples, in the order of the file; of packed rows, the documents in them."""
    job.preview, job.shape = True, stopped
    trainer = job.method.build(job)
    count = job.rows or 50
    if writes_itself(trainer):
        return trainer, prompts(trainer, count, job.picture)
    if vision.on_the_way(trainer):
        return trainer, vision.collated(job, trainer, count)
    return trainer, list(islice(in_order(job, trainer), count))


def in_order(job: Job, trainer: Any) -> Iterator[Example]:
    """All examples of a trainer's rows, those that it left out too, where it tells which."""
    pad = getattr(trainer.processing_class, "pad_token_id", None)
    made, whole = trainer.train_dataset, trainer.whole
    if whole is None or "row" not in (made.column_names or ()):
        rows_of, begins = places(job, trainer), document_boundaries.beginnings(trainer)
        for number, row in enumerate(iter(made)):
            for example in examples(row, pad):
                place = rows_of.get(tuple(example.texts[0].ids)) if example.row is None else example.row
                yield replace(example, row=place, begins=tuple(begins[number]) if begins else ())
        yield from left_out(job, whole)
        return
    kept = {row: place for place, row in enumerate(made["row"])}
    for row in iter(whole):
        yield from examples(made[kept[row["row"]]], pad) if row["row"] in kept else [without(job, row)]


def left_out(job: Job, whole: Any) -> Iterator[Example]:
    """Of rows that we masked and that were packed: those with nothing to learn."""
    for row in whole if whole is not None and "why" in whole.column_names else ():
        if row["why"]:
            yield without(job, row)


def without(job: Job, row: dict[str, Any]) -> Example:
    """A row that the trainer left out, and why."""
    ids, labels = row["input_ids"], row["labels"]
    limit = getattr(job.knobs, "max_length", None) or len(ids)
    late = any(label != UNLEARNED for label in labels)
    if "cut" in job.spec.drop and len(ids) > limit:
        return Example([Text(ids, [UNLEARNED] * len(ids))], row=row["row"], cut=len(ids) - limit, why=WHY["cut"])
    why = row.get("why") or (f"what it should learn begins only beyond the maximum length of {limit} tokens" if late else "it has nothing to learn")  # fmt: skip
    return Example([Text(ids, [UNLEARNED] * len(ids))], row=row["row"], cut=max(0, len(ids) - limit), why=why)


def writes_itself(trainer: Any) -> bool:
    """Its rows are questions: it writes the answers itself while it trains."""
    columns = trainer.train_dataset.column_names or next(iter(trainer.train_dataset))
    return not vision.on_the_way(trainer) and not any(
        name in columns for name in ("input_ids", "prompt_ids", "chosen_ids", "chosen_input_ids")
    )


def places(job: Job, trainer: Any) -> dict[tuple[int, ...], int]:
    """Packing forgets which row a document was; where it only cuts the end off, the tokens tell."""
    if trainer.whole is None or not packs_whole(job):
        return {}
    limit = job.knobs.max_length
    return {tuple(row["input_ids"][:limit]): row["row"] for row in trainer.whole if any(one != UNLEARNED for one in row["labels"])}  # fmt: skip


def packs_whole(job: Job) -> bool:
    return getattr(job.knobs, "packing", False) and getattr(job.knobs, "packing_strategy", "wrapped") == "bfd"


def prompts(trainer: Any, count: int, picture: int | None = None) -> list[Example]:
    """A method that writes its own answers learns nothing of the prompt; its rows are what the model is asked, and where a
    true answer is known, that one too: `truth(row)` of the trainer, (tokens, labels)."""
    rows = [vision.read(row) if "images" in row else row for row in islice(iter(trainer.train_dataset), count)]
    if not hasattr(trainer, "chat_template_kwargs"):  # distillation takes them up later than it is stopped
        trainer.chat_template_kwargs = getattr(trainer.args, "chat_template_kwargs", None) or {}
    found = trainer._tokenize_prompts([row["prompt"] for row in rows])
    ids = found[0] if isinstance(found, tuple) else found  # some give pictures beside the tokens
    told = {
        "chat_template_kwargs": trainer.chat_template_kwargs | with_tools(trainer)
    }  # the setup's, never a row's own
    return [asked(trainer, row, one, told, number, picture) for number, (row, one) in enumerate(zip(rows, ids, strict=True))]  # fmt: skip


def with_tools(trainer: Any) -> dict[str, Any]:
    """A trainer's own tools, which its prompts tell of."""
    return {"tools": trainer.tools} if getattr(trainer, "tools", None) else {}


def asked(trainer: Any, row: dict[str, Any], ids: list[int], told: dict[str, Any], number: int, picture: int | None) -> Example:  # fmt: skip
    if not hasattr(trainer, "truth"):
        return Example([folded(Text(ids, [UNLEARNED] * len(ids)), picture)], row=number, raw=row | told)
    answer, labels = trainer.truth(row)
    text = Text([*ids, *answer], [UNLEARNED] * len(ids) + labels)
    return Example([text], row=number, raw=row | told | {"completion": row["truth"]})


def batches(job: Job, count: int) -> list[dict[str, Any]]:
    """The first batches that training will receive, as tensors by name. Only for methods whose rows are prepared ahead."""
    return loaded(job, count)[1]


def loaded(job: Job, count: int) -> tuple[Any, list[dict[str, Any]]]:
    """(the trainer, its first batches)."""
    from transformers import set_seed

    job.preview, job.shape = True, weightless
    trainer = job.method.build(job)
    if writes_itself(trainer):
        raise Problem("This method writes its own answers, so there are no batches to show before it starts.")
    set_seed(trainer.args.seed)  # as the loop does before it draws its first batch
    return trainer, list(islice(iter(trainer.get_train_dataloader()), count))
