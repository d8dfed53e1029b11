"""Questions that the page can ask the warm worker process: a question exists because its file exists.

Each file has a class `Question` (its contract: app/contracts.py). Its arguments travel as JSON, read and written here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from app import contracts
from app.core import registry
from app.core.json_types import JsonObject, JsonValue

AnyQuestion = contracts.Question[Any, Any]


def question_name(question: AnyQuestion) -> str:
    """The name of a question: that of its file."""
    return type(question).__module__.rpartition(".")[2]


def question_arguments(question: AnyQuestion) -> JsonObject:
    """The question's fields as JSON data."""
    return TypeAdapter(type(question)).dump_python(question, by_alias=True, exclude_none=True)


def read_question(name: str, arguments: Mapping[str, JsonValue]) -> AnyQuestion:
    """The question of this name with these fields. Raises Problem for a name that no file has."""
    question_class: type[AnyQuestion] = registry.load_module("questions", name).Question
    return TypeAdapter(question_class).validate_python(arguments)
