"""1 when the answer is JSON that fits a schema, half when it is JSON that does not, 0 when it is no JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import field_validator

from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.engine.rewards.valid_json import refuse_constant
from app.setup.knob import Knobs, knob

if TYPE_CHECKING:
    from referencing.jsonschema import Schema, SchemaRegistry


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
        references = _resolve_references(schema)
        _require_no_circle(references)
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


def _schema_registry() -> SchemaRegistry:
    """What a schema may reference beside itself: JSON Schema's own definitions.

    jsonschema would fetch anything else.
    """
    from jsonschema_specifications import REGISTRY

    return REGISTRY


def _resolve_references(schema: Schema) -> dict[int, list[Schema]]:
    """The schemas that must hold for a document itself where another must, by the id of that other one.

    Raises ValueError when the schema has a reference to something outside it.
    """
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    root_resource = DRAFT202012.create_resource(schema)
    pending = [(root_resource, _schema_registry().resolver_with_root(root_resource))]
    applied: dict[int, list[Schema]] = {}
    while pending:
        resource, resolver = pending.pop()
        contents = resource.contents if isinstance(resource.contents, dict) else {}
        applied[id(resource.contents)] = [*_applied_in_place(contents)]
        for reference in [contents[name] for name in ("$ref", "$dynamicRef") if name in contents]:
            try:
                target = resolver.lookup(reference).contents
                if not isinstance(target, dict | bool):
                    raise TypeError
            except (Unresolvable, TypeError, ValueError) as error:
                raise ValueError(
                    f"it points to “{reference}”, which is not in it; nothing is fetched from elsewhere"
                ) from error
            applied[id(resource.contents)].append(target)
        pending += [(subresource, resolver.in_subresource(subresource)) for subresource in resource.subresources()]
    return applied


def _applied_in_place(contents: dict[str, Any]) -> Iterator[Schema]:
    """The parts of a schema that apply to the document itself, not to a part of it."""
    for name in ("allOf", "anyOf", "oneOf"):
        yield from contents.get(name, [])
    for name in ("not", "if", "then", "else"):
        if name in contents:
            yield contents[name]
    yield from contents.get("dependentSchemas", {}).values()


def _require_no_circle(applied: dict[int, list[Schema]]) -> None:
    """Raises ValueError for a schema that applies to a document itself again and again.

    Each schema is entered once: there may be more ways through them than anybody could walk.
    """
    done: set[int] = set()
    for start in applied:
        way, open_ids = [(start, iter(applied[start]))], {start}
        while way:
            current, following = way[-1]
            target = next(following, None)
            if target is None:
                way.pop()
                open_ids.discard(current)
                done.add(current)
            elif id(target) in open_ids:
                raise ValueError("it points to itself, in a circle without an end")
            elif isinstance(target, dict) and id(target) not in done:
                way.append((id(target), iter(applied.get(id(target), []))))
                open_ids.add(id(target))


REWARD = RewardDefinition(
    title="JSON that fits a schema",
    sentence=__doc__,
    params=Params,
    make=make,
    slow=True,
    seconds=2.0,
)
