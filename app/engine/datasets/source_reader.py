"""Reader of a Spec's sources: rows as a method takes them, for training and held out, in memory or as a stream."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from itertools import islice

from app.contracts import Finding
from app.core import registry
from app.core.problems import Problem, shorten
from app.data import rows
from app.data.conversations import images
from app.data.fields import MISSING, as_text, get_field
from app.data.reading import files
from app.data.reading.unreadable_rows import UnreadableRows
from app.data.rows import Row
from app.engine.cooperative import yield_point
from app.engine.datasets.row_filter import RowFilter
from app.setup.spec import Source, Spec

_MAX_HELD_OUT_ROWS = 512  # held out of a stream, searched among its first _MAX_SEARCHED_ROWS
_MAX_SEARCHED_ROWS = 20_000
_MAX_QUOTED_VALUES = 8  # of a column, in an error


class SourceReader:
    """normalizer: turns raw rows into rows of one type, and counts those left out. streaming: rows are not kept in memory and
    have no end. piecewise: a Hub dataset is not downloaded as a whole, because only its first rows may be needed.

    unreadable_rows: {index of the source in the Spec: rows that could not be read}, of the latest reading.
    """

    def __init__(self, spec: Spec, normalizer: rows.RowNormalizer, streaming: bool = False, piecewise: bool = False):
        self.spec, self.normalizer, self.streaming = spec, normalizer, streaming
        self.piecewise = streaming or piecewise
        self.unreadable_rows: dict[int, UnreadableRows] = {}
        self.row_filter = RowFilter(spec, normalizer.drop_counts, self._all_evaluated_rows, endless=streaming)

    def training_rows(self, source_index: int) -> Iterator[Row]:
        """The training rows of one source, once."""
        source, unreadable = self.spec.data[source_index], UnreadableRows()
        self.unreadable_rows[source_index] = unreadable
        raw_rows = files.read_numbered_rows(source, unreadable=unreadable, streaming=self.piecewise)
        normalized = self._normalize(source, (pair for pair in raw_rows if not self._has_held_out_value(pair[1])))
        yield from self.row_filter(row for row in normalized if not self._is_in_held_out_share(row))

    def held_out(self) -> list[Row]:
        """Held-out rows, unless they are a share of rows in memory. Raises Problem when no row has the value to hold out by."""
        holdout = self.spec.holdout
        if holdout.split is not None:  # the slice of the source is for training only
            unsliced = self.spec.data[0].model_copy(update={"start": None, "limit": None})
            return list(self._read_all(unsliced, holdout.split))
        if holdout.source is not None:
            return list(self._read_all(holdout.source))
        if holdout.column is not None:
            return self._rows_with_held_out_value()
        return self._held_out_share_of_stream() if holdout.share and self.streaming else []

    def eval_sets(self) -> dict[str, list[Row]]:
        """{name: rows} of the evaluation sets. Raises Problem, which names the set, where one cannot be used."""
        rows_by_set: dict[str, list[Row]] = {}
        for eval_set in self.spec.eval_sets:
            with rows.problems_of_set(eval_set.name):
                rows_by_set[eval_set.name] = list(self._read_all(eval_set))
                if not rows_by_set[eval_set.name]:
                    raise Problem("It has no usable rows.", advice="Check its examples.", reason="no_rows")
        return rows_by_set

    def _all_evaluated_rows(self) -> list[Row]:
        return [row for evaluated_rows in (self.held_out(), *self.eval_sets().values()) for row in evaluated_rows]

    def _read_all(self, source: Source, split: str | None = None) -> Iterator[Row]:
        raw_rows = files.read_numbered_rows(source, split, UnreadableRows(), self.piecewise)
        normalized = self._normalize(source.model_copy(update={"split": split}) if split else source, raw_rows)
        return islice(normalized, _MAX_HELD_OUT_ROWS) if self.streaming else normalized

    def _normalize(self, source: Source, raw_rows: Iterator[files.NumberedRow]) -> Iterator[Row]:
        path = files.source_path(source)
        folder = files.image_folder(path) if path else None
        for number, row in enumerate(self.normalizer.normalize_numbered(raw_rows, source), 1):
            yield_point("Reading", number)
            row_or_reason = images.resolve_images(row, folder)
            if isinstance(row_or_reason, str):
                self.normalizer.drop_counts[row_or_reason] += 1
            else:
                yield row_or_reason

    # -- held out by a value in a column ----------------------------------------------------------------------------

    def _has_held_out_value(self, row: Row) -> bool:
        holdout = self.spec.holdout
        return holdout.column is not None and _column_text(row, holdout.column) == holdout.value

    def _rows_with_held_out_value(self) -> list[Row]:
        held_out_rows: list[Row] = []
        seen_texts: dict[str | None, None] = {}
        for source in self.spec.data:
            raw_rows = files.read_numbered_rows(source, unreadable=UnreadableRows(), streaming=self.streaming)
            raw_rows = islice(raw_rows, _MAX_SEARCHED_ROWS) if self.streaming else raw_rows
            held_out_rows += self._normalize(source, self._select_held_out(raw_rows, seen_texts))
        if not held_out_rows:
            raise _missing_value_problem(self.spec, seen_texts)
        return held_out_rows

    def _select_held_out(
        self, raw_rows: Iterator[files.NumberedRow], seen_texts: dict[str | None, None]
    ) -> Iterator[files.NumberedRow]:
        """Only rows with the value. Collects the first different texts of the column, for the error where there are none."""
        for number, row in raw_rows:
            if len(seen_texts) <= _MAX_QUOTED_VALUES:
                seen_texts[_column_text(row, self.spec.holdout.column or "")] = None
            if self._has_held_out_value(row):
                yield number, row

    # -- held out as a share of a stream ----------------------------------------------------------------------------

    def _is_in_held_out_share(self, row: Row) -> bool:
        """By a hash of the content, so that equal rows are on one side, however often the stream begins again."""
        share = self.spec.holdout.share if self.streaming else None
        if not share:
            return False
        digest = hashlib.blake2b(repr(row).encode(errors="replace"), digest_size=8, key=str(self.spec.seed).encode())
        return int.from_bytes(digest.digest(), "big") < share * 2**64

    def _held_out_share_of_stream(self) -> list[Row]:
        rows_per_source = _MAX_SEARCHED_ROWS // len(self.spec.data)
        searched = (row for source in self.spec.data for row in islice(self._stream_rows(source), rows_per_source))
        return list(islice((row for row in searched if self._is_in_held_out_share(row)), _MAX_HELD_OUT_ROWS))

    def _stream_rows(self, source: Source) -> Iterator[Row]:
        return self._normalize(source, files.read_numbered_rows(source, unreadable=UnreadableRows(), streaming=True))

    # -- endless stream ---------------------------------------------------------------------------------------------

    def endless_rows(self) -> Iterator[Row]:
        """Rows of all sources, drawn by their sizes and weights; a source begins again when it runs out."""
        generator, source_indices = random.Random(self.spec.seed), range(len(self.spec.data))
        weights = _sampling_weights(self.spec.data)
        streams = [self._repeat_source(source_index) for source_index in source_indices]
        while True:
            yield next(streams[generator.choices(source_indices, weights)[0]])

    def _repeat_source(self, source_index: int) -> Iterator[Row]:
        while True:
            count = 0
            for row in self.training_rows(source_index):
                count += 1
                yield row
            if not count:
                name = files.display_name(self.spec.data[source_index])
                raise Problem(
                    f"No usable rows in the stream of “{name}”.", advice="Check the examples.", reason="no_rows"
                )

    def findings(self) -> list[Finding]:
        """Findings on rows that could not be read."""
        return [
            finding
            for source_index, unreadable in self.unreadable_rows.items()
            for finding in unreadable.findings(source_index, self.spec.data[source_index].skip_bad)
        ]


def _sampling_weights(sources: list[Source]) -> list[float]:
    """How often to draw from each source, so that a row is seen as often as the weight of its source says. A source's size is its
    number of rows where that is known for all of them, otherwise its bytes; on the Hub, where neither is known, all
    sources count as equally large."""
    paths = [files.source_path(source) for source in sources]
    row_counts = [files.count_rows(source) for source in sources]
    if None in row_counts:
        row_counts = [path.stat().st_size if path else 0 for path in paths]
    sizes = [count or 0 for count in row_counts] if all(row_counts) else [1] * len(sources)
    return [size * source.weight for size, source in zip(sizes, sources, strict=True)]


def _column_text(row: Row, column: str) -> str | None:
    """The content of a column as text, as it is in the file; None where the row has none."""
    content = get_field(row, column)
    return None if content is MISSING or content is None else as_text(content)


def _missing_value_problem(spec: Spec, seen_texts: dict[str | None, None]) -> Problem:
    column, quoted = spec.holdout.column or "", [shorten(text, 40) for text in seen_texts if text is not None]
    if not quoted:
        first_row = next(files.read_source_rows(spec.data[0], unreadable=UnreadableRows()), {})
        return Problem(
            f"No row has a column “{shorten(column, 80)}” to hold out by.",
            advice=registry.suggest_name(column, list(first_row)[:50]),
            reason="wrong_column",
        )
    return Problem(
        f"No row to learn from says “{shorten(spec.holdout.value or '', 80)}” in the column “{spec.holdout.column}”, so none would be held out.",
        advice=f"It says {', '.join(f'“{text}”' for text in quoted[:_MAX_QUOTED_VALUES])}.",
        reason="wrong_column",
    )
