"""Distillation helpers: loading the teacher, comparing vocabularies, teacher-student agreement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.core.problems import Problem
from app.engine.generation.sampling import TemplateArgumentKnobs
from app.engine.trainer_class import named_after
from app.engine.trainers.training_args import TrainingKnobs, default_learning_rate
from app.setup.knob import knob

if TYPE_CHECKING:
    from app.engine.job import Job

_MAX_LOGITS = 2**28  # elements in memory at once (1 GiB of float32)
_SAMPLES_PER_EVENT = 4  # answers in one sample event
_TOKENIZER_PROBE = 'What is 12 + 34?\nÄpfel und 日本, {"a": [1, 2]}  naïve — 🜁'

MEASURES = {"agreement": "the same next word as the teacher"}


class TeacherKnobs(TrainingKnobs):
    """Settings of all methods that have a teacher."""

    teacher: str = knob(
        "pocket-teacher",
        "The model that is copied: one on the Hub, a run of yours, or the practice model's own teacher.",
        picks="model",
        everyday=True,
        library_name="teacher_model_name_or_path",
        affects="rows",
    )
    teacher_revision: str = knob(
        "",
        "Which version of a teacher on the Hub: a branch, a tag or a commit. Empty takes the newest.",
        library_name="teacher_model_revision",
        affects="rows",
    )
    beta: float = knob(
        0.5,
        "Which way the copy may err: 0 covers all that the teacher might say, 1 keeps to what the teacher finds likeliest.",
        low=0.0,
        high=1.0,
    )


class ExampleKnobs(TeacherKnobs, TemplateArgumentKnobs):
    """Settings of the methods whose teacher scores dataset answers and answers that the student generates."""

    max_length: int = knob(
        1024,
        "Longer conversations are left out. Longer takes more memory.",
        low=8,
        high=1_000_000,
        safe=(128, 4096),
        unit="tokens",
        affects="rows",
    )
    own_share: float = knob(
        0.5,
        "In how many of the batches the model writes the answers itself instead of reading those given. Writing is slower, and corrects what it really says.",
        low=0.0,
        high=1.0,
        unit="of the batches",
        everyday=True,
        library_name="lmbda",
        affects="timing",
    )
    max_completion_length: int = knob(
        128,
        "Answers that the model writes itself are cut off here. Shorter is much quicker.",
        low=1,
        high=1_000_000,
        safe=(4, 1024),
        unit="tokens",
        everyday=True,
        affects="rows",
    )
    temperature: float = knob(
        0.9,
        "How adventurous the answers are that the model writes itself.",
        low=0.05,
        high=5.0,
        safe=(0.5, 1.2),
        affects="timing",
    )


def remark(job: Job) -> str:
    """A note for the preview on what the examples do not show; empty where there is none."""
    share = f"{job.knobs.own_share * 100:g} %"
    text = f"In {share} of the batches the model writes the answers itself instead of reading these."
    return text if job.knobs.own_share else ""


def defaults(adapter: str, parameters: int | None) -> dict[str, Any]:
    """Default settings.

    The learning rate is that of SFT: the teacher's distribution is as strong a signal as examples.
    """
    return {"learning_rate": default_learning_rate(adapter, parameters)}


def load_teacher(job: Job) -> tuple[Any, Any]:
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


def load_teacher_with_same_vocabulary(job: Job) -> tuple[Any, Any]:
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


def tokenizer_difference(student_tokenizer: Any, teacher_tokenizer: Any) -> str:
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


def _tokens_by_id(tokenizer: Any) -> dict[int, str]:
    return {token_id: token for token, token_id in tokenizer.get_vocab().items()}


def _vocabulary_size_difference(student: Any, teacher: Any) -> str:
    student_size, teacher_size = (model.config.get_text_config().vocab_size for model in (student, teacher))
    return (
        ""
        if student_size == teacher_size
        else f"it chooses among {teacher_size:,} tokens, and this model among {student_size:,}"
    )


# -- samples of what the student generates ------------------------------------------------------------------------


def with_sample_logging(trainer: type, job: Job, generate_method: str) -> type:
    """A subclass of the trainer that emits some generated answers as sample events.

    generate_method: the name of its method that generates them; it returns completion_ids and completion_mask.
    """
    from app.engine.trainers.group_rl.rollout_logging import message_text

    @named_after(trainer)
    class SampleLogging(trainer):
        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            super().log(logs, start_time)  # emits the step event first
            step, stepped = self.state.global_step, "loss" in logs  # not the summary at the end
            if job.emitter and self.model.training and stepped and (step == 1 or step % job.knobs.samples_every == 0):
                job.emitter.emit("sample", step=step, rows=self.logged_samples)

    def generate(self: Any, inputs: list[dict[str, Any]]) -> Any:
        batch = getattr(trainer, generate_method)(self, inputs)
        completion_ids, completion_mask = (
            batch["completion_ids"][:_SAMPLES_PER_EVENT],
            batch["completion_mask"][:_SAMPLES_PER_EVENT].bool(),
        )
        completions = [
            self._tokenizer.decode(token_ids[is_completion], skip_special_tokens=True)
            for token_ids, is_completion in zip(completion_ids, completion_mask, strict=True)
        ]
        self.logged_samples = [
            {"prompt": message_text(row["prompt"]), "completion": text}
            for row, text in zip(inputs, completions, strict=False)
        ]
        return batch

    setattr(SampleLogging, generate_method, generate)
    return SampleLogging


# -- teacher-student agreement ------------------------------------------------------------------------------------


def teacher_agreement(job: Job, trainer: Any) -> dict[str, float | None]:
    """{"agreement": share of the tokens in the teacher's answers that are also the student's greedy next token}.

    The teacher answers the held-out prompts once, greedily; the student reads these answers.
    """
    if not hasattr(trainer, "taught"):
        trainer.taught = _teacher_answers(job, trainer)
    return (
        {"agreement": agreement_share(trainer, trainer.taught, _end_token_ids(job, trainer))} if trainer.taught else {}
    )


TokenizedAnswers = list[tuple[list[int], list[int]]]  # (prompt ids, answer ids) for each held-out prompt


def _teacher_answers(job: Job, trainer: Any) -> TokenizedAnswers:
    """Held-out prompts as the student reads them, and the teacher's answers, in the student's tokens."""
    from app.data.rows import prompt_and_answer
    from app.engine.evaluation.evaluate import eval_completion_length
    from app.engine.generation.generate import generate_from_texts, render_prompt

    prompts = [
        question[0] for row in job.data.holdout[: job.knobs.eval_answers] if (question := prompt_and_answer(row))
    ]
    student_prompts = [render_prompt(job.tokenizer, prompt, job.prompts_are_chat) for prompt in prompts]
    if not student_prompts:
        return []
    teacher_prompts = (
        [trainer.for_teacher(prompt) for prompt in prompts] if hasattr(trainer, "for_teacher") else student_prompts
    )
    completions = generate_from_texts(
        trainer.teacher_model, trainer.teacher_words, teacher_prompts, eval_completion_length(job), {}
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


def _end_token_ids(job: Job, trainer: Any) -> set[int]:
    """Tokens that end an answer: models may declare more than one."""
    declared = trainer.model.generation_config.eos_token_id
    return {job.tokenizer.eos_token_id, *(declared if isinstance(declared, list) else [declared])} - {None}


def agreement_share(trainer: Any, answers: TokenizedAnswers, end_token_ids: set[int]) -> float:
    """Share of matching tokens over all answers, 0 to 1.

    Batches hold similar lengths, as many as fit in _MAX_LOGITS.
    """
    order = sorted(answers, key=lambda pair: len(pair[0]) + len(pair[1]))
    vocabulary = trainer.model.config.get_text_config().vocab_size
    matching = total = 0
    while order:
        batch_size = max(1, _MAX_LOGITS // (vocabulary * sum(map(len, order[0])) * 2))
        batch, order = order[:batch_size], order[batch_size:]
        for (_, answer), predicted in zip(batch, greedy_tokens(trainer, batch), strict=True):
            total += len(answer)
            matching += sum(
                token_id == predicted_id or {token_id, predicted_id} <= end_token_ids
                for token_id, predicted_id in zip(answer, predicted, strict=True)
            )
    return matching / total


def greedy_tokens(trainer: Any, answers: TokenizedAnswers) -> list[list[int]]:
    """The student's most likely token at each position of each answer, given the prompt and the answer before it."""
    import torch

    texts = [question + answer for question, answer in answers]
    longest = max(map(len, texts))
    input_ids = torch.tensor([text + [0] * (longest - len(text)) for text in texts])
    attention_mask = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text in texts])
    device = trainer.accelerator.device
    with torch.no_grad(), trainer.compute_loss_context_manager():
        likeliest = trainer.model(
            input_ids=input_ids.to(device), attention_mask=attention_mask.to(device), use_cache=False
        ).logits.argmax(-1)
    return [
        row[len(question) - 1 : len(question) + len(answer) - 1].tolist()
        for row, (question, answer) in zip(likeliest, answers, strict=True)
    ]
