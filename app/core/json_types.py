"""Types of JSON data, for values that are written as JSON and have no fixed fields."""

from __future__ import annotations

from pydantic import JsonValue

__all__ = ["JsonObject", "JsonValue"]

JsonObject = dict[str, JsonValue]
