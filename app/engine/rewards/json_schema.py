"""1 when the answer is JSON that fits a schema, half when it is JSON that does not, 0 when it is no JSON."""

from __future__ import annotations

import json
from typing import Any

from pydantic import field_validator

from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.engine.rewards.valid_json import refuse_constant
from app.setup.knob import Knobs, knob


class Params(Knobs):
    schema_text: str = knob(
        '{"type": "object"}', "The JSON Schema (draft 2020-12) that answers should fit.", title="Schema", picks="text"
    )

    @field_validator("schema_text")
    @classmethod
    def check_schema(cls, schema_text: str) -> str:
        from jsonschema import Draft202012Validator, SchemaError

        try:
            schema = json.loads(schema_text)
            Draft202012Validator.check_schema(schema)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"it is no JSON ({error})") from error
        except SchemaError as error:
            raise ValueError(f"it is no JSON Schema ({error.message})") from error
        _require_self_contained(schema)
        try:
            Draft202012Validator(schema, registry=_schema_registry()).is_valid({})
        except RecursionError as error:
            raise ValueError("it points to itself, in a circle without an end") from error
        return schema_text


def make(params: Params) -> PerRowReward:
    from jsonschema import Draft202012Validator

    schema = Draft202012Validator(json.loads(params.schema_text), registry=_schema_registry())

    def score(completion: str) -> float:
        try:
            document = json.loads(completion, parse_constant=refuse_constant)
        except (ValueError, RecursionError):  # a model's answer
            return 0.0
        return 1.0 if schema.is_valid(document) else 0.5

    return PerRowReward(score)


def _schema_registry() -> Any:
    """What a schema may reference beside itself: JSON Schema's own definitions.

    jsonschema would fetch anything else.
    """
    from jsonschema_specifications import REGISTRY

    return REGISTRY


def _require_self_contained(schema: Any) -> None:
    """Raises ValueError when the schema has a reference to something outside it."""
    from referencing import Resource
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    def check_references(resource: Resource[Any], resolver: Any) -> None:
        for name in ("$ref", "$dynamicRef"):
            if isinstance(resource.contents, dict) and name in resource.contents:
                require_resolvable(resource.contents[name], resolver)
        for subresource in resource.subresources():
            check_references(subresource, resolver.in_subresource(subresource))

    def require_resolvable(reference: str, resolver: Any) -> None:
        try:
            if not isinstance(resolver.lookup(reference).contents, dict | bool):
                raise TypeError
        except (Unresolvable, TypeError, ValueError) as error:
            raise ValueError(
                f"it points to “{reference}”, which is not in it; nothing is fetched from elsewhere"
            ) from error

    root_resource = DRAFT202012.create_resource(schema)
    check_references(root_resource, _schema_registry().resolver_with_root(root_resource))


REWARD = RewardDefinition(
    title="JSON that fits a schema",
    sentence=__doc__,
    params=Params,
    make=make,
    slow=True,
    seconds=2.0,
)
