"""Agreement of student and teacher: how many of the tokens in the teacher's answers the student would have written."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from app.data.rows import prompt_and_answer
from app.engine.generation.end_tokens import end_token_ids_of
from app.engine.tokens.length_batches import length_batches, map_batches, pad_texts
from app.engine.trainers.distillation.teacher import TeacherMixin, TokenizedAnswers
from app.engine.trainers.mixin_bases import TrainerBase

if TYPE_CHECKING:
    from app.engine.contracts import Metrics, Trainer
    from app.engine.job import Job

_MAX_LOGITS = 2**28  # elements in memory at once (1 GiB of float32)

EVAL_METRICS = {"agreement": "the same next word as the teacher"}


def teacher_agreement(job: Job, trainer: Trainer) -> Metrics:
    """As `agreement`, on the teacher's greedy answers to the held-out prompts, which it writes once."""
    assert isinstance(trainer, TeacherMixin), "a trainer with a teacher"
    if job.evaluated_set not in trainer.teacher_answers:
        trainer.teacher_answers[job.evaluated_set] = _teacher_answers(job, trainer)
    return agreement(job, trainer, trainer.teacher_answers[job.evaluated_set])


def agreement(job: Job, trainer: TrainerBase, answers: TokenizedAnswers) -> Metrics:
    """{"agreement": share of the answers' tokens that are also the student's greedy next token}; empty without answers."""
    end_token_ids = {*end_token_ids_of(trainer.model, job.tokenizer)}
    return {"agreement": agreement_share(trainer, answers, end_token_ids)} if answers else {}


def _teacher_answers(job: Job, trainer: TeacherMixin) -> TokenizedAnswers:
    """Held-out prompts as the student reads them, and the teacher's answers, in the student's tokens."""
    from app.engine.evaluation.evaluate import eval_completion_length
    from app.engine.generation.generate import complete_in_one_batch, render_prompt

    questions = map(prompt_and_answer, job.data.holdout[: job.knobs.eval_answers])
    prompts = [question[0] for question in questions if question]
    student_prompts = [render_prompt(job.tokenizer, prompt, job.prompts_are_chat) for prompt in prompts]
    if not student_prompts:
        return []
    teacher_prompts = [
        trainer.teacher_prompt(prompt, student_prompt)
        for prompt, student_prompt in zip(prompts, student_prompts, strict=True)
    ]
    completions = complete_in_one_batch(
        trainer.teacher_model, trainer.tokenizer_of_teacher, teacher_prompts, eval_completion_length(job)
    )
    return tokenize_answers(job, student_prompts, completions)


def tokenize_answers(job: Job, rendered_prompts: list[str], completions: list[str]) -> TokenizedAnswers:
    """Prompt and answer token ids.

    An answer below the length limit ended by itself, so it gets its end-of-sequence token back.
    """
    from app.engine.evaluation.evaluate import eval_completion_length

    tokenizer = job.tokenizer
    question_ids = tokenizer(rendered_prompts, add_special_tokens=not tokenizer.chat_template).input_ids
    answer_ids = [tokenizer(text, add_special_tokens=False).input_ids for text in completions]
    answer_ids = [
        ids if len(ids) >= eval_completion_length(job) else [*ids, tokenizer.eos_token_id] for ids in answer_ids
    ]
    return [(question, answer) for question, answer in zip(question_ids, answer_ids, strict=True) if answer]


def agreement_share(trainer: TrainerBase, answers: TokenizedAnswers, end_token_ids: set[int]) -> float:
    """Share of matching tokens over all answers, 0 to 1.

    Batches hold similar lengths, as many as fit in _MAX_LOGITS.
    """
    vocabulary = trainer.model.config.get_text_config().vocab_size
    batches = length_batches(
        [len(question) + len(answer) for question, answer in answers],
        lambda shortest: _MAX_LOGITS // (vocabulary * shortest * 2),
    )
    predictions = map_batches(batches, answers, partial(greedy_tokens, trainer))
    matches = [
        token_id == predicted_id or {token_id, predicted_id} <= end_token_ids
        for (_, answer), predicted in zip(answers, predictions, strict=True)
        for token_id, predicted_id in zip(answer, predicted, strict=True)
    ]
    return sum(matches) / len(matches)


def greedy_tokens(trainer: TrainerBase, answers: TokenizedAnswers) -> list[list[int]]:
    """The student's most likely token at each position of each answer, given the prompt and the answer before it."""
    import torch

    texts = [question + answer for question, answer in answers]
    input_ids, attention_mask = pad_texts(texts, trainer.accelerator.device)
    with torch.no_grad(), trainer.compute_loss_context_manager():
        logits = trainer.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
    likeliest = logits.argmax(-1)
    return [
        row[len(question) - 1 : len(question) + len(answer) - 1].tolist()
        for row, (question, answer) in zip(likeliest, answers, strict=True)
    ]
