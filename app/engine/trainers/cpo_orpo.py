"""Pairs: TRL's older trainers of pairs, so that an answer ends once, rows stay whole until their batch, and none lacks an answer."""

from __future__ import annotations

import json
import sys
from typing import Any

from app.engine.job import Job

UNCUT = sys.maxsize  # as TRL's maximum length: the batch cuts instead, and rows still tell what is lost
SIDES = ("chosen", "rejected")


def mended(trainer: type, job: Job, imitates_prompt: bool = False) -> type:
    """CPO's or ORPO's trainer with DPO's manners. What TRL leaves undone is done here:

    A chat template that writes a line break after the end token makes TRL add a second end token; here an answer ends with
    the template's own, and nothing after it. Turns with different keys would be read as lists of characters, and tools not
    at all. Rows are cut off in their batch. A row whose prompt alone fills the maximum length is left out, as its loss would
    be no number.
    imitates_prompt: the loss of imitation reads the prompt too, so its tokens are labelled in a column of their own.
    """
    limit = job.knobs.max_length

    class Mended(without_full_prompts(trainer, limit)):
        def __init__(self, *args: Any, **kwargs: Any):
            tokenizer = kwargs["processing_class"]
            for name in ("train_dataset", "eval_dataset"):
                kwargs[name] = kwargs.get(name) and as_text(kwargs[name], tokenizer)
            super().__init__(*args, **kwargs, data_collator=cutting(tokenizer, limit))
            self.use_dpo_data_collator = True  # it is TRL's own underneath

        def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
            made = super().tokenize_row(feature, model)
            return made | ({"prompt_labels": made["prompt_input_ids"]} if imitates_prompt else {})

    Mended.__name__ = Mended.__qualname__ = trainer.__name__
    return Mended


def as_text(table: Any, tokenizer: Any) -> Any:
    """Prompts and answers in the words of the chat template, each row with its place: the preview wants its turns."""
    from datasets import Features, Value

    features = Features({name: Value("string") for name in ("prompt", *SIDES)})
    made = table.map(written, fn_kwargs={"tokenizer": tokenizer}, remove_columns=table.column_names, features=features)
    return made.add_column("row", list(range(len(made))))


def written(row: dict[str, Any], tokenizer: Any) -> dict[str, str]:
    from trl.data_utils import maybe_apply_chat_template

    tools = row.get("tools")
    read = {name: row[name] for name in ("prompt", *SIDES)} | {
        "chat_template_kwargs": row.get("chat_template_kwargs") or {}
    }
    made = maybe_apply_chat_template(read, tokenizer, tools=json.loads(tools) if isinstance(tools, str) else tools)
    return {"prompt": made["prompt"]} | {side: ended(made[side], tokenizer.eos_token) for side in SIDES}


def ended(answer: str, ending: str | None) -> str:
    """Without what a template writes after the end token."""
    bare = answer.rstrip()
    return bare if ending and bare.endswith(ending) else answer


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
