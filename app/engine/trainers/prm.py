"""Judging: a trainer that learns to judge each step of a solution, as TRL's PRMTrainer did until it was dropped after 1.13."""

from __future__ import annotations

from itertools import chain
from typing import Any

from app.engine.tokens.tokenized_examples import UNLEARNED

Tokenized = dict[str, list[int]]


def tokenized(row: dict[str, Any], tokenizer: Any, separator: str, last_only: bool = False) -> Tokenized:
    """{"input_ids", "labels"} of {"prompt", "completions", "labels"}: each step ends with the separator, whose last token
    carries 1 for right and 0 for wrong. last_only: the other steps are only read."""
    begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    prompt = begin + ids_of(tokenizer, row["prompt"])
    steps = [ids_of(tokenizer, step) + ids_of(tokenizer, separator) for step in row["completions"]]
    judged = [int(label) for label in row["labels"]]
    if last_only:
        judged = [UNLEARNED] * (len(judged) - 1) + judged[-1:]
    labels = [[UNLEARNED] * (len(step) - 1) + [label] for step, label in zip(steps, judged, strict=True)]
    return {"input_ids": [*prompt, *chain(*steps)], "labels": [UNLEARNED] * len(prompt) + [*chain(*labels)]}


def numbered(row: dict[str, Any], number: int, **how: Any) -> dict[str, Any]:
    """With its place among the rows."""
    return {**tokenized(row, **how), "row": number}


def ids_of(tokenizer: Any, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def cut(row: Tokenized, limit: int | None) -> Tokenized:
    return {name: row[name][:limit] for name in ("input_ids", "labels")}


def is_judged(row: Tokenized) -> bool:
    return any(label != UNLEARNED for label in row["labels"])


def loss_of(logits: Any, labels: Any, count: Any = None) -> Any:
    """Cross-entropy over the judged tokens, divided by `count`, or by how many there are here.

    logits: (rows, tokens, 2). labels: (rows, tokens), UNLEARNED where nothing is judged.
    """
    from torch.nn.functional import cross_entropy

    total = cross_entropy(logits.float().flatten(0, 1), labels.flatten(), ignore_index=UNLEARNED, reduction="sum")
    return total / (count if count is not None else (labels != UNLEARNED).sum().clamp(min=1))


def share_right(logits: Any, labels: Any) -> float:
    """The share of judged tokens that are judged as they should be."""
    judged = labels != UNLEARNED
    return ((logits.argmax(-1) == labels) & judged).sum().item() / max(1, judged.sum().item())


def trainer_class() -> type:
    from datasets import Features, List, Value
    from transformers import DataCollatorForTokenClassification

    from app.engine.trainers.base import base, require_pad, with_adapter

    class JudgeTrainer(base()):
        """whole: the training rows before any was cut off at `max_length`."""

        loss_is_scaled_for_ga = True  # by the number of judged tokens in all parts of a batch
        _tag_names = ("process-reward",)

        def __init__(self, model: Any, args: Any, train_dataset: Any, processing_class: Any, eval_dataset: Any = None,
                     peft_config: Any = None, callbacks: Any = None, *, separator: str, last_only: bool, max_length: int | None):  # fmt: skip
            require_pad(processing_class, model)
            self.separator, self.last_only, self.max_length = separator, last_only, max_length
            self.whole = self.prepared(train_dataset, processing_class, last_only)
            held_out = None if eval_dataset is None else self.shortened(self.prepared(eval_dataset, processing_class))
            super().__init__(
                model=with_adapter(model, peft_config, args),
                args=args,
                data_collator=DataCollatorForTokenClassification(processing_class),
                train_dataset=self.shortened(self.whole),
                eval_dataset=held_out,
                processing_class=processing_class,
                callbacks=callbacks,
            )
            self.model_accepts_loss_kwargs = True  # so that the loop counts the judged tokens of a whole batch

        def prepared(self, rows: Any, tokenizer: Any, last_only: bool = False) -> Any:
            whole = List(Value("int64"))
            return rows.map(
                numbered,
                with_indices=True,
                fn_kwargs={"tokenizer": tokenizer, "separator": self.separator, "last_only": last_only},
                remove_columns=rows.column_names,
                # said, as a column of the same name would keep its kind: every label but 0 would be “true”
                features=Features({"input_ids": whole, "labels": whole, "row": Value("int64")}),
            )

        def shortened(self, rows: Any) -> Any:
            """Cut off at the limit; without those of which no judged step is left."""
            return rows.map(cut, fn_kwargs={"limit": self.max_length}).filter(is_judged)

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:  # fmt: skip
            labels = inputs["labels"]
            outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
            loss = loss_of(outputs.logits, labels, num_items_in_batch)
            self.note({"accuracy": share_right(outputs.logits, labels)})
            if model.training:
                self.tokens += int(inputs["attention_mask"].sum())
            return (loss, outputs) if return_outputs else loss

    return JudgeTrainer
