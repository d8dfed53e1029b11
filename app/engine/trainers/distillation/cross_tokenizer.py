"""Cross-tokenizer distillation in which the teacher reads prompts in its own chat template.

Answers are aligned at their end tokens.

TRL gives the teacher the student's rendered text, in which the special tokens of a foreign chat template are ordinary
text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.core.problems import Problem
from app.engine.trainer_class import named_after

if TYPE_CHECKING:
    from app.engine.job import Job


def require_chat_template(job: Job, teacher_tokenizer: Any) -> None:
    """Raises Problem when the teacher has no chat template."""
    if not teacher_tokenizer.chat_template:
        raise Problem(
            f"The teacher “{job.knobs.teacher}” has no chat format of its own.",
            advice="Set teacher_reads to same, or choose a teacher that chats.",
        )


def cross_tokenizer_trainer(trainer: type, teacher_tokenizer: Any) -> type:
    """A subclass of GOLD's trainer that renders the teacher's prompts with its own chat template.

    Answers end with their end token.
    """

    @named_after(trainer)
    class CrossTokenizer(trainer):
        def __init__(self, *args: Any, **kwargs: Any):
            self.teacher_prompts: dict[str, str] = {}  # {prompt as the student reads it: as the teacher reads it}
            super().__init__(*args, **kwargs)

        def _prepare_dataset(
            self, dataset: Any, processing_class: Any, args: Any, packing: bool, formatting_func: Any, dataset_name: str
        ) -> Any:
            tokenized = super()._prepare_dataset(
                dataset, processing_class, args, packing, formatting_func, dataset_name
            )
            prepared = tokenized.map(_truncate_after_eos, fn_kwargs={"tokenizer": processing_class})
            for row in prepared:
                teacher_prompt = strip_bos_token(
                    teacher_tokenizer, _render_teacher_prompt(teacher_tokenizer, row["messages"][:-1])
                )
                # the rendered prompt and the prompt decoded from its tokens: a normaliser may make them differ
                decoded_prompt = processing_class.decode(row["input_ids"][: row["completion_mask"].index(1)])
                self.teacher_prompts |= {row["original_prompt_text"]: teacher_prompt, decoded_prompt: teacher_prompt}
            return prepared

        def for_teacher(self, messages: list[dict[str, Any]]) -> str:
            return _render_teacher_prompt(teacher_tokenizer, messages)

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            teacher_prompts = [self.teacher_prompts[text] for text in inputs["original_prompt_text"]]
            completions = [strip_end_token(self, text) for text in inputs["original_completion_text"]]
            teacher_inputs = inputs | {"original_prompt_text": teacher_prompts, "original_completion_text": completions}
            return super().compute_loss(model, teacher_inputs, return_outputs, num_items_in_batch)

    return CrossTokenizer


def _render_teacher_prompt(teacher_tokenizer: Any, messages: list[dict[str, Any]]) -> str:
    """The messages before an answer, rendered with the teacher's chat template."""
    return teacher_tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def strip_bos_token(teacher_tokenizer: Any, text: str) -> str:
    """The text without its beginning-of-sequence token where the tokenizer, which TRL calls next, adds it."""
    adds_bos = teacher_tokenizer.bos_token and teacher_tokenizer("").input_ids[:1] == [teacher_tokenizer.bos_token_id]
    return text.removeprefix(teacher_tokenizer.bos_token) if adds_bos else text


def _truncate_after_eos(row: dict[str, Any], tokenizer: Any) -> dict[str, Any]:
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


def strip_end_token(trainer: Any, text: str) -> str:
    """The answer without its end token; a model may declare more than one."""
    end_token_ids = trainer.generation_config.eos_token_id
    for end_token in trainer._tokenizer.convert_ids_to_tokens(
        end_token_ids if isinstance(end_token_ids, list) else [end_token_ids]
    ):
        text = text.removesuffix(end_token)
    return text
