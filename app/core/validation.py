"""Validation of plain data against a pydantic model, with one sentence instead of pydantic's list of errors."""

from __future__ import annotations

from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from app.core import registry
from app.core.json_types import JsonObject, JsonValue
from app.core.problems import Problem, shorten

ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_NESTING = 40  # nested groups


class FrozenModel(BaseModel):
    """Base class of stored settings: immutable, and unknown fields are errors."""

    # a maximum length makes pydantic check the characters: no file can hold a lone surrogate
    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, allow_inf_nan=False, str_max_length=1_000_000
    )


def validate(model_class: type[ModelT], data: Any, subject: str) -> ModelT:
    """`data` as a `model_class`.

    Raises Problem for the first error; `subject` opens its sentence, as in “The setup”.
    """
    try:
        return model_class.model_validate(data)
    except ValidationError as error:  # boundary: a person's file, a form, a link
        raise _to_problem(error, model_class, subject) from error


def without_nulls(group: JsonObject, depth: int = 0) -> JsonObject:
    """A copy without the nulls in dictionaries, at every depth: absent and null mean the same.

    Raises Problem past MAX_NESTING.
    """
    return {key: _without_nested_nulls(child, depth + 1) for key, child in group.items() if child is not None}


def _without_nested_nulls(data: JsonValue, depth: int) -> JsonValue:
    require_max_depth(depth)
    if isinstance(data, dict):
        return without_nulls(data, depth)
    return [_without_nested_nulls(element, depth + 1) for element in data] if isinstance(data, list) else data


def deep_copy(data: JsonValue, depth: int = 0) -> JsonValue:
    """A copy of plain data, nulls included. Raises Problem past MAX_NESTING."""
    require_max_depth(depth)
    if isinstance(data, dict):
        return {key: deep_copy(child, depth + 1) for key, child in data.items()}
    return [deep_copy(element, depth + 1) for element in data] if isinstance(data, list) else data


def require_max_depth(depth: int) -> None:
    """Raises Problem when data is nested deeper than MAX_NESTING."""
    if depth > MAX_NESTING:
        raise Problem(f"The setup is nested more than {MAX_NESTING} groups deep.", advice="Start from a preset.")


# Plain messages for pydantic's error types whose own messages are for programmers.
_PLAIN_MESSAGES = {
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


def _to_problem(error: ValidationError, model_class: type[BaseModel], subject: str) -> Problem:
    """The first of pydantic's errors as one sentence: the field, its value, and what is allowed."""
    error_details = error.errors()[0]
    error_type, input_value = error_details["type"], error_details["input"]
    field_path = shorten(".".join(str(part) for part in error_details["loc"]), 80)
    if error_type == "extra_forbidden":
        advice = registry.suggest_name(
            str(error_details["loc"][-1])[:80], _field_names_at(model_class, error_details["loc"][:-1])
        )
        return Problem(f"{subject} has no field called “{field_path}”.", advice=advice)
    if error_type == "missing":
        return Problem(f"{subject} lacks “{field_path}”.", advice="Add it, or start from a preset.")
    if (
        field_path == "v"
        and isinstance(input_value, int)
        and input_value > (supported_version := model_class.model_fields["v"].default)
    ):
        return Problem(
            f"{subject} was made by a newer version ({input_value}, this one reads {supported_version}).",
            advice="Update, or start from a preset.",
        )
    if error_type in _PLAIN_MESSAGES:
        message = _PLAIN_MESSAGES[error_type].format(**error_details.get("ctx", {}))
    else:
        message = error_details["msg"].removeprefix("Value error, ")
    message = (message[0].lower() + message[1:]).replace("input should", "it should")
    if error_type == "value_error" and not field_path:
        return Problem(f"{subject}: {message}.", advice="Correct it, or leave it out to get the default.")
    opening = f"{subject} “{field_path}”" if field_path else subject
    return Problem(
        f"{opening} is {shorten(repr(input_value), 120)}, but {message}.", advice=_range_advice(model_class, field_path)
    )


def library_names(model_class: type[BaseModel]) -> dict[str, str]:
    """{the name that TRL, PEFT or transformers has for a field: ours}, for the fields that declare another name as `library_name`."""
    names = {}
    for name, field in model_class.model_fields.items():
        declared = field.json_schema_extra.get("library_name") if isinstance(field.json_schema_extra, dict) else None
        if isinstance(declared, str) and declared:
            names[declared] = name
    return names


def rename_library_fields(model_class: type[BaseModel], data: JsonObject) -> JsonObject:
    """A copy of `data` in which fields under a library's name have ours. Raises Problem where both names are given."""
    own_names = library_names(model_class)
    duplicate = next((name for name in data if name in own_names and own_names[name] in data), None)
    if duplicate is not None:
        raise Problem(
            f"“{duplicate}” and “{own_names[duplicate]}” are two names of one setting, and both are given.",
            advice="Leave one of them out.",
        )
    return {own_names.get(name, name): value for name, value in data.items()}


def _field_names_at(model_class: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Names of the fields of the group that pydantic's error location `loc` leads to."""
    for key in loc:
        if isinstance(key, str):
            annotation = model_class.model_fields[key].annotation
            model_class = next(
                type_option
                for type_option in (annotation, *get_args(annotation))
                if isinstance(type_option, type) and issubclass(type_option, BaseModel)
            )
    return [*model_class.model_fields, *library_names(model_class)]


def _range_advice(model_class: type[BaseModel], name: str) -> str:
    """“Choose between low and high.”, from the declaration of the knob."""
    field = model_class.model_fields.get(name)
    knob_metadata = (field.json_schema_extra or {}) if field else {}
    if not isinstance(knob_metadata, dict) or knob_metadata.get("low") is None:
        return "Correct it, or leave it out to get the default."
    unit = f" {knob_metadata['unit']}" if knob_metadata.get("unit") else ""
    return f"Choose between {knob_metadata['low']:g} and {knob_metadata['high']:g}{unit}."
