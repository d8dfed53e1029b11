"""Knob: one setting of a method, declared once. Form, validation, help and command line all come from it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator


class Knobs(BaseModel):
    """A method's or reward's settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, str_max_length=1_000_000)

    @field_validator("*", mode="before")
    @classmethod
    def _reject_bool_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and value_type(cls.model_fields[info.field_name].annotation) in ("int", "float"):
            raise ValueError("it should be a number")
        return value


def knob(
    default: Any,
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
) -> Any:
    """A pydantic field that says what it does.

    sentence: its effect, in plain words. low, high: the limits, inclusive, enforced. safe: where a first attempt does
    well; beyond it the page warns. unit: of the value.
    log: a slider for it moves in powers of ten. everyday: shown before *Advanced*. choices: {value: sentence}.
    picks: what the text is: the name of a `model` or a `column`, which the page offers; long `text`; a `program`; an
    `address` to call, or the name of a `secret`, both of which stay on this machine.
    A default of None means that the method's `defaults` chooses by adapter and model size, unless empty says, in a few words,
    what leaving it open means.
    """
    extra = {
        "low": low,
        "high": high,
        "safe": safe,
        "unit": unit,
        "log": log,
        "everyday": everyday,
        "choices": choices,
        "picks": picks,
        "empty": empty,
    }
    return Field(default=default, ge=low, le=high, title=title or None, description=sentence, json_schema_extra=extra)


def model_names(knobs: BaseModel) -> list[str]:
    """The models that these settings name."""
    fields = type(knobs).model_fields.items()
    picking = [name for name, field in fields if (field.json_schema_extra or {}).get("picks") == "model"]
    return [getattr(knobs, name) for name in picking if getattr(knobs, name)]


def describe_knobs(knobs_class: type[BaseModel]) -> list[dict[str, Any]]:
    """Every knob as plain data, in order of declaration: name, title, sentence, default, range, unit, choices."""
    return [
        {
            "name": name,
            "title": field.title or name.replace("_", " ").capitalize(),
            "sentence": field.description,
            "default": field.default,
            "type": value_type(field.annotation),
            **(field.json_schema_extra or {}),
        }
        for name, field in knobs_class.model_fields.items()
    ]


def value_type(annotation: Any) -> str:
    """bool, int, float, str, list, dict or choice: what a form draws for it."""
    text = str(annotation)
    for kind in ("Literal", "list", "dict", "bool", "int", "float"):
        if kind in text:
            return "choice" if kind == "Literal" else kind
    return "str"
