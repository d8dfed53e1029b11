"""Filter of rows that a Spec drops: by their content while the data is loaded, by their tokens once it is prepared."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import orjson

from app.data.conversations.messages import Messages, content_text, is_message_list
from app.data.refused_rows import TEMPLATE_REFUSES
from app.data.rows import Row, prompt_and_answer
from app.engine.lockless_property import lockless_cached_property

if TYPE_CHECKING:
    from datasets import Dataset

    from app.engine.job import Job
    from app.setup.spec import Spec

_MIN_LEAK_CHARACTERS = 20  # shorter answers, such as “yes”, may well occur in a prompt
DROP_REASONS = {
    "duplicates": "the same stands there already",
    "held_out": "it is also kept aside to test on",
    "leaks": "its answer stands in the question",
    "same": "its two answers say the same",
    "untrained": "nothing of it would be learned",
    "cut": "it is longer than the maximum length",
    "refused": TEMPLATE_REFUSES,
}


class RowFilter:
    """Lets training rows through and counts the dropped ones by reason. Where the Spec drops nothing, every row passes.

    held_out: returns the held-out rows. endless: the rows repeat without end, so a repeated row is no duplicate.
    """

    def __init__(
        self, spec: Spec, drop_counts: Counter[str], held_out: Callable[[], Iterable[Row]], endless: bool = False
    ):
        self.drop = {*spec.drop} - ({"duplicates"} if endless else set())
        self.drop_counts, self.held_out = drop_counts, held_out
        self.seen_hashes: set[bytes] = set()

    def __call__(self, rows: Iterable[Row]) -> Iterator[Row]:
        if not self.drop:
            yield from rows
            return
        for row in rows:
            reason = self._drop_reason(row)
            if reason:
                self.drop_counts[DROP_REASONS[reason]] += 1
            else:
                yield row

    def _drop_reason(self, row: Row) -> str:
        """A key of DROP_REASONS; empty for a row that is trained on. Refused rows are dropped before they come here."""
        if "leaks" in self.drop and leaks_answer(row):
            return "leaks"
        if "same" in self.drop and has_identical_answers(row):
            return "same"
        if not self.drop & {"duplicates", "held_out"}:
            return ""
        row_hash = content_hash(row)
        if "held_out" in self.drop and row_hash in self.held_out_hashes:
            return "held_out"
        if "duplicates" in self.drop and row_hash in self.seen_hashes:
            return "duplicates"
        self.seen_hashes.add(row_hash)
        return ""

    @lockless_cached_property
    def held_out_hashes(self) -> set[bytes]:
        """Hashes of the held-out rows. A holdout by share has none here: it never puts equal rows on both sides."""
        counts_before = self.drop_counts.copy()
        hashes = {content_hash(row) for row in self.held_out()}
        self.drop_counts.clear()
        self.drop_counts.update(counts_before)  # rows left out here are counted when the held-out rows are loaded
        return hashes


def content_hash(row: Row) -> bytes:
    """Equal for rows with the same content in the same columns, whatever the order of the columns."""
    row_json = orjson.dumps(row, default=repr, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.blake2b(row_json, digest_size=16).digest()


def leaks_answer(row: Row) -> bool:
    """Whether the prompt contains the answer, apart from capitals and white space."""
    pair = prompt_and_answer(row)
    if pair is None:
        return False
    prompt, answer = pair
    normalized_answer = _normalized(answer)
    return len(normalized_answer) >= _MIN_LEAK_CHARACTERS and normalized_answer in _normalized(_plain_text(prompt))


def has_identical_answers(row: Row) -> bool:
    """Whether chosen and rejected differ at most in capitals and white space: then there is nothing to prefer."""
    if "chosen" not in row or "rejected" not in row:
        return False
    return _normalized(_plain_text(row["chosen"])) == _normalized(_plain_text(row["rejected"]))


def _plain_text(text_or_messages: str | Messages) -> str:
    if is_message_list(text_or_messages):
        return "\n".join(content_text(message.get("content")) for message in text_or_messages)
    return str(text_or_messages)


def _normalized(text: str) -> str:
    return " ".join(text.casefold().split())


def drop_by_tokens(job: Job, table: Dataset, limit: int | None) -> Dataset:
    """The prepared table without the rows that the Spec drops for their tokens. limit: where the trainer will truncate, if it has
    not yet."""
    from app.engine.datasets.token_columns import count_tokens

    reasons = {"cut", "untrained"} & {*job.spec.drop}
    token_counts = count_tokens(table, limit) if reasons and len(table) else None
    if token_counts is None:
        return table
    lengths, trained_counts = token_counts
    is_cut = (lengths > limit) if limit and "cut" in reasons else lengths < 0
    is_untrained = (trained_counts == 0) & ~is_cut if "untrained" in reasons else lengths < 0
    for reason, row_mask in (("cut", is_cut), ("untrained", is_untrained)):
        if row_mask.any():
            job.data.dropped[DROP_REASONS[reason]] += int(row_mask.sum())
    is_dropped = is_cut | is_untrained
    return table.select((~is_dropped).nonzero()[0]) if is_dropped.any() else table


def count_trained_rows(job: Job) -> int:
    """Training rows, without those that are dropped for their tokens."""
    return len(job.data.train) - sum(job.data.dropped[DROP_REASONS[reason]] for reason in ("cut", "untrained"))


def truncation_length(job: Job) -> int | None:
    """The length in tokens at which an example loses its end; None where packing splits examples without loss."""
    has_packing = getattr(job.knobs, "packing", False)
    keeps_examples_whole = has_packing and getattr(job.knobs, "packing_strategy", "wrapped") == "bfd"
    return getattr(job.knobs, "max_length", None) if keeps_examples_whole or not has_packing else None
