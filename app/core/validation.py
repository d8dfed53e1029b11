"""Validation: plain data into a shape, or one sentence about what is wrong with it."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from app.core import registry
from app.core.problems import Problem, shorten

DEEPEST = 40  # groups within groups


def parse(shape: type[BaseModel], data: Any, what: str) -> Any:
    """`data` as `shape`; Problem instead of pydantic's list of errors."""
    try:
        return shape.model_validate(data)
    except ValidationError as error:  # a border: a person's file, a form, a link
        raise as_problem(error, shape, what) from error


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
    "string_pattern_mismatch": "it holds signs that a name cannot have here",
    "string_too_short": "it should have at least {min_length} letter",
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
        advice = registry.nearest(str(first["loc"][-1])[:80], names_at(shape, first["loc"][:-1]))
        return Problem(f"{what} has no field called “{where}”.", advice=advice)
    if kind == "missing":
        return Problem(f"{what} lacks “{where}”.", advice="Add it, or start from a preset.")
    if where == "v" and isinstance(given, int) and given > (ours := shape.model_fields["v"].default):
        return Problem(
            f"{what} was made by a newer version ({given}, this one reads {ours}).",
            advice="Update, or start from a preset.",
        )
    plain = SAID[kind].format(**first.get("ctx", {})) if kind in SAID else None  # pydantic's own words may hold braces
    said = plain or first["msg"].removeprefix("Value error, ")
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
