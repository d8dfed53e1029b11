"""Tools, and calls of them, in the one form that chat templates take, whichever tool or dataset wrote them."""

from __future__ import annotations

from app.data.fields import Cell, Row
from app.data.reading.json_cells import parse_json_cell, parse_nested_json_cell
from app.data.unusable_cells import UnusableCell

_NO_TOOLS_TEXTS = ("", "none", "null", "nan", "n/a", "[]", "{}")
_WRAPPER_KEYS = ("tools", "functions")
_SCHEMA_KEYS = {"type", "properties", "$ref", "anyOf", "oneOf", "allOf", "required"}
# Types in the parameters of xLAM and other data that write Python's names instead of those of JSON Schema.
_JSON_TYPES = {
    "str": "string",
    "string": "string",
    "text": "string",
    "int": "integer",
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "number": "number",
    "bool": "boolean",
    "boolean": "boolean",
    "list": "array",
    "array": "array",
    "tuple": "array",
    "set": "array",
    "dict": "object",
    "object": "object",
}


def normalize_tools(cell: Cell) -> list[Row] | None:
    """The tools of a row as [{"type": "function", "function": {"name", "description", "parameters": a JSON Schema}}];
    None for a row without tools.

    cell: a list, one tool, or either as JSON text. Raises UnusableCell for what is no tool.
    """
    if cell is None or (isinstance(cell, str) and cell.strip().lower() in _NO_TOOLS_TEXTS):
        return None
    tools = parse_nested_json_cell(cell)
    if isinstance(tools, dict):
        wrapped = next((tools[key] for key in _WRAPPER_KEYS if key in tools and "name" not in tools), None)
        tools = parse_json_cell(wrapped) if wrapped is not None else [tools] if tools else []
    if not isinstance(tools, list):
        raise UnusableCell(f"`tools` is neither a list of tools nor JSON ({_quote(cell)})")
    return [_normalize_tool(tool, number) for number, tool in enumerate(tools, 1)] or None


def _normalize_tool(tool: Cell, number: int) -> Row:
    """One tool with its function under `function`."""
    parsed = parse_nested_json_cell(tool)
    if not isinstance(parsed, dict):
        raise UnusableCell(f"tool {number} in `tools` is no description of a tool ({_quote(tool)})")
    function = parse_json_cell(parsed.get("function", parsed))
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"].strip():
        raise UnusableCell(f"tool {number} in `tools` has no name")
    if "function" in parsed:
        return {"type": "function"} | parsed | {"function": _with_json_schema(function)}
    plain_function = {key: field for key, field in function.items() if key != "type"}
    return {"type": "function", "function": _with_json_schema(plain_function)}


def _with_json_schema(function: Row) -> Row:
    """The function with its parameters as a JSON Schema, also from Anthropic's `input_schema` and xLAM's plain table."""
    if "input_schema" in function and "parameters" not in function:
        function = {("parameters" if key == "input_schema" else key): field for key, field in function.items()}
    if "parameters" not in function:
        return function
    parameters = parse_nested_json_cell(function["parameters"])
    if parameters in (None, "", []):
        parameters = {}
    if not isinstance(parameters, dict):
        raise UnusableCell(f"`parameters` of the tool {function['name']} is no object ({_quote(parameters)})")
    return function | {"parameters": parameters if _is_json_schema(parameters) else _schema_of_table(parameters)}


def _is_json_schema(parameters: Row) -> bool:
    """Whether these are a JSON Schema, and not {parameter: its description}; a parameter may itself be called type."""
    return any(key in _SCHEMA_KEYS and (key != "type" or isinstance(parameters[key], str)) for key in parameters)


def _schema_of_table(table: Row) -> Row:
    """The JSON Schema of {parameter: {"type", "description", "default"}}, as xLAM writes it."""
    properties = {name: _property_schema(description) for name, description in table.items()}
    required = [name for name, description in table.items() if not _is_optional(description)]
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def _property_schema(description: Cell) -> Row:
    """The schema of one parameter; text alone is its description."""
    if not isinstance(description, dict):
        return {"description": description} if isinstance(description, str) else {}
    type_name = description.get("type")
    if not isinstance(type_name, str):
        return dict(description)
    base_name = type_name.partition(",")[0].strip().lower()
    json_type = _JSON_TYPES.get(base_name.partition("[")[0].strip())
    if json_type is None:
        return dict(description)
    element_type = _JSON_TYPES.get(base_name.partition("[")[2].rstrip("] ").strip())
    schema = {key: field for key, field in description.items() if key not in ("type", "required")}
    items = {"items": {"type": element_type}} if json_type == "array" and element_type else {}
    return {"type": json_type} | schema | items


def _is_optional(description: Cell) -> bool:
    """Whether a parameter may be left out: it says so, or has a default."""
    if not isinstance(description, dict):
        return False
    if isinstance(description.get("required"), bool):
        return not description["required"]
    return "default" in description or "optional" in str(description.get("type", "")).lower()


# -- calls -------------------------------------------------------------------------------------------------------------


def normalize_tool_calls(fields: Row) -> Row:
    """The fields of a message with `tool_calls` as [{"type", "function": {"name", "arguments": an object}}].

    Arguments are parsed because chat templates write them as JSON themselves. Raises UnusableCell for what is no call.
    """
    single_call = parse_json_cell(fields.get("function_call"))  # OpenAI's older form, with one call per message
    if "function_call" in fields and "tool_calls" not in fields and isinstance(single_call, dict):
        fields = {key: field for key, field in fields.items() if key != "function_call"} | {"tool_calls": [single_call]}
    if "tool_calls" not in fields:
        return fields
    tool_calls = parse_nested_json_cell(fields["tool_calls"])
    if tool_calls is None or tool_calls in ([], {}) or str(tool_calls).strip().lower() in _NO_TOOLS_TEXTS:
        return {key: field for key, field in fields.items() if key != "tool_calls"}
    tool_calls = [tool_calls] if isinstance(tool_calls, dict) else tool_calls
    if not isinstance(tool_calls, list):
        raise UnusableCell(f"`tool_calls` is no list of calls ({_quote(tool_calls)})")
    return fields | {"tool_calls": [normalize_tool_call(parse_nested_json_cell(call)) for call in tool_calls]}


def normalize_tool_call(tool_call: Cell) -> Row:
    """One tool call as {"type", "function"}, its arguments parsed from JSON."""
    function = parse_json_cell(tool_call.get("function", tool_call)) if isinstance(tool_call, dict) else None
    if not isinstance(tool_call, dict) or not isinstance(function, dict):
        raise UnusableCell(f"a call in `tool_calls` is no object ({_quote(tool_call)})")
    if not isinstance(function.get("name"), str) or not function["name"].strip():
        raise UnusableCell("a call in `tool_calls` does not name its tool")
    arguments = _parse_arguments(function)
    normalized_function = {key: field for key, field in function.items() if key != "parameters"}
    normalized_function["arguments"] = arguments
    return (
        tool_call | {"function": normalized_function}
        if "function" in tool_call
        else {"type": "function", "function": normalized_function}
    )


def _parse_arguments(function: Row) -> Row:
    """The arguments of a call as an object; empty where there are none. Llama calls them `parameters`."""
    raw_arguments = function.get("arguments", function.get("parameters"))
    arguments = parse_nested_json_cell(raw_arguments)
    if arguments is None or arguments == [] or (isinstance(arguments, str) and not arguments.strip()):
        return {}
    if not isinstance(arguments, dict):
        raise UnusableCell(f"`arguments` of a call of {function['name']} are no JSON object ({_quote(raw_arguments)})")
    return arguments


def _quote(cell: Cell) -> str:
    """The beginning of a cell, for a message."""
    text = " ".join(str(cell).split())
    return f"“{text[:40]}{'…' if len(text) > 40 else ''}”"
