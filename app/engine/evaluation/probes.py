"""Probes: cheap measures of what the held-out score does not show, made with each evaluation of a run.

They are logged as `probe/…` beside the `eval/…` metrics; app/history/diagnoses reads them.
"""

from __future__ import annotations

import statistics
from collections import Counter
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from app.data.conversations.messages import Messages
from app.data.rows import Row, prompt_and_answer
from app.engine.generation.generate import render_prompt
from app.engine.generation.transformers_generator import tokenize_rendered
from app.engine.job import Job
from app.engine.tokens.eos_tokens import end_token_ids
from app.engine.tokens.length_batches import length_batches, map_batches, pad_texts

if TYPE_CHECKING:
    from app.engine.contracts import Metrics, Trainer

_MAX_ROWS = 32  # held-out rows that are scored
_MAX_TOKENS = 768  # of a prompt with its answer; longer ones are left out, as they cost more than they tell
_MAX_LOGITS = 2**26  # elements in memory at once (256 MiB of float32), as a card may be nearly full
_MAX_COUNTED_ROWS = 512  # training rows whose answers are compared
_MIN_COUNTED = 12  # fewer answers may be the same by chance

# Questions that most models answer and few setups teach: how well they are still answered shows what was forgotten.
PLAIN_QUESTIONS = (
    ("What colour is the sky?", "The sky is blue."),
    ("What colour is snow?", "Snow is white."),
    ("What colour is the sun?", "The sun is yellow."),
    ("What colour is a lemon?", "A lemon is yellow."),
    ("What does the cow say?", "The cow says moo."),
    ("What does the dog say?", "The dog says woof."),
    ("What is the opposite of hot?", "The opposite of hot is cold."),
    ("What is the opposite of big?", "The opposite of big is small."),
    ("Which day comes after Monday?", "After Monday comes Tuesday."),
    ("Which number comes after 7?", "After 7 comes 8."),
    ("Thank you!", "You are welcome!"),
)


class TokenizedAnswer(NamedTuple):
    """Token ids of a rendered prompt and of the answer to it."""

    prompt: list[int]
    answer: list[int]


class AnswerScore(NamedTuple):
    """loss: mean of the answer's tokens, in nats. rest_loss: the same without its first token, which styles differ in.
    end_probability: that the model ends where the answer ends."""

    loss: float
    rest_loss: float
    end_probability: float


def probe(job: Job, trainer: Trainer) -> Metrics:
    """{name without `probe/`: value} with the current weights. Of a model that scores, only the number of rows."""
    held_out_rows: Metrics = {"held_out_rows": job.num_evaluated_rows or None}
    if not job.is_generative:
        return held_out_rows
    separator = "" if job.prompts_are_chat else " "
    plain = [_tokenize(job, question, separator + answer) for question, answer in PLAIN_QUESTIONS]
    scores = _score(job, trainer, plain)
    metrics: Metrics = {
        "unrelated_rest_loss": statistics.mean(score.rest_loss for score in scores),
    }
    return held_out_rows | metrics | _answer_probes(job, trainer)


def count_answers(job: Job) -> Metrics:
    """{"common_answer": share of the training rows that have the most common answer, or "common_label" where rows have
    labels}; {} where rows have neither, have images or are streamed."""
    if job.streaming or job.processor is not None:  # reading many images takes long
        return {}
    rows = [*islice(job.data.train, _MAX_COUNTED_ROWS)]
    if rows and "label" in rows[0]:
        return _share_of_most_common("common_label", [str(row["label"]) for row in rows])
    answers = [question[1] for row in rows if (question := prompt_and_answer(row)) and question[1]]
    return _share_of_most_common("common_answer", answers)


def _share_of_most_common(name: str, texts: list[str]) -> Metrics:
    return {name: Counter(texts).most_common(1)[0][1] / len(texts)} if len(texts) >= _MIN_COUNTED else {}


def _answer_probes(job: Job, trainer: Trainer) -> Metrics:
    """Of held-out answers: how much likelier they are after their own question than after another row's, with the
    standard error of that difference, and how sure the model is that they end where they do."""
    if job.processor is not None:  # the images would be missing
        return {}
    questions = _held_out_questions(job.data.holdout)
    if len(questions) < 2:
        return {}
    own = [_tokenize(job, prompt, answer) for prompt, answer in questions]
    prompts, answers = [text.prompt for text in own], [text.answer for text in own]
    others = [
        TokenizedAnswer(prompt, answer) for prompt, answer in zip(prompts[1:] + prompts[:1], answers, strict=True)
    ]
    pairs = [(text, other) for text, other in zip(own, others, strict=True) if _is_short(text) and _is_short(other)]
    if len(pairs) < 2:
        return {}
    scores = _score(job, trainer, [text for text, _ in pairs])
    other_scores = _score(job, trainer, [other for _, other in pairs])
    gains = [other.loss - own_score.loss for own_score, other in zip(scores, other_scores, strict=True)]
    return {
        "question_gain": statistics.mean(gains),
        "question_gain_error": statistics.stdev(gains) / len(gains) ** 0.5,
        "answer_end": statistics.mean(score.end_probability for score in scores),
    }


def _held_out_questions(rows: list[Row]) -> list[tuple[str | Messages, str]]:
    """(prompt, answer) of the first held-out rows that have both."""
    questions = (question for row in rows if (question := prompt_and_answer(row)) and question[1])
    return [*islice(questions, _MAX_ROWS)]


def _tokenize(job: Job, prompt: str | Messages, answer: str) -> TokenizedAnswer:
    tokenizer = job.tokenizer
    rendered_prompt = render_prompt(tokenizer, prompt, job.prompts_are_chat)
    answer_ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return TokenizedAnswer(tokenize_rendered(tokenizer, rendered_prompt), answer_ids)


def _is_short(text: TokenizedAnswer) -> bool:
    return bool(text.prompt and text.answer) and len(text.prompt) + len(text.answer) <= _MAX_TOKENS


def _score(job: Job, trainer: Trainer, texts: list[TokenizedAnswer]) -> list[AnswerScore]:
    vocabulary = trainer.model.config.get_text_config().vocab_size
    batches = length_batches(
        [len(text.prompt) + len(text.answer) for text in texts],
        lambda shortest: _MAX_LOGITS // (vocabulary * shortest * 2),
    )
    return map_batches(batches, texts, partial(_score_batch, trainer, end_token_ids(job)))


def _score_batch(trainer: Trainer, end_ids: list[int], texts: list[TokenizedAnswer]) -> list[AnswerScore]:
    import torch

    input_ids, attention_mask = pad_texts([[*text.prompt, *text.answer] for text in texts], trainer.accelerator.device)
    with torch.no_grad(), trainer.compute_loss_context_manager():
        logits = trainer.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
    scores = []
    for row, (prompt, answer) in zip(logits, texts, strict=True):
        # Of the answer alone: the log-probabilities of a whole batch would take its memory a second time.
        log_probs = torch.log_softmax(row[len(prompt) - 1 : len(prompt) + len(answer)].float(), dim=-1)
        targets = torch.tensor(answer, device=row.device)[:, None]
        losses = (-log_probs[:-1].gather(-1, targets)[:, 0]).tolist()
        end_probability = log_probs[-1][end_ids].exp().sum().item()
        scores.append(AnswerScore(statistics.mean(losses), statistics.mean(losses[1:] or losses), end_probability))
    return scores
