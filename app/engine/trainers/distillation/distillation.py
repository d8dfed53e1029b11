"""Copying: what the methods share that learn from another model: the teacher, its words, and how often the two agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.core.problems import Problem
from app.engine.generation.sampling import TemplateArguments
from app.engine.trainers.training_args import TrainingKnobs, learning_rate
from app.setup.knob import knob

if TYPE_CHECKING:
    from app.engine.job import Job

LOGITS = 2**28  # held at once, in elements (1 GiB of float32)
PROBE = "What is 12 + 34?\nÄpfel und 日本, {\"a\": [1, 2]}  naïve — 🜁"  # fmt: skip

MEASURES = {"agreement": "the same next word as the teacher"}


class TeacherKnobs(TrainingKnobs):
    """Shared by the methods that have a teacher."""

    teacher: str = knob(
        "pocket-teacher", "The model that is copied: one on the Hub, a run of yours, or the practice model's own teacher.",
        picks="model", everyday=True)  # fmt: skip
    teacher_revision: str = knob(
        "", "Which version of a teacher on the Hub: a branch, a tag or a commit. Empty takes the newest.")  # fmt: skip
    beta: float = knob(
        0.5, "Which way the copy may err: 0 covers all that the teacher might say, 1 keeps to what the teacher finds likeliest.",
        low=0.0, high=1.0)  # fmt: skip


class ExampleKnobs(TeacherKnobs, TemplateArguments):
    """Shared by those whose teacher reads given answers, and some that the model writes."""

    max_length: int = knob(
        1024, "Longer conversations are left out. Longer takes more memory.", low=8, high=1_000_000, safe=(128, 4096),
        unit="tokens")  # fmt: skip
    own_share: float = knob(
        0.5, "In how many of the batches the model writes the answers itself instead of reading those given. Writing is slower, and corrects what it really says.",
        low=0.0, high=1.0, unit="of the batches", everyday=True)  # fmt: skip
    max_completion_length: int = knob(
        128, "Answers that the model writes itself are cut off here. Shorter is much quicker.", low=1, high=1_000_000,
        safe=(4, 1024), unit="tokens", everyday=True)  # fmt: skip
    temperature: float = knob(
        0.9, "How adventurous the answers are that the model writes itself.", low=0.05, high=5.0, safe=(0.5, 1.2))  # fmt: skip


def remark(job: Job) -> str:
    """What a look at the examples does not show."""
    share = f"{job.knobs.own_share * 100:g} %"
    told = f"In {share} of the batches the model writes the answers itself instead of reading these."
    return told if job.knobs.own_share else ""


def defaults(adapter: str, parameters: int | None) -> dict[str, Any]:
    """A teacher tells of every token how likely each other one is: as strong a signal as examples, and the same step."""
    return {"learning_rate": learning_rate(adapter, parameters)}


def teacher(job: Job) -> tuple[Any, Any]:
    """(model, tokenizer) of the teacher; an outline in a preview. Raises Problem."""
    from app.engine.model.aux_models import other
    from app.setup import models

    if models.place(job.knobs.teacher) == models.locate(job.spec.model.id) and not job.spec.model.start_from:
        raise Problem(
            "The teacher is the very model that learns, so there is nothing to copy.", advice="Choose a better one."
        )
    return other(job.knobs.teacher, job, job.knobs.teacher_revision or None)


def teacher_of_same_words(job: Job) -> tuple[Any, Any]:
    """The teacher, whose tokens must mean the same as the model's. Raises Problem."""
    model, words = teacher(job)
    reason = difference(job.tokenizer, words) or sizes(job.model, model)
    if reason:
        raise Problem(f"The teacher “{job.knobs.teacher}” has another vocabulary than this model: {reason}.",
                      advice="Choose a teacher of the same family, or “Copy a model that reads otherwise” (gold), which aligns texts.", reason="other_words")  # fmt: skip
    return model, words


def difference(ours: Any, theirs: Any) -> str:
    """How two tokenizers differ in a token that both have or in how they cut a text; empty where they do not.

    One may have more tokens at the end: models of one family often add marks of their own.
    """
    mine, other = by_number(ours), by_number(theirs)
    both = mine.keys() & other.keys()
    place = next((number for number in sorted(both) if mine[number] != other[number]), None)
    if place is not None:
        return f"token {place} is “{mine[place]}” here and “{other[place]}” there"
    if ours(PROBE, add_special_tokens=False).input_ids != theirs(PROBE, add_special_tokens=False).input_ids:
        return "the two cut the same text into different tokens"
    return ""


def by_number(words: Any) -> dict[int, str]:
    return {number: token for token, number in words.get_vocab().items()}


def sizes(ours: Any, theirs: Any) -> str:
    mine, other = (model.config.get_text_config().vocab_size for model in (ours, theirs))
    return "" if mine == other else f"it chooses among {other:,} tokens, and this model among {mine:,}"


# -- what the model writes itself ---------------------------------------------------------------------------------


def telling(trainer: type, job: Job, writes: str) -> type:
    """The trainer, saying a few of the answers it wrote as sample events. writes: its method that writes them."""
    from app.engine.trainers.group_rl.rollout_logging import plain

    class Telling(trainer):
        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            super().log(logs, start_time)  # tells the step first
            step, stepped = self.state.global_step, "loss" in logs  # not the summary at the end
            if job.emitter and self.model.training and stepped and (step == 1 or step % job.knobs.samples_every == 0):
                job.emitter.say("sample", step=step, rows=self.written)

    def write(self: Any, rows: list[dict[str, Any]], *rest: Any) -> Any:
        made = getattr(trainer, writes)(self, rows, *rest)
        ids, mask = made["completion_ids"][:SHOWN], made["completion_mask"][:SHOWN].bool()
        said = [
            self._tokenizer.decode(one[kept], skip_special_tokens=True) for one, kept in zip(ids, mask, strict=True)
        ]
        self.written = [
            {"prompt": plain(row["prompt"]), "completion": text} for row, text in zip(rows, said, strict=False)
        ]
        return made

    setattr(Telling, writes, write)
    return Telling


SHOWN = 4  # answers in one sample event


# -- how often the two agree --------------------------------------------------------------------------------------


def agreement(job: Job, trainer: Any) -> dict[str, float | None]:
    """{"agreement": the share of the tokens of the teacher's answers that the model, too, would have written next}.

    The teacher answers the held-out questions once, always with its likeliest token; the model reads these answers.
    """
    if not hasattr(trainer, "taught"):
        trainer.taught = taught(job, trainer)
    return {"agreement": agreeing(trainer, trainer.taught, ends_of(job, trainer))} if trainer.taught else {}


Answers = list[tuple[list[int], list[int]]]  # the tokens of each question and of its answer


def taught(job: Job, trainer: Any) -> Answers:
    """The questions, as the model reads them, and what the teacher answers, in the model's tokens."""
    from app.data.rows import as_question
    from app.engine.evaluation.evaluate import longest
    from app.engine.generation.generate import complete, rendered

    asked = [found[0] for row in job.data.holdout[: job.knobs.eval_answers] if (found := as_question(row))]
    questions = [rendered(job.tokenizer, one, job.speaks) for one in asked]
    if not questions:
        return []
    theirs = [trainer.for_teacher(one) for one in asked] if hasattr(trainer, "for_teacher") else questions
    said = complete(trainer.teacher_model, trainer.teacher_words, theirs, longest(job), {})
    return in_tokens(job, questions, said)


def in_tokens(job: Job, questions: list[str], said: list[str]) -> Answers:
    """An answer that is shorter than it might have been ended by itself: its end is one of its tokens."""
    from app.engine.evaluation.evaluate import longest

    words = job.tokenizer
    first = words(questions, add_special_tokens=not words.chat_template).input_ids
    then = [words(text, add_special_tokens=False).input_ids for text in said]
    then = [ids if len(ids) >= longest(job) else [*ids, words.eos_token_id] for ids in then]
    return [(question, answer) for question, answer in zip(first, then, strict=True) if answer]


def ends_of(job: Job, trainer: Any) -> set[int]:
    """Tokens with which the model ends an answer: models know more than one."""
    found = trainer.model.generation_config.eos_token_id
    return {job.tokenizer.eos_token_id, *(found if isinstance(found, list) else [found])} - {None}


def agreeing(trainer: Any, answers: Answers, ends: set[int]) -> float:
    """Over all tokens of all answers; alike lengths together, as many as fit in LOGITS."""
    order = sorted(answers, key=lambda pair: len(pair[0]) + len(pair[1]))
    vocabulary = trainer.model.config.get_text_config().vocab_size
    right = total = 0
    while order:
        rows = max(1, LOGITS // (vocabulary * sum(map(len, order[0])) * 2))
        part, order = order[:rows], order[rows:]
        for (_, answer), guess in zip(part, guesses(trainer, part), strict=True):
            total += len(answer)
            right += sum(one == other or {one, other} <= ends for one, other in zip(answer, guess, strict=True))
    return right / total


def guesses(trainer: Any, answers: Answers) -> list[list[int]]:
    """The model's likeliest token at each place of each answer, after all that stands before it."""
    import torch

    whole = [question + answer for question, answer in answers]
    longest = max(map(len, whole))
    ids = torch.tensor([one + [0] * (longest - len(one)) for one in whole])
    mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in whole])
    device = trainer.accelerator.device
    with torch.no_grad(), trainer.compute_loss_context_manager():
        likeliest = trainer.model(
            input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
        ).logits.argmax(-1)
    return [row[len(question) - 1 : len(question) + len(answer) - 1].tolist()
            for row, (question, answer) in zip(likeliest, answers, strict=True)]  # fmt: skip
