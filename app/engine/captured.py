"""Captured: a method's trainer, stopped where its data is ready, or whole on a model without weights.

Every TRL trainer prepares its data before it calls `super().__init__`, and a class that stands there can keep what it
was given. So nothing here decides what is learned: it shows what the trainer decided. Only two private facts of TRL are
used, the base class `_BaseTrainer` and that order; tests/test_equality.py guards both.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

from app.engine import seeing
from app.engine.job import Job
from app.engine.prepared import UNLEARNED, Example, Text, examples, folded
from app.problems import Problem


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
    if seeing.on_the_way(trainer):
        return trainer, seeing.collated(job, trainer, count)
    rows_of = places(job, trainer)
    pad = getattr(trainer.processing_class, "pad_token_id", None)
    found = (example for row in iter(trainer.train_dataset) for example in examples(row, pad))
    return trainer, [
        replace(example, row=rows_of.get(tuple(example.texts[0].ids)) if example.row is None else example.row)
        for example in islice(found, count)
    ]


def writes_itself(trainer: Any) -> bool:
    """Its rows are questions: it writes the answers itself while it trains."""
    columns = trainer.train_dataset.column_names or next(iter(trainer.train_dataset))
    return not seeing.on_the_way(trainer) and not any(
        name in columns for name in ("input_ids", "prompt_ids", "chosen_ids", "chosen_input_ids")
    )


def places(job: Job, trainer: Any) -> dict[tuple[int, ...], int]:
    """Packing forgets which row a document was; where it only cuts the end off, the tokens tell."""
    if trainer.whole is None or not packs_whole(job):
        return {}
    limit = job.knobs.max_length
    return {tuple(ids[:limit]): number for number, ids in enumerate(trainer.whole["input_ids"])}


def packs_whole(job: Job) -> bool:
    return getattr(job.knobs, "packing", False) and getattr(job.knobs, "packing_strategy", "wrapped") == "bfd"


def prompts(trainer: Any, count: int, picture: int | None = None) -> list[Example]:
    """A method that writes its own answers learns nothing of the prompt; its rows are what the model is asked, and where a
    true answer is known, that one too: `truth(row)` of the trainer, (tokens, labels)."""
    rows = [seeing.read(row) if "images" in row else row for row in islice(iter(trainer.train_dataset), count)]
    if not hasattr(trainer, "chat_template_kwargs"):  # distillation takes them up later than it is stopped
        trainer.chat_template_kwargs = getattr(trainer.args, "chat_template_kwargs", None) or {}
    found = trainer._tokenize_prompts([row["prompt"] for row in rows])
    ids = found[0] if isinstance(found, tuple) else found  # some give pictures beside the tokens
    told = {"chat_template_kwargs": trainer.chat_template_kwargs}  # the setup's, never a row's own
    return [asked(trainer, row, one, told, number, picture) for number, (row, one) in enumerate(zip(rows, ids, strict=True))]  # fmt: skip


def asked(trainer: Any, row: dict[str, Any], ids: list[int], told: dict[str, Any], number: int, picture: int | None) -> Example:  # fmt: skip
    if not hasattr(trainer, "truth"):
        return Example([folded(Text(ids, [UNLEARNED] * len(ids)), picture)], row=number, raw=row | told)
    answer, labels = trainer.truth(row)
    text = Text([*ids, *answer], [UNLEARNED] * len(ids) + labels)
    return Example([text], row=number, raw=row | told | {"completion": row["truth"]})


def batches(job: Job, count: int) -> list[dict[str, Any]]:
    """The first batches that training will receive, as tensors by name. Only for methods whose rows are prepared ahead."""
    from transformers import set_seed

    job.preview, job.shape = True, weightless
    trainer = job.method.build(job)
    if writes_itself(trainer):
        raise Problem("This method writes its own answers, so there are no batches to show before it starts.")
    set_seed(trainer.args.seed)  # as the loop does before it draws its first batch
    return list(islice(iter(trainer.get_train_dataloader()), count))
