"""Spec: everything that repeats a run and nothing else; Launch: what belongs to one start of it."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from app.core.problems import Problem, shorten
from app.core.validation import deep_copy, require_max_depth, validate, without_nulls

SPEC_VERSION = 1
HUB_NAME = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)
_SOURCE_PATTERN = re.compile(
    rf"sample:[a-z0-9_]+|hub:{HUB_NAME.pattern}|upload:[0-9a-f]{{64}}(\.[a-z]+)?|path:.+", re.ASCII | re.DOTALL
)
# a chat format that TRL ships, in place of the text of one
NAMED_TEMPLATE = re.compile(r"trl:([a-z0-9_]{1,60})", re.ASCII)


class FrozenModel(BaseModel):
    # a longest text makes pydantic look at the characters: half a surrogate pair could not be written to any file
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False, str_max_length=1_000_000
    )


def _validate_split_name(value: str) -> str:
    if not value.strip(".") or set(value) & set("/\\\0"):
        raise ValueError("it should be the name of a split, such as train")
    return value


Split = Annotated[str, AfterValidator(_validate_split_name)]


class Model(FrozenModel):
    """Which model, and what it starts from (`run:ID` or a Hub adapter `owner/name`).

    template: its chat format, as text or as `trl:NAME`. new_tokens: tokens its vocabulary gets, learned and saved with the
    adapter; where these make the embeddings grow, they grow to a multiple of embedding_multiple rows. quantization: how its
    frozen weights are held, in 4 bits (nf4, fp4) or 8 (int8); only beside an adapter.
    """

    id: str = "pocket"
    revision: str | None = None
    start_from: str | None = None
    template: str | None = None
    new_tokens: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(default=[], max_length=64)
    embedding_multiple: Literal[1, 8, 64, 128] = 64
    quantization: Literal["none", "nf4", "fp4", "int8"] = "none"


class Source(FrozenModel):
    """One source of examples. weight: how often each row is seen per epoch. mapping: {our column: theirs}.

    layout: how rows are shaped, a name of app/data/layouts/; None: recognised from them. roles: {their name of a speaker: ours},
    beside those known anyway. templates: {our column: text with {their column} in it}.
    start, limit: a slice, counted in rows of the file. skip_bad: rows that cannot be read are left out and counted, which
    nobody but a person decides. headless: the first line of a table is an example. parts: what a plain text is read in.
    encoding: of text that is no Unicode, which can only be guessed, so a person says it.
    """

    source: str
    config: str | None = None
    split: Split = "train"
    revision: str | None = None
    weight: float = Field(default=1.0, gt=0, le=100)
    start: int | None = Field(default=None, ge=0)
    limit: int | None = Field(default=None, ge=1)
    layout: str | None = Field(default=None, pattern=r"^[a-z0-9_]{1,40}$")
    mapping: dict[str, str] = {}
    roles: dict[str, Literal["system", "user", "assistant", "tool"]] = {}
    templates: dict[str, str] = {}
    skip_bad: bool = False
    headless: bool = False
    parts: Literal["paragraphs", "lines", "whole"] = "paragraphs"
    encoding: Literal["windows-1252", "latin-1"] | None = None

    @field_validator("source")
    @classmethod
    def known_kind(cls, value: str) -> str:
        if not _SOURCE_PATTERN.fullmatch(value):
            raise ValueError("it should be sample:NAME, hub:OWNER/NAME, upload:SHA256 or path:FILE")
        return value


class Holdout(FrozenModel):
    """Rows kept aside to test on: a share of all rows, a split of the first source, a source of their own, or the rows whose
    column has this value (as it stands in the file)."""

    share: float | None = Field(default=None, ge=0, lt=1)
    split: Split | None = None
    source: Source | None = None
    column: str | None = Field(default=None, min_length=1, max_length=200)
    value: str | None = Field(default=None, max_length=1000)

    @model_validator(mode="after")
    def one_way(self) -> Holdout:
        if sum(one is not None for one in (self.share, self.split, self.source, self.column)) > 1:
            raise ValueError("it takes one of a share, a split, a source and a column")
        if (self.column is None) != (self.value is None):
            raise ValueError("a column and its value come together")
        return self


Layers = Annotated[
    str, Field(pattern=r"^[\w.*-]{1,200}$")
]  # a name or part of one; * stands for anything: no regular expression


class Adapter(FrozenModel):
    """What is trained: a low-rank adapter of rank `r` scaled by alpha/r (rslora: alpha/√r), or, with none, all weights.

    unfreeze: layers trained whole; beside an adapter in addition to it, with none instead of all weights. experts: stacked
    weights of a mixture of experts that get an adapter by their own names, such as mlp.experts.gate_up_proj.
    """

    kind: Literal["lora", "dora", "rslora", "none"] = "lora"
    r: int = Field(default=16, ge=1, le=1024)
    alpha: float = Field(default=32, gt=0, le=4096)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str = Field(
        default="auto", pattern=r"^[\w.-]+(,[\w.-]+)*$"
    )  # “auto”, or names of layers: never a regular expression
    unfreeze: list[Layers] = Field(default=[], max_length=64)
    experts: list[Layers] = Field(default=[], max_length=16)


class Reward(FrozenModel):
    """One scored quality. `as` names its curve and is unique within a Spec. on: it counts; what runs code or calls out comes off by a link."""

    name: str
    label: str = Field(default="", alias="as", pattern=r"^[a-z0-9_]*$")
    weight: float = Field(default=1.0, ge=-100, le=100)
    params: dict[str, Any] = {}
    on: bool = True


class Spec(FrozenModel):
    """Everything needed to repeat a run. No tokens, no machine, no secrets.

    drop: rows not learned from: repeated ones, those also held out, whose answer stands in the prompt, whose two answers
    are the same, with nothing to learn, or longer than the limit.
    """

    v: Literal[1] = SPEC_VERSION
    title: str = Field(default="", max_length=200)
    method: str
    model: Model = Model()
    data: list[Source] = Field(min_length=1, max_length=64)
    holdout: Holdout = Holdout(share=0.05)
    drop: list[Literal["duplicates", "held_out", "leaks", "same", "untrained", "cut"]] = []
    prompts: list[str] = Field(default=[], max_length=32)
    adapter: Adapter = Adapter()
    knobs: dict[str, Any] = {}
    rewards: list[Reward] = []
    seed: int = Field(default=7, ge=0, lt=2**32)

    @model_validator(mode="before")
    @classmethod
    def absent_and_null_are_the_same(cls, data: Any) -> Any:
        return without_nulls(data)

    @property
    def sources(self) -> list[Source]:
        """All it reads from: what is learned, and what is only tested on."""
        return [*self.data, *([self.holdout.source] if self.holdout.source else [])]

    def to_dict(self) -> dict[str, Any]:
        """Plain data that round-trips through TOML, JSON and links to an equal Spec."""
        return self.model_dump(by_alias=True, exclude_none=True)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"


class Budget(FrozenModel):
    """When to stop and save by itself. minutes counts from the start of training."""

    minutes: float | None = Field(default=None, gt=0)
    dollars: float | None = Field(default=None, gt=0)


class Publish(FrozenModel):
    """Where a finished adapter goes on the Hub."""

    repo: str
    private: bool = True


class Launch(FrozenModel):
    """What belongs to one start of a run, never in a link."""

    machine: str = "local"
    strategy: Literal["single"] = "single"
    budget: Budget = Budget()
    publish: Publish | None = None
    owner: str | None = None
    notify: str | None = None
    journey: str | None = None  # ID/STAGE, where the run is a stage of one


def parse_spec(data: dict[str, Any]) -> Spec:
    """A Spec from plain data. Raises Problem with one sentence that names the field and its value."""
    return validate(Spec, data, "The setup")


def read_spec_file(path: str | Path) -> Spec:
    """A Spec from a .toml or .json file. Raises Problem when it can't be read."""
    return parse_spec({key: value for key, value in read_settings_file(Path(path)).items() if key not in PRESET_FIELDS})


def read_settings_file(path: Path) -> dict[str, Any]:
    """What a file of settings says, as plain data. Raises Problem when it can't be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        data = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:  # a border: a person's file
        raise Problem(f"The file {path} cannot be read ({error.strerror}).", advice="Check the path.") from error
    except (ValueError, RecursionError) as error:
        kind = "TOML" if path.suffix == ".toml" else "JSON"
        raise Problem(
            f"The file {path} is not {kind}: {error}.", advice="Mend that place, or start from a preset."
        ) from error
    if not isinstance(data, dict):
        raise Problem(f"The file {path} holds a {type(data).__name__}, not a setup.", advice="Start from a preset.")
    return data


# What a preset says beside its Spec (app/setup/presets.py); a preset's file is also a valid SPEC on the command line.
PRESET_FIELDS = ("sentence", "minutes", "needs")


def set_value(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of plain data with `a.b.0.c` set. Raises Problem when the path leads nowhere."""
    data, value = deep_copy(data), deep_copy(value)
    at: Any = data
    *parents, last = path.split(".")
    require_max_depth(len(parents))
    for key in parents:
        at = _child_at(at, key, path)
    if isinstance(at, list):
        at[_list_index(last, at, path)] = value
    elif isinstance(at, dict):
        at[last] = value
    else:
        raise Problem(
            f"“{path}” leads nowhere: “{last}” is not inside a group of settings.",
            advice="Look at `schema` for the names.",
        )
    return data


def _child_at(at: Any, key: str, path: str) -> Any:
    if isinstance(at, dict):
        return at.setdefault(key, {})
    if isinstance(at, list):
        return at[_list_index(key, at, path)]
    raise Problem(
        f"“{path}” leads nowhere: “{key}” is not inside a group of settings.", advice="Look at `schema` for the names."
    )


def _list_index(key: str, items: list, path: str) -> int:
    if key.isascii() and key.isdigit() and len(key) < 10 and int(key) < len(items):
        return int(key)
    raise Problem(
        f"“{shorten(path, 80)}” leads nowhere: the list has {len(items)} entries, counted from 0.",
        advice="Choose one of them.",
    )
