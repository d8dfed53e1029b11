"""The teacher: how it is loaded, compared with the student, and kept by a trainer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.core.problems import Problem
from app.data.conversations.messages import Messages
from app.engine.trainers.mixin_bases import TrainerBase

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from app.engine.job import Job

TokenizedAnswers = list[tuple[list[int], list[int]]]  # (prompt ids, answer ids) for each prompt

_TOKENIZER_PROBE = 'What is 12 + 34?\nÄpfel und 日本, {"a": [1, 2]}  naïve — 🜁'


class TeacherMixin(TrainerBase):
    """Keeps the teacher's own tokenizer beside the teacher, which TRL holds as `teacher_model`."""

    teacher_model: PreTrainedModel

    def __init__(self, *args: Any, tokenizer_of_teacher: PreTrainedTokenizerBase, **kwargs: Any):
        self.tokenizer_of_teacher = tokenizer_of_teacher
        self.teacher_answers: dict[
            str, TokenizedAnswers
        ] = {}  # to the prompts of each evaluated set, once they were needed
        super().__init__(*args, **kwargs)

    def teacher_prompt(self, prompt: str | Messages, student_prompt: str) -> str:
        """The prompt as the teacher reads it. student_prompt: as the student reads it."""
        return student_prompt


def load_teacher(job: Job) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase]:
    """(model, tokenizer) of the teacher; a model without weights in a preview.

    Raises Problem when it is the student itself.
    """
    from app.engine.model.aux_models import load_aux_model
    from app.runs import adapters
    from app.setup import models

    if (
        adapters.locate_model_or_adapter(job.knobs.teacher) == models.locate_model(job.spec.model.id)
        and not job.spec.model.start_from
    ):
        raise Problem(
            "The teacher is the very model that learns, so there is nothing to copy.", advice="Choose a better one."
        )
    return load_aux_model(job.knobs.teacher, job, job.knobs.teacher_revision or None)


def load_teacher_with_same_vocabulary(job: Job) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase]:
    """(model, tokenizer) of a teacher that shares the student's vocabulary. Raises Problem when it has another."""
    model, teacher_tokenizer = load_teacher(job)
    reason = tokenizer_difference(job.tokenizer, teacher_tokenizer) or _vocabulary_size_difference(job.model, model)
    if reason:
        raise Problem(
            f"The teacher “{job.knobs.teacher}” has another vocabulary than this model: {reason}.",
            advice="Choose a teacher of the same family, or “Copy a model that reads otherwise” (gold), which aligns texts.",
            reason="other_words",
        )
    return model, teacher_tokenizer


def tokenizer_difference(student_tokenizer: PreTrainedTokenizerBase, teacher_tokenizer: PreTrainedTokenizerBase) -> str:
    """How two tokenizers differ in a shared token id or in how they split a text; empty where they agree.

    One may have more tokens at the end: models of one family often add special tokens of their own.
    """
    student_tokens, teacher_tokens = _tokens_by_id(student_tokenizer), _tokens_by_id(teacher_tokenizer)
    shared_ids = student_tokens.keys() & teacher_tokens.keys()
    token_id = next(
        (shared_id for shared_id in sorted(shared_ids) if student_tokens[shared_id] != teacher_tokens[shared_id]), None
    )
    if token_id is not None:
        return f"token {token_id} is “{student_tokens[token_id]}” here and “{teacher_tokens[token_id]}” there"
    if (
        student_tokenizer(_TOKENIZER_PROBE, add_special_tokens=False).input_ids
        != teacher_tokenizer(_TOKENIZER_PROBE, add_special_tokens=False).input_ids
    ):
        return "the two cut the same text into different tokens"
    return ""


def _tokens_by_id(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    return {token_id: token for token, token_id in tokenizer.get_vocab().items()}


def _vocabulary_size_difference(student: PreTrainedModel | PeftModel, teacher: PreTrainedModel | PeftModel) -> str:
    student_size, teacher_size = (model.config.get_text_config().vocab_size for model in (student, teacher))
    return (
        ""
        if student_size == teacher_size
        else f"it chooses among {teacher_size:,} tokens, and this model among {student_size:,}"
    )
