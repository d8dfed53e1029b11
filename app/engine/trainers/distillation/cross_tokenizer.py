"""Translating: a teacher with other tokens is asked in its own chat format, and the two formats' ends of an answer are compared.

TRL lets the teacher read the very text that the model reads, in which the marks of a foreign chat format are mere words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.core.problems import Problem

if TYPE_CHECKING:
    from app.engine.job import Job


def require_format(job: Job, words: Any) -> None:
    if not words.chat_template:
        raise Problem(f"The teacher “{job.knobs.teacher}” has no chat format of its own.",
                      advice="Set teacher_reads to same, or choose a teacher that chats.")  # fmt: skip


def translating(trainer: type, words: Any) -> type:
    """GOLD's trainer, whose teacher, with these words, is asked as it is used to. An answer ends with its end token."""

    class Translating(trainer):
        def __init__(self, *args: Any, **kwargs: Any):
            self.theirs: dict[str, str] = {}  # each question as the model reads it: as the teacher does
            super().__init__(*args, **kwargs)

        def _prepare_dataset(self, dataset: Any, tokenizer: Any, *rest: Any) -> Any:
            made = super()._prepare_dataset(dataset, tokenizer, *rest).map(ended, fn_kwargs={"words": tokenizer})
            for row in made:
                asked = without_beginning(words, question(words, row["messages"][:-1]))
                # as it is written, and as it is read from its tokens again: a normaliser may part the two
                read = tokenizer.decode(row["input_ids"][: row["completion_mask"].index(1)])
                self.theirs |= {row["original_prompt_text"]: asked, read: asked}
            return made

        def for_teacher(self, asked: list[dict[str, Any]]) -> str:
            return question(words, asked)

        def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
            asked = [self.theirs[text] for text in inputs["original_prompt_text"]]
            said = [without_end(self, text) for text in inputs["original_completion_text"]]
            told = inputs | {"original_prompt_text": asked, "original_completion_text": said}
            return super().compute_loss(model, told, *args, **kwargs)

    Translating.__name__ = Translating.__qualname__ = trainer.__name__
    return Translating


def question(words: Any, turns: list[dict[str, Any]]) -> str:
    """The turns before an answer in the teacher's format."""
    return words.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)


def without_beginning(words: Any, text: str) -> str:
    """Without the token that begins a text where the tokenizer adds it by itself, as TRL lets it."""
    adds = words.bos_token and words("").input_ids[:1] == [words.bos_token_id]
    return text.removeprefix(words.bos_token) if adds else text


def ended(row: dict[str, Any], words: Any) -> dict[str, Any]:
    """Without what a chat format writes after the end of an answer, where it writes one: the teacher's has nothing like it."""
    ids, end = row["input_ids"], words.eos_token_id
    places = [
        place for place, (one, mine) in enumerate(zip(ids, row["completion_mask"], strict=True)) if mine and one == end
    ]
    if not places:
        return {}
    parts = ("input_ids", "attention_mask", "byte_offsets", "completion_mask")
    text = row["original_completion_text"].rpartition(words.eos_token)[0] + words.eos_token
    return {name: row[name][: places[-1] + 1] for name in parts} | {"original_completion_text": text}


def without_end(trainer: Any, text: str) -> str:
    """An answer without its end token; models know more than one."""
    known = trainer.generation_config.eos_token_id
    for mark in trainer._tokenizer.convert_ids_to_tokens(known if isinstance(known, list) else [known]):
        text = text.removesuffix(mark)
    return text
