"""Trainer of a process reward model, which judges each step of a solution, as TRL's PRMTrainer did until it was dropped after 1.13."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, TypedDict, Unpack

from app.engine.tokens.tokenized_examples import IGNORE_INDEX
from app.engine.trainers.base import StepMetricsMixin, ensure_pad_token, with_adapter

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict
    from peft import PeftConfig
    from torch import Tensor
    from torch.nn import Module
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback, TrainingArguments
    from transformers.modeling_outputs import TokenClassifierOutput

    from app.data.fields import Row


class TokenizedSteps(TypedDict):
    """A row of steps as tokens. labels: 1 and 0 for right and wrong at the end of a step, IGNORE_INDEX elsewhere."""

    input_ids: list[int]
    labels: list[int]


class _IndexedSteps(TokenizedSteps):
    row: int  # among the rows


class _TokenizeOptions(TypedDict):
    tokenizer: PreTrainedTokenizerBase
    separator: str
    last_only: bool


def tokenize_steps(
    row: Row, tokenizer: PreTrainedTokenizerBase, separator: str, last_only: bool = False
) -> TokenizedSteps:
    """A row {"prompt", "completions", "labels"} as tokens.

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


def _tokenize_indexed_row(row: Row, row_index: int, **options: Unpack[_TokenizeOptions]) -> _IndexedSteps:
    """The tokenized row with its index among the rows."""
    return {**tokenize_steps(row, **options), "row": row_index}


def _token_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _truncate(row: TokenizedSteps, max_length: int | None) -> TokenizedSteps:
    return {"input_ids": row["input_ids"][:max_length], "labels": row["labels"][:max_length]}


def _has_label(row: TokenizedSteps) -> bool:
    return any(label != IGNORE_INDEX for label in row["labels"])


def step_loss(logits: Tensor, labels: Tensor, count: Tensor | int | None = None) -> Tensor:
    """Cross-entropy summed over the labelled tokens and divided by `count`, by default their number here.

    logits: (rows, tokens, 2). labels: (rows, tokens), UNLEARNED where there is no label.
    """
    from torch.nn.functional import cross_entropy

    total = cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=IGNORE_INDEX, reduction="sum")
    return total / (count if count is not None else (labels != IGNORE_INDEX).sum().clamp(min=1))


def step_accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of labelled tokens whose predicted class is the label, between 0 and 1."""
    is_labelled = labels != IGNORE_INDEX
    return ((logits.argmax(-1) == labels) & is_labelled).sum().item() / max(1, is_labelled.sum().item())


class PRMMixin(StepMetricsMixin):
    """Tokenizes and truncates the rows, and computes their loss and accuracy. uncut_rows: the training rows before truncation at `max_length` tokens."""

    loss_is_scaled_for_ga = True  # it is divided by the labelled tokens of all accumulated batches
    _tag_names = ("process-reward",)

    def __init__(
        self,
        model: PreTrainedModel,
        args: TrainingArguments,
        train_dataset: Dataset,
        processing_class: PreTrainedTokenizerBase,
        eval_dataset: DatasetDict | None = None,
        peft_config: PeftConfig | None = None,
        callbacks: list[TrainerCallback] | None = None,
        *,
        separator: str,
        last_only: bool,
        max_length: int | None,
    ):
        from transformers import DataCollatorForTokenClassification

        ensure_pad_token(processing_class, model)
        self.separator, self.last_only, self.max_length = separator, last_only, max_length
        self.uncut_rows = self._tokenize_dataset(train_dataset, processing_class, last_only)
        eval_tables = {
            name: self._truncate_dataset(self._tokenize_dataset(table, processing_class))
            for name, table in (eval_dataset or {}).items()
        }
        super().__init__(
            model=with_adapter(model, peft_config, args),
            args=args,
            data_collator=DataCollatorForTokenClassification(processing_class),
            train_dataset=self._truncate_dataset(self.uncut_rows),
            eval_dataset=eval_tables or None,
            processing_class=processing_class,
            callbacks=callbacks,
        )
        # so that the loop passes the number of labelled tokens of all accumulated batches
        self.model_accepts_loss_kwargs = True

    def _tokenize_dataset(
        self, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, last_only: bool = False
    ) -> Dataset:
        from datasets import Features, List, Value

        integers = List(Value("int64"))
        return dataset.map(
            _tokenize_indexed_row,
            with_indices=True,
            fn_kwargs=_TokenizeOptions(tokenizer=tokenizer, separator=self.separator, last_only=last_only),
            remove_columns=dataset.column_names,
            # explicit, as the column `labels` would stay boolean: every label but 0 would become True
            features=Features({"input_ids": integers, "labels": integers, "row": Value("int64")}),
        )

    def _truncate_dataset(self, dataset: Dataset) -> Dataset:
        """The rows truncated at max_length tokens, without those that have no labelled step left."""
        return dataset.map(_truncate, fn_kwargs={"max_length": self.max_length}).filter(_has_label)

    def compute_loss(
        self,
        model: Module,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, TokenClassifierOutput]:
        labels = inputs["labels"]
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        loss = step_loss(outputs.logits, labels, num_items_in_batch)
        self.record_metrics({"accuracy": step_accuracy(outputs.logits, labels)})
        if model.training:
            self.num_tokens_seen += int(inputs["attention_mask"].sum())
        return (loss, outputs) if return_outputs else loss


PRM_MIXINS = (PRMMixin,)  # over the class of app/engine/trainers/base.py
