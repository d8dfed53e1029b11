"""1 when the answer is JSON that fits a schema, half when it is JSON that does not, 0 when it is no JSON."""

from __future__ import annotations

import json
from typing import Any

from pydantic import field_validator

from app.engine.reward_runtime.reward import per_row
from app.engine.rewards.valid_json import refuse
from app.setup.knob import Knobs, knob

TITLE = "JSON that fits a schema"
SLOW = True  # a schema may hold patterns, and a pattern may take for ever
SECONDS = 2.0


class Params(Knobs):
    schema_text: str = knob(
        '{"type": "object"}', "The JSON Schema (draft 2020-12) that answers should fit.", title="Schema", picks="text"
    )

    @field_validator("schema_text")
    @classmethod
    def it_is_a_schema(cls, value: str) -> str:
        from jsonschema import Draft202012Validator, SchemaError

        try:
            schema = json.loads(value)
            Draft202012Validator.check_schema(schema)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"it is no JSON ({error})") from error
        except SchemaError as error:
            raise ValueError(f"it is no JSON Schema ({error.message})") from error
        require_whole(schema)
        try:
            Draft202012Validator(schema, registry=known()).is_valid({})
        except RecursionError as error:
            raise ValueError("it points to itself, in a circle without an end") from error
        return value


def make(params: Params) -> per_row:
    from jsonschema import Draft202012Validator

    schema = Draft202012Validator(json.loads(params.schema_text), registry=known())

    def score(completion: str) -> float:
        try:
            value = json.loads(completion, parse_constant=refuse)
        except (ValueError, RecursionError):  # a border: a model's answer
            return 0.0
        return 1.0 if schema.is_valid(value) else 0.5

    return per_row(score)


def known() -> Any:
    """What a schema may point to beside its own parts: JSON Schema's own definitions. jsonschema would fetch anything else."""
    from jsonschema_specifications import REGISTRY

    return REGISTRY


def require_whole(schema: Any) -> None:
    """Raises ValueError where it points to what is not in it."""
    from referencing import Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    def follow(part: Resource[Any], resolver: Any) -> None:
        for name in ("$ref", "$dynamicRef"):
            if isinstance(part.contents, dict) and name in part.contents:
                find(part.contents[name], resolver)
        for inner in part.subresources():
            follow(inner, resolver.in_subresource(inner))

    def find(place: str, resolver: Any) -> None:
        try:
            if not isinstance(resolver.lookup(place).contents, dict | bool):
                raise TypeError
        except (Unresolvable, TypeError, ValueError) as error:
            raise ValueError(
                f"it points to “{place}”, which is not in it; nothing is fetched from elsewhere"
            ) from error

    whole = DRAFT202012.create_resource(schema)
    follow(whole, known().resolver_with_root(whole))
