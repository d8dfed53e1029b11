"""Fixes for TRL's CPO, ORPO and TPO trainers: one end-of-sequence token, truncation in the batch, no rows without a completion."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from app.engine.trainer_class import named_after
from app.engine.trainers.mixin_bases import CPOTrainerBase

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from peft import PeftConfig
    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
    from trl.experimental.cpo import CPOConfig

    from app.data.fields import Row
    from app.engine.trainers.preference import PreferenceKnobs

NO_MAX_LENGTH = (
    sys.maxsize
)  # for TRL: rows are truncated in the batch instead, so that the preview can count what is lost
_SIDES = ("chosen", "rejected")


class _ConstructorArguments(TypedDict, total=False):
    """What is passed on to TRL unchanged."""

    model: PreTrainedModel
    args: CPOConfig
    peft_config: PeftConfig
    callbacks: list[TrainerCallback]


class RenderedPairsMixin(CPOTrainerBase):
    """Makes CPO's or ORPO's trainer read rows as TRL's DPOTrainer does.

    - Where a chat template writes a line break after the end-of-sequence token, TRL adds a second such token; here a
      completion ends with the template's own, and nothing after it.
    - TRL reads messages with different keys as lists of characters, and ignores tools; here the chat template renders them.
    - Rows are truncated in their batch.
    """

    knobs: PreferenceKnobs

    def __init__(
        self,
        *,
        train_dataset: Dataset,
        processing_class: PreTrainedTokenizerBase,
        eval_dataset: DatasetDict | None = None,
        **kwargs: Unpack[_ConstructorArguments],
    ):
        super().__init__(
            train_dataset=train_dataset and _render_pairs(train_dataset, processing_class),
            eval_dataset=eval_dataset and _render_tables(eval_dataset, processing_class),
            processing_class=processing_class,
            data_collator=_truncating_collator(processing_class, self.knobs.max_length),
            **kwargs,
        )
        self.use_dpo_data_collator = True  # it wraps TRL's own


class TrainedPromptMixin(CPOTrainerBase):
    """Labels the prompt's tokens in a column of their own, as ORPO's NLL loss covers them too."""

    def tokenize_row(self, feature: Row, model: PreTrainedModel | Module | None = None) -> Row:
        tokenized = super().tokenize_row(feature, model)
        return tokenized | {"prompt_labels": tokenized["prompt_input_ids"]}


CPO_MIXINS = (
    RenderedPairsMixin,  # rows as DPO reads them: rendered once, truncated in their batch
)  # over TRL's CPOTrainer without full prompts
ORPO_MIXINS = (
    TrainedPromptMixin,  # labels of the prompt's tokens, for the preview
    RenderedPairsMixin,
)  # over TRL's ORPOTrainer without full prompts


def without_full_prompts(trainer: type, max_length: int) -> type:
    """The trainer's class, which drops rows whose prompt leaves no room for a completion within max_length, as DPO's does: the
    loss of such a row would be NaN."""
    from trl.trainer.base_trainer import _BaseTrainer

    class PromptLengthFilter(_BaseTrainer):  # behind TRL's class, where the rows are tokenized
        def __init__(self, *args: Any, **kwargs: Any):
            train, tables = kwargs.get("train_dataset"), kwargs.get("eval_dataset")
            filtered = {
                "train_dataset": train and _without_full_prompts(train, max_length),
                "eval_dataset": tables
                and {name: _without_full_prompts(table, max_length) for name, table in tables.items()},
            }
            super().__init__(*args, **kwargs | filtered)

    return named_after(trainer)(type("PromptFiltered", (trainer, PromptLengthFilter), {}))


def _without_full_prompts(table: Dataset, max_length: int) -> Dataset:
    return table.filter(_has_completion_tokens, fn_kwargs={"max_length": max_length})


def _render_tables(tables: DatasetDict, tokenizer: PreTrainedTokenizerBase) -> DatasetDict:
    return type(tables)({name: _render_pairs(table, tokenizer) for name, table in tables.items()})


def _render_pairs(dataset: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """Prompts and completions as rendered text, and each row's index, by which the preview finds its messages."""
    from datasets import Features, Value

    features = Features({name: Value("string") for name in ("prompt", *_SIDES)})
    rendered = dataset.map(
        _render_pair, fn_kwargs={"tokenizer": tokenizer}, remove_columns=dataset.column_names, features=features
    )
    return rendered.add_column("row", list(range(len(rendered))))


def _render_pair(row: Row, tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
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


def _has_completion_tokens(row: Row, max_length: int) -> bool:
    return len(row["prompt_ids"] if "prompt_ids" in row else row["prompt_input_ids"]) < max_length


def _truncating_collator(
    tokenizer: PreTrainedTokenizerBase, max_length: int
) -> Callable[[list[Row]], dict[str, Tensor]]:
    """TRL's collator of pairs, which truncates each text at max_length tokens."""
    from trl.experimental.utils import DPODataCollatorWithPadding

    pad_token_id = tokenizer.pad_token_id
    collator = DPODataCollatorWithPadding(pad_token_id=tokenizer.eos_token_id if pad_token_id is None else pad_token_id)

    def collate(rows: list[Row]) -> dict[str, Tensor]:
        return collator([_truncate_row(row, max_length) for row in rows])

    return collate


def _truncate_row(row: Row, max_length: int) -> Row:
    prefixes = tuple(f"{side}_" for side in _SIDES)
    return {name: column[:max_length] if name.startswith(prefixes) else column for name, column in row.items()}
