"""Sources: where examples come from, those to train on, the held-out ones and evaluation sets."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from app.core.validation import FrozenModel

HUB_NAME = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)
_SOURCE_PATTERN = re.compile(
    rf"sample:[a-z0-9_]+|hub:{HUB_NAME.pattern}|upload:[0-9a-f]{{64}}(\.[a-z]+)?|path:.+", re.ASCII | re.DOTALL
)


def _validate_split_name(value: str) -> str:
    if not value.strip(".") or set(value) & set("/\\\0"):
        raise ValueError("it should be the name of a split, such as train")
    return value


Split = Annotated[str, AfterValidator(_validate_split_name)]
Revision = Annotated[str, Field(pattern=r"^\w[\w+-]*([./][\w+-]+)*$", max_length=200)]  # never a path
_MAX_ROWS = 2**53  # larger ones are not exact in a browser


# what a verdict of a file says: of an answer or a step, or which of two answers is better
LabelChoice = Literal["good", "bad", "left_out", "first", "second"]


class Source(FrozenModel):
    """One source of examples.

    weight: how often each row is used per epoch. layout: the shape of the rows, a name of app/data/layouts/; None:
    detected from the rows. mapping: {our column: column of the file}. templates: {our column: text with {column of the
    file} in it}. roles: {name of a speaker in the file: our role}, in addition to the usual names. labels: {verdict in
    the file, or a comparison such as `>=0.7`: what it says}, before the standard words; a row whose verdict is left out
    is dropped, a step is only read. start, limit: a slice, counted in rows of the file. skip_bad: unreadable rows, and
    rows with a field that cannot be used, are dropped and counted; only a person may allow that.
    headless: the first line of a table is an example, not column names. parts: what becomes one row of a plain text.
    encoding: of text that is not Unicode; it cannot be detected safely, so a person chooses it. empty_words: cells that
    are only a word for nothing, such as “nan”: empty, kept as text, or as their column tells (“auto”).
    """

    source: str
    config: str | None = None
    split: Split = "train"
    revision: Revision | None = None
    weight: float = Field(default=1.0, gt=0, le=100)
    start: int | None = Field(default=None, ge=0, le=_MAX_ROWS)
    limit: int | None = Field(default=None, ge=1, le=_MAX_ROWS)
    layout: str | None = Field(default=None, pattern=r"^[a-z0-9_]{1,40}$")
    mapping: dict[str, str] = Field(default={})
    roles: dict[str, Literal["system", "user", "assistant", "tool"]] = Field(default={})
    labels: dict[str, LabelChoice] = Field(default={})
    templates: dict[str, str] = Field(default={})
    skip_bad: bool = False
    headless: bool = False
    parts: Literal["paragraphs", "lines", "whole"] = "paragraphs"
    encoding: Literal["windows-1252", "latin-1"] | None = None
    empty_words: Literal["auto", "empty", "keep"] = "auto"

    @field_validator("source")
    @classmethod
    def _check_source_kind(cls, value: str) -> str:
        if not _SOURCE_PATTERN.fullmatch(value):
            raise ValueError("it should be sample:NAME, hub:OWNER/NAME, upload:SHA256 or path:FILE")
        return value


MAX_EVAL_ROWS = 512  # held-out rows that the loss is computed on: enough for two digits
MAX_EVAL_SETS = 8
HELD_OUT_SET = "holdout"  # the name of the held-out rows where evaluation sets have names
_SET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}", re.ASCII)  # a part of the names of metrics


class EvalSet(Source):
    """Examples of their own that are never trained on: every evaluation measures them as it does the held-out rows, under
    their name. They are read and normalized like any source."""

    name: str

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if not _SET_NAME.fullmatch(value):
            raise ValueError(
                "the name of an evaluation set is 1 to 40 letters from a to z, digits, - or _, such as hard-2"
            )
        if value == HELD_OUT_SET:
            raise ValueError("that is what the held-out examples are called")
        return value

    @field_validator("weight")
    @classmethod
    def _check_weight(cls, value: float) -> float:
        if value != 1:
            raise ValueError("an evaluation set is not trained on, so it has no weight")
        return value


class Holdout(FrozenModel):
    """The held-out rows for evaluation, at most one way: a share of all rows, a split of the first source, a separate
    source, or the rows whose column has this value, as text in the file."""

    share: float | None = Field(default=None, ge=0, lt=1)
    split: Split | None = None
    source: Source | None = None
    column: str | None = Field(default=None, min_length=1, max_length=200)
    value: str | None = Field(default=None, max_length=1000)

    @model_validator(mode="after")
    def _check_single_way(self) -> Holdout:
        if sum(option is not None for option in (self.share, self.split, self.source, self.column)) > 1:
            raise ValueError("it takes one of a share, a split, a source and a column")
        if (self.column is None) != (self.value is None):
            raise ValueError("a column and its value come together")
        return self
