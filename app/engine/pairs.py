"""Pairs: TRL's older trainers of pairs, so that an answer ends once, rows stay whole until their batch, and none lacks an answer."""

from __future__ import annotations

import sys
from typing import Any

from app.engine.job import Job

UNCUT = sys.maxsize  # as TRL's maximum length: the batch cuts instead, and rows still tell what is lost
SIDES = ("chosen", "rejected")


def mended(trainer: type, job: Job, imitates_prompt: bool = False) -> type:
    """CPO's or ORPO's trainer with DPO's manners. Three things are done that TRL leaves undone:

    A chat template that writes a line break after the end token makes TRL add a second end token; here an answer ends with
    the template's own, and nothing after it. Rows are cut off in their batch. A row whose prompt alone fills the maximum
    length is left out, as its loss would be no number.
    imitates_prompt: the loss of imitation reads the prompt too, so its tokens are labelled in a column of their own.
    """
    limit = job.knobs.max_length

    class Mended(without_full_prompts(trainer, limit)):
        def __init__(self, *args: Any, **kwargs: Any):
            kwargs["train_dataset"] = numbered(kwargs["train_dataset"])
            kwargs["data_collator"] = cutting(kwargs["processing_class"], limit)
            super().__init__(*args, **kwargs)
            self.use_dpo_data_collator = True  # it is TRL's own underneath

        def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
            ending = self.processing_class.eos_token
            made = super().tokenize_row(feature | {side: ended(feature[side], ending) for side in SIDES}, model)
            return made | ({"prompt_labels": made["prompt_input_ids"]} if imitates_prompt else {})

    Mended.__name__ = Mended.__qualname__ = trainer.__name__
    return Mended


def ended(answer: str, ending: str | None) -> str:
    """Without what a template writes after the end token."""
    bare = answer.rstrip()
    return bare if ending and bare.endswith(ending) else answer


def numbered(table: Any) -> Any:
    """Each row with its place: the template makes its turns one text, and the preview wants the turns."""
    return table.add_column("row", list(range(len(table))))


def without_full_prompts(trainer: type, limit: int) -> type:
    """The trainer's class, leaving out rows of which no answer stands within the maximum length, as DPO's does."""
    from trl.trainer.base_trainer import _BaseTrainer

    class Before(_BaseTrainer):
        def __init__(self, *args: Any, **kwargs: Any):
            tables = {name: kwargs.get(name) for name in ("train_dataset", "eval_dataset")}
            kept = {name: table and table.filter(has_answer, fn_kwargs={"limit": limit}) for name, table in tables.items()}  # fmt: skip
            super().__init__(*args, **kwargs | kept)

    return type(trainer.__name__, (trainer, Before), {})


def has_answer(row: dict[str, Any], limit: int) -> bool:
    return len(row["prompt_ids"] if "prompt_ids" in row else row["prompt_input_ids"]) < limit


def cutting(tokenizer: Any, limit: int) -> Any:
    """TRL's collator of such pairs, cutting each text off at the maximum length."""
    from trl.experimental.utils import DPODataCollatorWithPadding

    padding = tokenizer.pad_token_id
    inner = DPODataCollatorWithPadding(pad_token_id=tokenizer.eos_token_id if padding is None else padding)

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        return inner([{name: value[:limit] if name.startswith(CUT) else value for name, value in row.items()} for row in rows])  # fmt: skip

    return collate


CUT = tuple(f"{side}_" for side in SIDES)
