"""Knob: the declaration of one setting. The form, validation, help and command line are all generated from it."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

# What changes with a setting, the first that holds: the prepared `rows`; the `order` in which batches are made of them,
# or their size; the `length` of the run in steps; the `timing`, which is how long a step takes; the `training`, which
# is what a step learns; only the `evaluation`, samples and checkpoints. What is cached depends on what its settings
# affect: `settings_without_effect`.
Affects = Literal["rows", "order", "length", "timing", "training", "evaluation"]
# {path of another setting: values of it with which this one has no effect}; no values mean any that is set.
UnusedWith = JsonDict
DefaultT = TypeVar("DefaultT")
ValueT = TypeVar("ValueT")


class Knobs(BaseModel):
    """Base class of the settings of a method or reward."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_max_length=1_000_000)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """Gives a setting that is declared again the library's name of the setting that it replaces, and what it affects."""
        for name, field in cls.model_fields.items():
            metadata = _metadata(field)
            if metadata.get("library_name") == "":
                metadata["library_name"] = _inherited(cls, name, "library_name", "")
            if metadata.get("affects") == "":
                metadata["affects"] = _inherited(cls, name, "affects", "training")

    @field_validator("*", mode="before")
    @classmethod
    def _reject_bool_as_number(cls, value: ValueT, info: ValidationInfo) -> ValueT:
        """pydantic would take True as 1."""
        if isinstance(value, bool) and _value_type(cls.model_fields[info.field_name or ""]) in ("int", "float"):
            raise ValueError("it should be a number")
        return value


def _metadata(field: FieldInfo) -> JsonDict:
    """What `knob` declares of a field beyond pydantic; empty for a field that was declared otherwise."""
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _inherited(knobs_class: type[Knobs], name: str, key: str, default: str) -> str | None:
    """What the nearest parent class with this setting declares under a key of the metadata; the default where there is none."""
    for parent in knobs_class.__mro__[1:]:
        if issubclass(parent, Knobs) and name in parent.model_fields:
            declared = _metadata(parent.model_fields[name]).get(key)
            return declared if isinstance(declared, str) else None
    return default


def knob(
    default: DefaultT,
    sentence: str,
    *,
    low: float | None = None,
    high: float | None = None,
    safe: tuple[float, float] | None = None,
    unit: str = "",
    log: bool = False,
    title: str = "",
    everyday: bool = False,
    choices: dict[str, str] | None = None,
    picks: str = "",
    empty: str = "",
    library_name: str | None = "",
    affects: Affects | Literal[""] = "",
    unused_with: UnusedWith | None = None,
) -> DefaultT:
    """Declares one setting, as a pydantic field with metadata for the form.

    sentence: its effect, in plain words. low, high: inclusive limits, enforced. safe: the range that suits a first
    attempt; outside of it the page warns. unit: of the value. log: a slider moves in powers of ten. everyday: shown
    before *Advanced*. choices: {value: sentence}. picks: what the text means: the name of a `model` or a `column`,
    which the page lists; long `text`; a `program`; an `address` to call or the name of a `secret`, which are never part
    of a link. A default of None means that the method's `defaults` chooses by adapter and model size, unless `empty`
    says, in a few words, what no value means. library_name: what TRL, PEFT or transformers call it, where that differs;
    it is accepted under that name too. None: what the libraries call so in a parent class counts something else here.
    affects: see `Affects`. Both empty: as the setting it replaces in a parent class, else the same name and `training`.
    unused_with: as in `UnusedWith`.
    """
    limits: JsonDict = {"low": low, "high": high, "safe": safe and [*safe], "unit": unit, "log": log}
    form: JsonDict = {"everyday": everyday, "choices": {**choices} if choices else None, "picks": picks, "empty": empty}
    meaning: JsonDict = {"library_name": library_name, "affects": affects, "unused_with": unused_with}
    return Field(
        default=default,
        ge=low,
        le=high,
        title=title or None,
        description=sentence,
        json_schema_extra={**limits, **form, **meaning},
    )


def settings_without_effect(knobs_class: type[BaseModel], on: set[Affects]) -> frozenset[str]:
    """Names of the settings that change none of these: what was computed with other values of them still holds."""
    return frozenset(
        name for name, field in knobs_class.model_fields.items() if _metadata(field).get("affects") not in on
    )


def model_names(knobs: BaseModel) -> list[str]:
    """Names of the models in settings declared with `picks="model"`."""
    fields = type(knobs).model_fields.items()
    model_fields = [name for name, field in fields if _metadata(field).get("picks") == "model"]
    return [getattr(knobs, name) for name in model_fields if getattr(knobs, name)]


def describe_knobs(knobs_class: type[BaseModel]) -> list[dict[str, Any]]:
    """Every setting as plain data, in order of declaration: name, title, sentence, default, type, and its metadata."""
    return [
        {
            "name": name,
            "title": field.title or name.replace("_", " ").capitalize(),
            "sentence": field.description,
            "default": field.default,
            "type": _value_type(field),
            **_metadata(field),
        }
        for name, field in knobs_class.model_fields.items()
    ]


def _value_type(field: FieldInfo) -> str:
    """The kind of form element for the type of a setting: bool, int, float, str, list, dict or choice."""
    text = str(field.annotation)
    for type_name in ("Literal", "list", "dict", "bool", "int", "float"):
        if type_name in text:
            return "choice" if type_name == "Literal" else type_name
    return "str"
