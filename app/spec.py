"""Spec: everything that repeats a run and nothing else; Launch: what belongs to one start of it."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from app import rooms
from app.problems import Problem, shorten

VERSION = 1
DEEPEST = 40  # groups within groups
HUB = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}", re.ASCII)
SOURCE = re.compile(
    rf"sample:[a-z0-9_]+|hub:{HUB.pattern}|upload:[0-9a-f]{{64}}(\.[a-z]+)?|path:.+", re.ASCII | re.DOTALL
)


class Frozen(BaseModel):
    # a longest text makes pydantic look at the characters: half a surrogate pair could not be written to any file
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False, str_max_length=1_000_000
    )


def split_name(value: str) -> str:
    if not value.strip(".") or set(value) & set("/\\\0"):
        raise ValueError("it should be the name of a split, such as train")
    return value


Split = Annotated[str, AfterValidator(split_name)]


class Model(Frozen):
    """Which model, and what it starts from (`run:ID` or a Hub adapter `owner/name`)."""

    id: str = "pocket"
    revision: str | None = None
    start_from: str | None = None
    template: str | None = None
    new_tokens: list[str] = Field(default=[], max_length=0)  # kept in the shape; no method can train them yet
    quantization: Literal["none"] = "none"


class Source(Frozen):
    """One source of examples. weight: how often each row is seen per epoch. mapping: {our column: theirs}."""

    source: str
    config: str | None = None
    split: Split = "train"
    revision: str | None = None
    weight: float = Field(default=1.0, gt=0, le=100)
    limit: int | None = Field(default=None, ge=1)
    mapping: dict[str, str] = {}

    @field_validator("source")
    @classmethod
    def known_kind(cls, value: str) -> str:
        if not SOURCE.fullmatch(value):
            raise ValueError("it should be sample:NAME, hub:OWNER/NAME, upload:SHA256 or path:FILE")
        return value


class Holdout(Frozen):
    """Rows kept aside to test on: a share of all rows, or a split of the first source."""

    share: float | None = Field(default=None, ge=0, lt=1)
    split: Split | None = None

    @model_validator(mode="after")
    def one_way(self) -> Holdout:
        if self.share is not None and self.split is not None:
            raise ValueError("it takes a share or a split, not both")
        return self


class Adapter(Frozen):
    """What is trained: a low-rank adapter of rank `r` scaled by alpha/r (rslora: alpha/√r), or, with none, all weights."""

    kind: Literal["lora", "dora", "rslora", "none"] = "lora"
    r: int = Field(default=16, ge=1, le=1024)
    alpha: float = Field(default=32, gt=0, le=4096)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str = "auto"


class Reward(Frozen):
    """One scored quality. `as` names its curve and is unique within a Spec."""

    name: str
    label: str = Field(default="", alias="as", pattern=r"^[a-z0-9_]*$")
    weight: float = Field(default=1.0, ge=-100, le=100)
    params: dict[str, Any] = {}


class Spec(Frozen):
    """Everything needed to repeat a run. No tokens, no machine, no secrets."""

    v: Literal[1] = VERSION
    title: str = Field(default="", max_length=200)
    method: str
    model: Model = Model()
    data: list[Source] = Field(min_length=1)
    holdout: Holdout = Holdout(share=0.05)
    prompts: list[str] = Field(default=[], max_length=32)
    adapter: Adapter = Adapter()
    knobs: dict[str, Any] = {}
    rewards: list[Reward] = []
    seed: int = Field(default=7, ge=0, lt=2**32)

    @model_validator(mode="before")
    @classmethod
    def absent_and_null_are_the_same(cls, data: Any) -> Any:
        return without_nulls(data)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that round-trips through TOML, JSON and links to an equal Spec."""
        return self.model_dump(by_alias=True, exclude_none=True)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"


class Budget(Frozen):
    """When to stop and save by itself. minutes counts from the start of training."""

    minutes: float | None = Field(default=None, gt=0)
    dollars: float | None = Field(default=None, gt=0)


class Publish(Frozen):
    """Where a finished adapter goes on the Hub."""

    repo: str
    private: bool = True


class Launch(Frozen):
    """What belongs to one start of a run, never in a link."""

    machine: str = "local"
    strategy: Literal["single"] = "single"
    budget: Budget = Budget()
    publish: Publish | None = None
    owner: str | None = None
    notify: str | None = None


def read(data: dict[str, Any]) -> Spec:
    """A Spec from plain data. Raises Problem with one sentence that names the field and its value."""
    return parse(Spec, data, "The setup")


def parse(shape: type[BaseModel], data: Any, what: str) -> Any:
    """`data` as `shape`; Problem instead of pydantic's list of errors."""
    try:
        return shape.model_validate(data)
    except ValidationError as error:  # a border: a person's file, a form, a link
        raise as_problem(error, shape, what) from error


def read_file(path: str | Path) -> Spec:
    """A Spec from a .toml or .json file. Raises Problem when it can't be read."""
    path = Path(path)
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
    return read({key: value for key, value in data.items() if key not in PRESET_ONLY})


# What a preset says beside its Spec (app/presets.py); a preset's file is also a valid SPEC on the command line.
PRESET_ONLY = ("sentence", "minutes", "needs")


def resolve(spec: Spec) -> Spec:
    """The Spec with every knob, reward parameter and name filled in and checked. Raises Problem. Resolving twice changes nothing."""
    from app.models import parameters  # here: models knows runs, which know Spec

    method = rooms.load("methods", spec.method)
    asked = without_nulls(spec.knobs)
    unknown = [name for name in asked if name not in method.Knobs.model_fields]
    if unknown:
        raise Problem(f"There is no setting called “{unknown[0]}” for {spec.method}.",
                      advice=rooms.nearest(unknown[0], list(method.Knobs.model_fields)))  # fmt: skip
    chosen = method.defaults(spec.adapter.kind, parameters(spec.model)) | asked
    knobs = parse(method.Knobs, chosen, "The setting").model_dump(exclude_none=True)
    return spec.model_copy(update={"knobs": knobs, "rewards": resolve_rewards(spec)})


def resolve_rewards(spec: Spec) -> list[Reward]:
    rewards = []
    for reward in spec.rewards:
        module = rooms.load("rewards", reward.name)
        params = parse(module.Params, without_nulls(reward.params), f"The reward {reward.name}")
        filled = {"label": reward.label or reward.name, "params": params.model_dump(exclude_none=True)}
        rewards.append(reward.model_copy(update=filled))
    labels = [reward.label for reward in rewards]
    twice = next((label for label in labels if labels.count(label) > 1), None)
    if twice:
        raise Problem(
            f"Two rewards are both called “{twice}”.", advice="Give each its own name: the curves are drawn by it."
        )
    return rewards


def set_value(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of plain data with `a.b.0.c` set. Raises Problem when the path leads nowhere."""
    data, value = copied(data), copied(value)
    at: Any = data
    *parents, last = path.split(".")
    require_shallow(len(parents))
    for key in parents:
        at = step_into(at, key, path)
    if isinstance(at, list):
        at[index(last, at, path)] = value
    elif isinstance(at, dict):
        at[last] = value
    else:
        raise Problem(
            f"“{path}” leads nowhere: “{last}” is not inside a group of settings.",
            advice="Look at `schema` for the names.",
        )
    return data


def step_into(at: Any, key: str, path: str) -> Any:
    if isinstance(at, dict):
        return at.setdefault(key, {})
    if isinstance(at, list):
        return at[index(key, at, path)]
    raise Problem(
        f"“{path}” leads nowhere: “{key}” is not inside a group of settings.", advice="Look at `schema` for the names."
    )


def index(key: str, items: list, path: str) -> int:
    if key.isascii() and key.isdigit() and len(key) < 10 and int(key) < len(items):
        return int(key)
    raise Problem(
        f"“{shorten(path, 80)}” leads nowhere: the list has {len(items)} entries, counted from 0.",
        advice="Choose one of them.",
    )


def without_nulls(data: Any, depth: int = 0) -> Any:
    """Absent and null mean the same: drops nulls from dictionaries, at every depth."""
    require_shallow(depth)
    if isinstance(data, dict):
        return {key: without_nulls(value, depth + 1) for key, value in data.items() if value is not None}
    return [without_nulls(item, depth + 1) for item in data] if isinstance(data, list) else data


def copied(data: Any, depth: int = 0) -> Any:
    """A copy of plain data, nulls and all."""
    require_shallow(depth)
    if isinstance(data, dict):
        return {key: copied(value, depth + 1) for key, value in data.items()}
    return [copied(item, depth + 1) for item in data] if isinstance(data, list) else data


def require_shallow(depth: int) -> None:
    if depth > DEEPEST:
        raise Problem(f"The setup is nested more than {DEEPEST} groups deep.", advice="Start from a preset.")


# pydantic's kinds of errors whose own words are for programmers.
SAID = {
    "string_type": "it should be text",
    "string_unicode": "it holds half a character, which cannot be written",
    "string_too_long": "it may have at most {max_length} letters",
    "list_type": "it should be a list",
    "too_short": "it needs at least {min_length}",
    "too_long": "it may have at most {max_length}",
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "it should be a group of settings"),
    **dict.fromkeys(("float_type", "float_parsing"), "it should be a number"),
    **dict.fromkeys(("int_type", "int_parsing", "int_parsing_size", "int_from_float"), "it should be a whole number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "it should be true or false"),
}


def as_problem(error: ValidationError, shape: type[BaseModel], what: str) -> Problem:
    """The first of pydantic's errors as one sentence: which field, what it was, what it may be."""
    first = error.errors()[0]
    kind, given = first["type"], first["input"]
    where = shorten(".".join(str(part) for part in first["loc"]), 80)
    if kind == "extra_forbidden":
        advice = rooms.nearest(str(first["loc"][-1])[:80], names_at(shape, first["loc"][:-1]))
        return Problem(f"{what} has no field called “{where}”.", advice=advice)
    if kind == "missing":
        return Problem(f"{what} lacks “{where}”.", advice="Add it, or start from a preset.")
    if where == "v" and isinstance(given, int) and given > VERSION:
        return Problem(
            f"{what} was made by a newer version ({given}, this one reads {VERSION}).",
            advice="Update, or start from a preset.",
        )
    said = SAID.get(kind, first["msg"].removeprefix("Value error, ")).format(**first.get("ctx", {}))
    said = (said[0].lower() + said[1:]).replace("input should", "it should")
    if kind == "value_error" and not where:
        return Problem(f"{what}: {said}.", advice="Correct it, or leave it out to get the default.")
    subject = f"{what} “{where}”" if where else what
    return Problem(f"{subject} is {shorten(repr(given), 120)}, but {said}.", advice=range_of(shape, where))


def names_at(shape: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The fields of the group that `loc` leads to."""
    for part in loc:
        if isinstance(part, str):
            kind = shape.model_fields[part].annotation
            shape = next(one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, BaseModel))
    return list(shape.model_fields)


def range_of(shape: type[BaseModel], name: str) -> str:
    """“Choose between low and high.” from a knob's own declaration."""
    field = shape.model_fields.get(name)
    extra = (field.json_schema_extra or {}) if field else {}
    if not isinstance(extra, dict) or extra.get("low") is None:
        return "Correct it, or leave it out to get the default."
    unit = f" {extra['unit']}" if extra.get("unit") else ""
    return f"Choose between {extra['low']:g} and {extra['high']:g}{unit}."
