"""Commands `presets`, `methods` and `schema`: what can be chosen, and which settings it has."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from app.cli.options import AsJson
from app.cli.terminal import (
    MethodDescription,
    format_compatible_methods,
    format_effort,
    format_method,
    print_document,
    print_list,
    print_text,
)
from app.core import registry
from app.data.findings import compatible_methods
from app.engine.contracts import load_method, load_reward
from app.planning import presets
from app.setup.knob import describe_knobs
from app.setup.spec import Spec


def list_presets(as_json: AsJson = False) -> None:
    """The presets: what each teaches, how long it takes or what card it needs."""
    print_list(
        presets.list_presets(),
        as_json,
        lambda p: f"{p['name']:<22} {format_effort(p['minutes'], p['gigabytes'])}  {p['title']}: {p['sentence']}",
    )


def list_methods(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Only this method.")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="Only which of them these examples can teach: a sample, a file or an upload, as path:FILE."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """The methods and their settings."""
    if data is not None:
        print_document(compatible_methods.list_methods(data), as_json, format_compatible_methods)
    elif name:
        print_document(_describe_method(name), as_json, format_method)
    else:
        print_list([_describe_method(method) for method in registry.names("methods")], as_json, format_method)


def _describe_method(name: str) -> MethodDescription:
    """The description of a method. Raises Problem for an unknown name."""
    method = load_method(name)
    return {
        "name": name,
        "title": method.title,
        "term": method.term,
        "sentence": method.sentence.strip(),
        "layouts": method.row_types,
        "knobs": describe_knobs(method.knobs),
    }


def print_schema() -> None:
    """The JSON schema of a setup, with every method's and reward's settings."""
    spec_schema = Spec.model_json_schema(by_alias=True)
    spec_schema["knobs"] = {name: load_method(name).knobs.model_json_schema() for name in registry.names("methods")}
    spec_schema["rewards"] = {name: load_reward(name).params.model_json_schema() for name in registry.names("rewards")}
    print_text(json.dumps(spec_schema, indent=2, ensure_ascii=False))
