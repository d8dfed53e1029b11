"""Trainer capture: a method's trainer, stopped where its data is ready, or complete on a model without weights.

Every TRL trainer prepares its data before it calls `super().__init__`, and a class that stands there can keep what it
was given. So nothing here decides what is trained: it shows what the trainer decided. Only two private facts of TRL are
used, the base class `_BaseTrainer` and that order; tests/test_equality.py guards both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from app.core.problems import Problem
from app.engine.contracts import Trainer
from app.engine.datasets.row_filter import DROP_REASONS
from app.engine.job import Job
from app.engine.model import vision
from app.engine.tokens import document_boundaries
from app.engine.tokens.tokenized_examples import (
    IGNORE_INDEX,
    Example,
    TokenizedText,
    collapse_image_tokens,
    examples_of_row,
)
from app.engine.trainer_class import named_after

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from PIL.Image import Image
    from torch import Tensor
    from transformers import PreTrainedModel

    from app.data.conversations.messages import Messages
    from app.data.fields import Row
    from app.engine.masking.chat_template import TemplateKwargs

_DEFAULT_ROWS = 50


class _PromptTrainer(Trainer, Protocol):
    """A trainer whose rows are prompts."""

    chat_template_kwargs: TemplateKwargs
    tools: list[Callable[..., str]] | None

    def _tokenize_prompts(
        self, prompts: list[str | Messages]
    ) -> list[list[int]] | tuple[list[list[int]], list[Image] | None, dict[str, Tensor]]: ...


# -- trainer classes ----------------------------------------------------------------------------------------------


class _DataReady(Exception):
    """Raised instead of running the constructor of the training loop."""


def stop_before_training(trainer: type) -> type:
    """The trainer's class, stopped where its data is ready: rows at once, without order or batches."""
    from trl.trainer.base_trainer import _BaseTrainer

    class DataReady(_BaseTrainer):
        def __init__(self, **kwargs: Any):
            self.__dict__["captured"] = kwargs
            self.train_dataset, self.args = kwargs["train_dataset"], kwargs["args"]
            self.processing_class = kwargs["processing_class"]
            raise _DataReady

    @named_after(trainer)
    class Stopped(trainer, DataReady):
        def __init__(self, **kwargs: Any):
            with contextlib.suppress(_DataReady):
                super().__init__(**kwargs)

    return Stopped


def without_weights(trainer: type) -> type:
    """The complete trainer on a model without weights: its loader yields the batches of training, in their order."""

    @named_after(trainer)
    class Weightless(trainer):
        def _move_model_to_device(self, model: PreTrainedModel, device: torch.device) -> None:
            pass

        def _send_telemetry(self) -> None:
            pass

    return Weightless


# -- examples -----------------------------------------------------------------------------------------------------


def prepare_examples(job: Job) -> tuple[Trainer, list[Example]]:
    """(the stopped trainer, its first examples in the order of the file); of packed rows, the documents in them."""
    job.preview, job.wrap_trainer = True, stop_before_training
    trainer = job.method.build(job)
    count = job.max_rows or _DEFAULT_ROWS
    if generates_completions(trainer):
        return trainer, _prompt_examples(trainer, count, job.image_token_id)
    if vision.prepares_in_collator(trainer):
        return trainer, vision.collate_examples(job, trainer, count)
    return trainer, list(islice(_ordered_examples(job, trainer), count))


def _ordered_examples(job: Job, trainer: Trainer) -> Iterator[Example]:
    """All examples of a trainer's rows, including those that it left out, where it says which."""
    pad = getattr(trainer.processing_class, "pad_token_id", None)
    table, uncut_rows = trainer.train_dataset, trainer.uncut_rows
    if uncut_rows is None or "row" not in (table.column_names or ()):
        row_by_tokens, starts = _row_index_by_tokens(job, trainer), document_boundaries.document_starts(trainer)
        for number, row in enumerate(iter(table)):
            document_starts = tuple(starts[number]) if starts else ()
            for example in examples_of_row(row, pad):
                row_index = example.row_index
                if row_index is None:
                    row_index = row_by_tokens.get(tuple(example.texts[0].token_ids))
                yield replace(example, row_index=row_index, document_starts=document_starts)
        yield from _untrained_examples(job, uncut_rows)
        return
    position_by_row = {row_index: position for position, row_index in enumerate(table["row"])}
    for row in iter(uncut_rows):
        if row["row"] in position_by_row:
            yield from examples_of_row(table[position_by_row[row["row"]]], pad)
        else:
            yield _left_out_example(job, row)


def _untrained_examples(job: Job, uncut_rows: Dataset | None) -> Iterator[Example]:
    """Of rows that we masked and that were packed: those with nothing to train."""
    for row in uncut_rows if uncut_rows is not None and "why" in uncut_rows.column_names else ():
        if row["why"]:
            yield _left_out_example(job, row)


def _left_out_example(job: Job, row: Row) -> Example:
    """A row that the trainer left out, and why."""
    token_ids, labels = row["input_ids"], row["labels"]
    limit = getattr(job.knobs, "max_length", None) or len(token_ids)
    if "cut" in job.spec.drop and len(token_ids) > limit:
        reason = DROP_REASONS["cut"]
    elif row.get("why"):
        reason = row["why"]
    elif any(label != IGNORE_INDEX for label in labels):
        reason = f"what it should learn begins only beyond the maximum length of {limit} tokens"
    else:
        reason = "it has nothing to learn"
    return Example(
        [TokenizedText(token_ids, [IGNORE_INDEX] * len(token_ids))],
        row_index=row["row"],
        truncated_tokens=max(0, len(token_ids) - limit),
        left_out_reason=reason,
    )


def generates_completions(trainer: Trainer) -> TypeGuard[_PromptTrainer]:
    """Whether its rows are prompts, as the method generates the completions itself during training."""
    columns = trainer.train_dataset.column_names or next(iter(trainer.train_dataset))
    return not vision.prepares_in_collator(trainer) and not any(
        name in columns for name in ("input_ids", "prompt_ids", "chosen_ids", "chosen_input_ids")
    )


def _row_index_by_tokens(job: Job, trainer: Trainer) -> dict[tuple[int, ...], int]:
    """{token ids of a document: index of its row}. Packing forgets the row of a document; where it only truncates
    documents, the tokens identify it."""
    if trainer.uncut_rows is None or not packs_whole_documents(job):
        return {}
    limit = job.knobs.max_length
    return {
        tuple(row["input_ids"][:limit]): row["row"]
        for row in trainer.uncut_rows
        if any(label != IGNORE_INDEX for label in row["labels"])
    }


def packs_whole_documents(job: Job) -> bool:
    """Whether packing only truncates documents at the maximum length, and never splits them over rows (best-fit
    decreasing)."""
    return getattr(job.knobs, "packing", False) and getattr(job.knobs, "packing_strategy", "wrapped") == "bfd"


# -- prompts ------------------------------------------------------------------------------------------------------


def _prompt_examples(trainer: _PromptTrainer, count: int, image_token_id: int | None = None) -> list[Example]:
    """Examples of a method that generates its completions: the prompts, of which nothing is trained, and the reference
    answer where there is one: `truth(row)` of the trainer, (token ids, labels)."""
    rows = [
        vision.with_image_placeholders(row) if "images" in row else row
        for row in islice(iter(trainer.train_dataset), count)
    ]
    if not hasattr(trainer, "chat_template_kwargs"):  # distillation sets them later than it is stopped
        trainer.chat_template_kwargs = getattr(trainer.args, "chat_template_kwargs", None) or {}
    tokenized = trainer._tokenize_prompts([row["prompt"] for row in rows])
    prompt_ids = tokenized[0] if isinstance(tokenized, tuple) else tokenized  # some return images beside the ids
    # The trainer's template arguments, never a row's own.
    template_kwargs = {"chat_template_kwargs": trainer.chat_template_kwargs | _tools_of(trainer)}
    return [
        _prompt_example(trainer, row | template_kwargs, token_ids, index, image_token_id)
        for index, (row, token_ids) in enumerate(zip(rows, prompt_ids, strict=True))
    ]


def _tools_of(trainer: _PromptTrainer) -> dict[str, list[Callable[..., str]]]:
    """{"tools"}: those of the trainer, which its prompts describe."""
    tools = getattr(trainer, "tools", None)
    return {"tools": tools} if tools else {}


def _prompt_example(
    trainer: _PromptTrainer, raw_row: Row, prompt_ids: list[int], row_index: int, image_token_id: int | None
) -> Example:
    untrained = [IGNORE_INDEX] * len(prompt_ids)
    if not hasattr(trainer, "truth"):
        text = collapse_image_tokens(TokenizedText(prompt_ids, untrained), image_token_id)
        return Example([text], row_index=row_index, raw_row=raw_row)
    answer_ids, labels = trainer.truth(raw_row)
    text = TokenizedText([*prompt_ids, *answer_ids], untrained + labels)
    return Example([text], row_index=row_index, raw_row=raw_row | {"completion": raw_row["truth"]})


# -- batches ------------------------------------------------------------------------------------------------------


def first_batches(job: Job, count: int) -> list[dict[str, Tensor]]:
    """The first batches that training will receive, as tensors by name. Raises Problem for methods whose rows are
    prompts."""
    return load_first_batches(job, count)[1]


def load_first_batches(job: Job, count: int) -> tuple[Trainer, list[dict[str, Tensor]]]:
    """(the trainer, its first batches)."""
    from transformers import set_seed

    job.preview, job.wrap_trainer = True, without_weights
    trainer = job.method.build(job)
    if generates_completions(trainer):
        raise Problem("This method writes its own answers, so there are no batches to show before it starts.")
    set_seed(trainer.args.seed)  # as the training loop does before it draws its first batch
    return trainer, list(islice(iter(trainer.get_train_dataloader()), count))
