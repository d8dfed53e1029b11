"""Preflight checks of the data: every source has rows that the method can use. Imports no heavy library."""

from __future__ import annotations

from itertools import islice

from app.core import registry
from app.core.problems import Problem
from app.data import rows
from app.data.fields import MISSING, Row, get_field
from app.data.reading import file_scan, files
from app.engine.contracts import AnyMethod, reward_columns
from app.setup.sources import EvalSet, Source
from app.setup.spec import Spec


def check_data(spec: Spec, method: AnyMethod) -> None:
    """Raises the first Problem with the sources of a resolved Spec, as far as they are on this machine."""
    trained_row, *_ = [_check_source(source, spec, method) for source in spec.data]
    if spec.holdout.source:
        _check_source(spec.holdout.source, spec, method)
    for eval_set in spec.eval_sets:
        with rows.problems_of_set(eval_set.name):
            evaluated_row = _check_source(eval_set, spec, method)
            if trained_row and evaluated_row:
                rows.require_type_of(trained_row, evaluated_row)
            _refuse_trained_set(eval_set, spec)
    _check_holdout_column(spec)
    _check_holdout_split(spec)


def _refuse_trained_set(eval_set: EvalSet, spec: Spec) -> None:
    """Raises Problem where all rows of an evaluation set are trained on, because it is a source of the training rows."""
    place = {"source", "config", "split", "revision", "start", "limit"}
    if any(source.model_dump(include=place) == eval_set.model_dump(include=place) for source in spec.data):
        raise Problem("Its rows would be learned and tested on alike.", advice="Choose other rows, or another split.")


def _check_holdout_split(spec: Spec) -> None:
    """Raises Problem where the held-out split is the one that is trained on, or does not exist."""
    if not spec.holdout.split:
        return
    if spec.holdout.split == spec.data[0].split:
        raise Problem(
            f"The split “{spec.holdout.split}” would be learned and tested on alike.",
            advice="Hold out another split, or a share.",
        )
    files.source_path(spec.data[0], spec.holdout.split)


def _check_source(source: Source, spec: Spec, method: AnyMethod) -> Row | None:
    """A source on this machine has a usable row, in a layout of the method, with the columns that the rewards read. Returns
    that row; None for a source on the Hub."""
    path = files.source_path(source)
    if path is None:
        return None  # a Hub dataset: downloaded by the preview or the run
    file_scan.require_readable(source)
    first_row = next(files.read_source_rows(source), None)
    if first_row is None:
        subject = "The slice asked for lies beyond the end of" if source.start else "There is nothing in"
        raise Problem(
            f"{subject} the examples “{files.display_name(source)}”: they are empty.",
            advice="Bring a file with rows.",
            reason="no_rows",
        )
    normaliser = rows.RowNormalizer(method.row_types, method.title, is_chat=True)
    usable_row = next(iter(normaliser(files.read_source_rows(source), source)), None)
    if usable_row is None:
        left_out = ", ".join(f"{count} × {reason}" for reason, count in normaliser.drop_counts.items())
        raise Problem(
            f"No usable rows in “{files.display_name(source)}”: all were left out ({left_out}).",
            advice="Check the examples and how their columns are mapped.",
            reason="no_rows",
        )
    if method.needs_rewards:
        check_reward_columns(spec, usable_row)
    return usable_row


def _check_holdout_column(spec: Spec) -> None:
    """The column that selects held-out rows occurs in the first rows, as far as all sources are on this machine."""
    column = spec.holdout.column
    local_sources = [source for source in spec.data if files.source_path(source)]
    if not column or len(local_sources) < len(spec.data):
        return
    first_rows = [row for source in local_sources for row in islice(files.read_source_rows(source), 50)]
    if first_rows and all(get_field(row, column) is MISSING for row in first_rows):
        raise Problem(
            f"No row has a column “{column}” to hold out by.",
            advice=registry.suggest_name(column, list(first_rows[0])[:50]),
            reason="wrong_column",
        )


def check_reward_columns(spec: Spec, row: Row) -> None:
    """Raises Problem when a reward reads a column that this row does not have."""
    for reward in spec.rewards:
        for column in reward_columns(reward):
            if column not in row:
                column_list = ", ".join(f"`{name}`" for name in islice(row, 20))
                raise Problem(
                    f"The reward “{reward.label}” reads the column `{column}`, and the examples have {column_list}.",
                    advice="Choose another column in the reward, or map one to this name.",
                    reason="wrong_column",
                )
