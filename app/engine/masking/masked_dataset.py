"""Rows: tables of conversations and texts become tables of tokens with labels, which TRL takes as they are."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Protocol

from app.core.problems import Problem, shorten
from app.data.apply_layout import unmarked
from app.engine.masking.token_labels import Letters, tokenised
from app.engine.tokens.tokenized_examples import UNLEARNED

Row = dict[str, Any]
BATCH = 500


@dataclass
class Drawn:
    """A row as the model reads it, and which of its characters are learned. why: nothing is, in a sentence. notes: what a person
    should know of it. edges: where the learned begins by a person's own words."""

    text: str
    letters: Letters
    why: str = ""
    notes: list[str] = field(default_factory=list)
    edges: list[int] = field(default_factory=list)


class Mask(Protocol):
    """How rows of one kind are masked. special: the tokenizer adds its own marks around them, as around plain text."""

    special: bool

    def __call__(self, row: Row) -> Drawn: ...


@dataclass
class Masker:
    """Rows in columns become tokens and labels in columns. why: of a row of which nothing is learned. notes: what to know of it."""

    tokenizer: Any
    mask: Mask

    def __call__(self, columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        drawn = [self.drawn(row) for row in rows]
        tokens = tokenised(self.tokenizer, [one.text for one in drawn], self.mask.special)
        made = [self.labelled(one, *told) for one, told in zip(drawn, tokens, strict=True)]
        return {name: [row[name] for row in made] for name in ("input_ids", "labels", "why", "notes")}

    def drawn(self, row: Row) -> Drawn:
        try:
            return self.mask(row)
        except Exception as error:  # a border: a template is a stranger's program and refuses some conversations
            if not hasattr(self.mask, "form"):
                raise
            return Drawn("", Letters(0), f"the chat format refuses it ({shorten(str(error), 120).rstrip('.')})")

    def labelled(self, drawn: Drawn, ids: list[int], starts: Any, ends: Any) -> Row:
        labels = drawn.letters.labels(ids, starts, ends)
        why = drawn.why or ("" if any(label != UNLEARNED for label in labels) else NOTHING)
        straddled = [SWALLOWED] if any(drawn.letters.straddles(starts, ends, at) for at in drawn.edges) else []
        notes = list(dict.fromkeys(drawn.notes + straddled))
        return {"input_ids": ids, "labels": [UNLEARNED] * len(ids) if why else labels, "why": why, "notes": notes}


def masked(tokenizer: Any, table: Any, mask: Mask) -> Any:
    """The table as tokens, with the rows' places where it has these."""
    from datasets import Features, List, Value
    from datasets.fingerprint import generate_random_fingerprint

    shape = {"input_ids": List(Value("int32")), "labels": List(Value("int64")), "why": Value("string"), "notes": List(Value("string"))}  # fmt: skip
    kept = {name: table.features[name] for name in ("row",) if name in table.column_names}
    return table.map(Masker(tokenizer, mask), batched=True, batch_size=BATCH, features=Features(kept | shape),
                     remove_columns=[name for name in table.column_names if name not in kept],
                     new_fingerprint=generate_random_fingerprint(), desc="Masking")  # fmt: skip


def masking(trainer: type, tokenizer: Any, mask: Mask | None, marked: bool = False) -> type:
    """The trainer's class, whose rows are masked by us before TRL takes them, where its own masks do not do. marked: rows say
    themselves what is learned, which TRL must not see."""

    class Masking(trainer):
        def _prepare_dataset(self, dataset: Any, words: Any, args: Any, packing: bool, form: Any, name: str) -> Any:
            if mask or marked:
                if "input_ids" not in dataset.column_names:
                    dataset = masked(tokenizer, dataset, mask) if mask else dataset.map(unmarked)
                if packing and mask:  # TRL leaves rows with nothing to learn out where it cuts, and not where it packs
                    dataset = dataset.filter(lambda row: any(one != UNLEARNED for one in row["labels"]))
            try:
                return super()._prepare_dataset(dataset, words, args, packing, form, name)
            except Exception as error:  # a border: a template is a stranger's program
                if why := refusal(tokenizer, self.chat_template, dataset):
                    raise why from error
                raise

    Masking.__name__ = Masking.__qualname__ = trainer.__name__
    return Masking


def refusal(tokenizer: Any, template: str | None, table: Any) -> Problem | None:
    """The first row that the chat format refuses, as a Problem."""
    for number, row in enumerate(table, 1):
        turns = row.get("messages") or [*(row.get("prompt") or []), *(row.get("completion") or [])]
        if not turns or not isinstance(turns[0], dict):
            return None
        try:
            tokenizer.apply_chat_template(turns, tokenize=False, chat_template=template, **options_of(row))
        except Exception as error:  # a border: a template is a stranger's program
            return Problem(f"The chat format refuses example {number}: {shorten(str(error), 160).rstrip('.')}.",
                           advice="Mend or leave out that example, or choose another chat format.", reason="bad_template")  # fmt: skip
    return None


NOTHING = "nothing in it is marked as learned"
SWALLOWED = "swallowed"
LOOSE, UNWRITTEN, SEVERAL = "loose", "unwritten", "several"
NOTES = {
    SWALLOWED: "{some} the learned text begins in the middle of a token, which is then not learned: leave the white space at the end of "
               "what you look for to the words behind it.",
    LOOSE: "{some} a part ends in white space where the next is learned otherwise. That space belongs to the next word’s token, which is "
           "then not learned: begin the next part with the space instead.",
    UNWRITTEN: "{some} something that should be learned is not written by the chat format at all, such as thoughts in an earlier answer.",
    SEVERAL: "{some} what answers begin with stands several times, and only what follows the last is learned. Say also what questions begin "
             "with, and every answer is.",
}  # fmt: skip


def options_of(row: Row) -> Row:
    """What the chat format is told beside the turns, as TRL tells it."""
    tools = row.get("tools")
    return {"tools": json.loads(tools) if isinstance(tools, str) else tools, **(row.get("chat_template_kwargs") or {})}
