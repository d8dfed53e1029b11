"""Cross-tokenizer distillation in which the teacher reads prompts in its own chat template.

Answers are aligned at their end tokens.

TRL gives the teacher the student's rendered text, in which the special tokens of a foreign chat template are ordinary
text.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from app.core.problems import Problem
from app.data.conversations.messages import Messages
from app.data.row_types import as_messages
from app.data.rows import Row
from app.engine.generation.end_tokens import declared_end_token_ids
from app.engine.trainers.distillation.teacher import TeacherMixin
from app.engine.trainers.mixin_bases import GOLDTrainerBase, TrainerBase

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from torch.nn import Module
    from transformers import BaseImageProcessor, FeatureExtractionMixin, PreTrainedTokenizerBase, ProcessorMixin
    from transformers.utils import ModelOutput
    from trl import SFTConfig

    from app.engine.job import Job


def require_chat_template(job: Job, teacher_tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises Problem when the teacher has no chat template."""
    if not teacher_tokenizer.chat_template:
        raise Problem(
            f"The teacher “{job.knobs.teacher}” has no chat format of its own.",
            advice="Set teacher_reads to same, or choose a teacher that chats.",
        )


class MicroBatchMeanMixin(TrainerBase):
    """Over TRL's GOLDTrainer: its loss is a mean over each micro-batch, which TRL does not declare."""

    loss_is_scaled_for_ga = False


class CrossTokenizerMixin(TeacherMixin, GOLDTrainerBase):
    """Over TRL's GOLDTrainer: renders the teacher's prompts with its own chat template, and ends answers at their end token."""

    @cached_property
    def teacher_prompts(self) -> dict[str, str]:
        """{prompt as the student reads it: as the teacher reads it}."""
        return {}

    def _prepare_dataset(
        self,
        dataset: Dataset,
        processing_class: PreTrainedTokenizerBase | BaseImageProcessor | FeatureExtractionMixin | ProcessorMixin,
        args: SFTConfig,
        packing: bool,
        formatting_func: Callable[[Row], str] | None,
        dataset_name: str,
    ) -> Dataset:
        tokenized = super()._prepare_dataset(dataset, processing_class, args, packing, formatting_func, dataset_name)
        prepared = tokenized.map(_truncate_after_eos, fn_kwargs={"tokenizer": self._tokenizer})
        teacher_tokenizer = self.tokenizer_of_teacher
        for row in prepared:
            teacher_prompt = strip_bos_token(
                teacher_tokenizer, _render_teacher_prompt(teacher_tokenizer, row["messages"][:-1])
            )
            # the rendered prompt and the prompt decoded from its tokens: a normaliser may make them differ
            [decoded_prompt] = self._tokenizer.batch_decode([row["input_ids"][: row["completion_mask"].index(1)]])
            self.teacher_prompts |= {row["original_prompt_text"]: teacher_prompt, decoded_prompt: teacher_prompt}
        return prepared

    def teacher_prompt(self, prompt: str | Messages, student_prompt: str) -> str:
        return _render_teacher_prompt(self.tokenizer_of_teacher, as_messages(prompt, "user"))

    def compute_loss(
        self,
        model: Module,
        inputs: dict[str, Tensor | list[str]],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor | tuple[Tensor, ModelOutput]:
        teacher_prompts = [self.teacher_prompts[text] for text in inputs["original_prompt_text"]]
        completions = [strip_end_token(self, text) for text in inputs["original_completion_text"]]
        teacher_inputs = inputs | {"original_prompt_text": teacher_prompts, "original_completion_text": completions}
        return super().compute_loss(model, teacher_inputs, return_outputs, num_items_in_batch)


def _render_teacher_prompt(teacher_tokenizer: PreTrainedTokenizerBase, messages: Messages) -> str:
    """The messages before an answer, rendered with the teacher's chat template."""
    return str(teacher_tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def strip_bos_token(teacher_tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """The text without its beginning-of-sequence token where the tokenizer, which TRL calls next, adds it."""
    adds_bos = teacher_tokenizer.bos_token and teacher_tokenizer("").input_ids[:1] == [teacher_tokenizer.bos_token_id]
    return text.removeprefix(teacher_tokenizer.bos_token) if adds_bos else text


def _truncate_after_eos(row: Row, tokenizer: PreTrainedTokenizerBase) -> Row:
    """The row's changed columns, truncated after its last end-of-sequence token; {} where there is none.

    A chat template may write more after an answer, for example a line break; the teacher's text has no such tokens.
    """
    input_ids, eos_token_id = row["input_ids"], tokenizer.eos_token_id
    end_positions = [
        position
        for position, (token_id, is_completion) in enumerate(zip(input_ids, row["completion_mask"], strict=True))
        if is_completion and token_id == eos_token_id
    ]
    if not end_positions:
        return {}
    column_names = ("input_ids", "attention_mask", "byte_offsets", "completion_mask")
    text = row["original_completion_text"].rpartition(tokenizer.eos_token)[0] + tokenizer.eos_token
    return {name: row[name][: end_positions[-1] + 1] for name in column_names} | {"original_completion_text": text}


def strip_end_token(trainer: GOLDTrainerBase, text: str) -> str:
    """The answer without its end token; a model may declare more than one."""
    for end_token in trainer._tokenizer.convert_ids_to_tokens(declared_end_token_ids(trainer)):
        text = text.removesuffix(end_token)
    return text
