"""Base class of the audit's checks, with the row, finding and remedy types that they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from app.contracts import Finding, Remedy, Severity
from app.core.json_types import JsonValue
from app.data.conversations.messages import Messages, content_text
from app.data.rows import Row
from app.engine.datasets.row_filter import content_hash
from app.engine.tokens.secrets import redact_secret

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

    from app.engine.datasets.token_columns import TokenBatch
    from app.engine.job import Job
    from app.engine.tokens.tokenized_examples import BoolArray, IntArray

MAX_FINDING_ROWS = 20  # row numbers that a finding lists
_TEXT_COLUMNS = ("messages", "prompt", "chosen", "rejected", "completion", "reference", "privileged_context", "text")


@dataclass
class AuditedRow:
    """A row as the method takes it. number: its position among the training rows or among the held-out rows, from 1."""

    number: int
    row: Row

    @cached_property
    def texts(self) -> list[str]:
        """The texts of the row: each message, and each column that is text."""
        texts = [text for name in _TEXT_COLUMNS if name in self.row for text in _column_texts(self.row[name])]
        return texts + [step for step in self.row.get("completions") or () if isinstance(step, str)]

    @cached_property
    def text(self) -> str:
        """All text of the row, one message or column per line."""
        return "\n".join(self.texts)

    @cached_property
    def row_hash(self) -> bytes:
        """Equal for rows with equal content."""
        return content_hash(self.row)


def _column_texts(column: str | Messages | None) -> Iterator[str]:
    """The text of a column: itself, or that of each of its messages."""
    if isinstance(column, str):
        yield column
    for message in column if isinstance(column, list) else ():
        if isinstance(message, dict):
            yield content_text(message.get("content") or "")


def iterate_rows(table: Dataset, ignored: set[str], indices: list[int] | None = None) -> Iterator[Row]:
    """Rows as Python values, without the ignored columns and without the nulls of columns that only other rows have."""
    table = table.remove_columns([name for name in table.column_names if name in ignored])
    table = table if indices is None else table.select(indices)
    for batch in table.iter(batch_size=1_000):
        for row_values in zip(*batch.values(), strict=True):
            yield {name: value for name, value in zip(batch, row_values, strict=True) if value is not None}


@dataclass
class FlaggedRows:
    """The rows that a check flags: how many there are, and the numbers of the first of them."""

    count: int = 0
    row_numbers: list[int] = field(default_factory=list)

    def add(self, number: int) -> None:
        """Flags one row."""
        self.count += 1
        if len(self.row_numbers) < MAX_FINDING_ROWS:
            self.row_numbers.append(number)

    def add_all(self, numbers: IntArray) -> None:
        """Flags the rows of a numpy array of row numbers."""
        self.count += len(numbers)
        self.row_numbers += [int(number) for number in numbers[: MAX_FINDING_ROWS - len(self.row_numbers)]]


class FlaggedMatches:
    """The rows in which something was found, by what it is, with a redacted example of each kind."""

    def __init__(self) -> None:
        self.rows_by_kind: dict[str, FlaggedRows] = {}
        self._redacted_examples: dict[str, str] = {}

    def add_row(self, number: int, matches: Iterable[tuple[str, str]]) -> None:
        """Flags a row for each kind in it. matches: (kind, the text of it)."""
        first_by_kind: dict[str, str] = {}
        for kind, text in matches:
            first_by_kind.setdefault(kind, text)
        for kind, text in first_by_kind.items():
            self.rows_by_kind.setdefault(kind, FlaggedRows()).add(number)
            self._redacted_examples.setdefault(kind, redact_secret(text))

    def finding(self, name: str, kind: str, severity: Severity) -> Finding:
        """The finding about a kind; a wrong one has to be taken out."""
        rows = self.rows_by_kind[kind]
        count_text = count_examples(rows.count, "holds", "hold")
        text = f"{count_text} what looks like {kind} ({self._redacted_examples[kind]}). "
        text += "Take it out of the file: the model may" if severity == "wrong" else "The model may"
        return build_finding(name, severity, f"{text} say it to anybody.", rows)


class AuditCheck:
    """One check of all rows. A file in checks/ has its own, called `Check`, which overrides the methods it needs.

    table: the trainer's prepared table. row_indices: the index of each of its rows among the training rows, or None
    where the trainer left no row out.
    """

    def __init__(self, job: Job, table: Dataset):
        self.job, self.row_count = job, len(job.data.train)
        self.row_indices: IntArray | None = (
            None if "row" not in table.column_names else table.data.column("row").to_numpy()
        )

    def check_row(self, audited_row: AuditedRow) -> None:
        """Takes each training row, in order."""

    def check_evaluated_row(self, audited_row: AuditedRow, set_name: str) -> None:
        """Takes each held-out row, of HELD_OUT_SET, and each row of an evaluation set; all come before the training rows."""

    def check_tokens(self, token_batches: list[TokenBatch], chunk: pyarrow.Table) -> None:
        """Takes a chunk of the prepared table, as its tokens and as an Arrow table."""

    def findings(self) -> list[Finding]:
        """What the check reports after all rows."""
        return []

    def row_numbers_where(self, first_row: int, row_mask: BoolArray) -> IntArray:
        """Row numbers, from 1, where `row_mask` is true. The mask covers the chunk of the table that begins at `first_row`."""
        positions = row_mask.nonzero()[0] + first_row
        return (positions if self.row_indices is None else self.row_indices[positions]) + 1


def build_finding(
    name: str, severity: Severity, text: str, flagged: FlaggedRows | None = None, remedy: Remedy | None = None
) -> Finding:
    """A finding about the flagged rows."""
    flagged = flagged or FlaggedRows()
    return {
        "id": name,
        "severity": severity,
        "text": text,
        "count": flagged.count,
        "rows": flagged.row_numbers,
        "remedy": remedy,
    }


def build_remedy(title: str, **changes: JsonValue) -> Remedy:
    """A remedy that changes the setup. changes: {path in the Spec, with two underscores for each dot: new value}."""
    return {"title": title, "changes": {path.replace("__", "."): setting for path, setting in changes.items()}}


def build_drop_remedy(job: Job, reason: str, title: str) -> Remedy:
    """The remedy that drops the rows with this reason."""
    return build_remedy(title, drop=[*job.spec.drop, reason])


def count_examples(count: int, singular_verb: str, plural_verb: str) -> str:
    """`1 example loses …` or `3 examples lose …`."""
    return f"{count:,} example{f' {singular_verb}' if count == 1 else f's {plural_verb}'}"
