"""Fixes for TRL's CPO, ORPO and TPO trainers: one end-of-sequence token, truncation in the batch, no rows without a completion."""

from __future__ import annotations

import json
import sys
from typing import Any

from app.engine.job import Job
from app.engine.trainer_class import named_after

NO_MAX_LENGTH = (
    sys.maxsize
)  # for TRL: rows are truncated in the batch instead, so that the preview can count what is lost
_SIDES = ("chosen", "rejected")


def fixed_pair_trainer_class(trainer: type, job: Job, imitates_prompt: bool = False) -> type:
    """The class of CPO's or ORPO's trainer, fixed so that it reads rows as TRL's DPOTrainer does.

    - Where a chat template writes a line break after the end-of-sequence token, TRL adds a second such token; here a
      completion ends with the template's own, and nothing after it.
    - TRL reads messages with different keys as lists of characters, and ignores tools; here the chat template renders them.
    - Rows are truncated in their batch.
    - A row whose prompt alone fills the maximum length is dropped, as its loss would be NaN.

    imitates_prompt: the NLL loss covers the prompt too, so its tokens are labelled in a column of their own.
    """
    max_length = job.knobs.max_length

    @named_after(trainer)
    class Fixed(trainer_class_without_full_prompts(trainer, max_length)):
        def __init__(self, *args: Any, **kwargs: Any):
            tokenizer = kwargs["processing_class"]
            for name in ("train_dataset", "eval_dataset"):
                kwargs[name] = kwargs.get(name) and _render_pairs(kwargs[name], tokenizer)
            super().__init__(*args, **kwargs, data_collator=_truncating_collator(tokenizer, max_length))
            self.use_dpo_data_collator = True  # it wraps TRL's own

        def tokenize_row(self, feature: dict[str, Any], model: Any = None) -> dict[str, Any]:
            tokenized = super().tokenize_row(feature, model)
            return tokenized | ({"prompt_labels": tokenized["prompt_input_ids"]} if imitates_prompt else {})

    return Fixed


def _render_pairs(dataset: Any, tokenizer: Any) -> Any:
    """Prompts and completions as rendered text, and each row's index, by which the preview finds its messages."""
    from datasets import Features, Value

    features = Features({name: Value("string") for name in ("prompt", *_SIDES)})
    rendered = dataset.map(
        _render_pair, fn_kwargs={"tokenizer": tokenizer}, remove_columns=dataset.column_names, features=features
    )
    return rendered.add_column("row", list(range(len(rendered))))


def _render_pair(row: dict[str, Any], tokenizer: Any) -> dict[str, str]:
    from trl.data_utils import maybe_apply_chat_template

    tools = row.get("tools")
    tools = json.loads(tools) if isinstance(tools, str) else tools
    pair = {name: row[name] for name in ("prompt", *_SIDES)}
    pair["chat_template_kwargs"] = row.get("chat_template_kwargs") or {}
    rendered = maybe_apply_chat_template(pair, tokenizer, tools=tools)
    completions = {side: strip_after_eos(rendered[side], tokenizer.eos_token) for side in _SIDES}
    return {"prompt": rendered["prompt"]} | completions


def strip_after_eos(completion: str, eos_token: str | None) -> str:
    """The completion without what a template writes after the end-of-sequence token."""
    stripped = completion.rstrip()
    return stripped if eos_token and stripped.endswith(eos_token) else completion


def trainer_class_without_full_prompts(trainer: type, max_length: int) -> type:
    """The trainer's class, which drops rows whose prompt leaves no room for a completion within max_length, as DPO's does."""
    from trl.trainer.base_trainer import _BaseTrainer

    class PromptLengthFilter(_BaseTrainer):
        def __init__(self, *args: Any, **kwargs: Any):
            datasets = {name: kwargs.get(name) for name in ("train_dataset", "eval_dataset")}
            limit = {"max_length": max_length}
            filtered = {
                name: dataset and dataset.filter(_has_completion_tokens, fn_kwargs=limit)
                for name, dataset in datasets.items()
            }
            super().__init__(*args, **kwargs | filtered)

    return named_after(trainer)(type("PromptFiltered", (trainer, PromptLengthFilter), {}))


def _has_completion_tokens(row: dict[str, Any], max_length: int) -> bool:
    return len(row["prompt_ids"] if "prompt_ids" in row else row["prompt_input_ids"]) < max_length


def _truncating_collator(tokenizer: Any, max_length: int) -> Any:
    """TRL's collator of pairs, which truncates each text at max_length tokens."""
    from trl.experimental.utils import DPODataCollatorWithPadding

    pad_token_id = tokenizer.pad_token_id
    collator = DPODataCollatorWithPadding(pad_token_id=tokenizer.eos_token_id if pad_token_id is None else pad_token_id)

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        return collator([_truncate_row(row, max_length) for row in rows])

    return collate


def _truncate_row(row: dict[str, Any], max_length: int) -> dict[str, Any]:
    prefixes = tuple(f"{side}_" for side in _SIDES)
    return {name: column[:max_length] if name.startswith(prefixes) else column for name, column in row.items()}
