"""Trainer of a process reward model, which judges each step of a solution, as TRL's PRMTrainer did until it was dropped after 1.13."""

from __future__ import annotations

from itertools import chain
from typing import Any

from app.engine.tokens.tokenized_examples import IGNORE_INDEX
from app.engine.trainers.base import base_trainer_class, ensure_pad_token, with_adapter

TokenizedSteps = dict[str, list[int]]


def tokenize_steps(row: dict[str, Any], tokenizer: Any, separator: str, last_only: bool = False) -> TokenizedSteps:
    """{"input_ids", "labels"} of a row {"prompt", "completions", "labels"}.

    Each step ends with the separator, whose last token has the label 1 for right and 0 for wrong; all other tokens are
    UNLEARNED. last_only: only the last step has a label.
    """
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    prompt = bos + _token_ids(tokenizer, row["prompt"])
    steps = [_token_ids(tokenizer, step) + _token_ids(tokenizer, separator) for step in row["completions"]]
    step_labels = [int(label) for label in row["labels"]]
    if last_only:
        step_labels = [IGNORE_INDEX] * (len(step_labels) - 1) + step_labels[-1:]
    labels = [[IGNORE_INDEX] * (len(step) - 1) + [label] for step, label in zip(steps, step_labels, strict=True)]
    return {"input_ids": [*prompt, *chain(*steps)], "labels": [IGNORE_INDEX] * len(prompt) + [*chain(*labels)]}


def _tokenize_indexed_row(row: dict[str, Any], row_index: int, **options: Any) -> dict[str, Any]:
    """The tokenized row with its index among the rows."""
    return {**tokenize_steps(row, **options), "row": row_index}


def _token_ids(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _truncate(row: TokenizedSteps, max_length: int | None) -> TokenizedSteps:
    return {name: row[name][:max_length] for name in ("input_ids", "labels")}


def _has_label(row: TokenizedSteps) -> bool:
    return any(label != IGNORE_INDEX for label in row["labels"])


def step_loss(logits: Any, labels: Any, count: Any = None) -> Any:
    """Cross-entropy summed over the labelled tokens and divided by `count`, by default their number here.

    logits: (rows, tokens, 2). labels: (rows, tokens), UNLEARNED where there is no label.
    """
    from torch.nn.functional import cross_entropy

    total = cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORE_INDEX, reduction="sum")
    return total / (count if count is not None else (labels != IGNORE_INDEX).sum().clamp(min=1))


def step_accuracy(logits: Any, labels: Any) -> float:
    """The share of labelled tokens whose predicted class is the label, between 0 and 1."""
    is_labelled = labels != IGNORE_INDEX
    return ((logits.argmax(-1) == labels) & is_labelled).sum().item() / max(1, is_labelled.sum().item())


def prm_trainer_class() -> type:
    """The PRM mixin on the base class of app/engine/trainers/base.py, which imports TRL."""
    return type("PRMTrainer", (PRMMixin, base_trainer_class()), {})


class PRMMixin:
    """Tokenizes and truncates the rows itself. uncut_rows: the training rows before truncation at `max_length` tokens."""

    loss_is_scaled_for_ga = True  # it is divided by the labelled tokens of all accumulated batches
    _tag_names = ("process-reward",)

    def __init__(
        self,
        model: Any,
        args: Any,
        train_dataset: Any,
        processing_class: Any,
        eval_dataset: Any = None,
        peft_config: Any = None,
        callbacks: Any = None,
        *,
        separator: str,
        last_only: bool,
        max_length: int | None,
    ):
        from transformers import DataCollatorForTokenClassification

        ensure_pad_token(processing_class, model)
        self.separator, self.last_only, self.max_length = separator, last_only, max_length
        self.uncut_rows = self._tokenize_dataset(train_dataset, processing_class, last_only)
        eval_rows = None
        if eval_dataset is not None:
            eval_rows = self._truncate_dataset(self._tokenize_dataset(eval_dataset, processing_class))
        super().__init__(
            model=with_adapter(model, peft_config, args),
            args=args,
            data_collator=DataCollatorForTokenClassification(processing_class),
            train_dataset=self._truncate_dataset(self.uncut_rows),
            eval_dataset=eval_rows,
            processing_class=processing_class,
            callbacks=callbacks,
        )
        # so that the loop passes the number of labelled tokens of all accumulated batches
        self.model_accepts_loss_kwargs = True

    def _tokenize_dataset(self, dataset: Any, tokenizer: Any, last_only: bool = False) -> Any:
        from datasets import Features, List, Value

        integers = List(Value("int64"))
        return dataset.map(
            _tokenize_indexed_row,
            with_indices=True,
            fn_kwargs={"tokenizer": tokenizer, "separator": self.separator, "last_only": last_only},
            remove_columns=dataset.column_names,
            # explicit, as the column `labels` would stay boolean: every label but 0 would become True
            features=Features({"input_ids": integers, "labels": integers, "row": Value("int64")}),
        )

    def _truncate_dataset(self, dataset: Any) -> Any:
        """The rows truncated at max_length tokens, without those that have no labelled step left."""
        return dataset.map(_truncate, fn_kwargs={"max_length": self.max_length}).filter(_has_label)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        labels = inputs["labels"]
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        loss = step_loss(outputs.logits, labels, num_items_in_batch)
        self.record_metrics({"accuracy": step_accuracy(outputs.logits, labels)})
        if model.training:
            self.num_tokens_seen += int(inputs["attention_mask"].sum())
        return (loss, outputs) if return_outputs else loss
