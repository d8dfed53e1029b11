"""Tool calling: the available tools, how TRL gets them, and whether a chat template supports calls.

A tool is one file in app/engine/tools, see `Tool` in app/engine/contracts.py: a function whose docstring the model
reads. A tool whose first argument is called `text` gets the text of a column of the row; the model sees only the other
arguments.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict, get_type_hints

from app.core import registry
from app.core.json_types import JsonValue
from app.core.problems import Problem
from app.data.fields import Cell
from app.engine.contracts import load_tool
from app.engine.model import template_source
from app.runs import adapters
from app.setup import models

if TYPE_CHECKING:
    from app.engine.job import Job
    from app.setup.spec import Model, Spec

TEXT_ARGUMENT = "text"  # the argument that is filled from the row, not by the model
# Chat templates shipped with TRL that render tool calls and whose calls TRL can parse; compared with TRL by
# tests/test_tools.py.
TOOL_CALLING_FORMATS = (
    "gemma4",
    "gemma4_v2",
    "gemma4_v3",
    "gemma4_v4",
    "gemma4_v5",
    "glm4moe",
    "gptoss",
    "lfm2_2_5",
    "lfm2_2_5_v2",
    "lfm2_2_5_vl",
    "lfm2_v2",
    "llama3_1",
    "llama3_2",
    "nemotron_3_5_lightning",
    "nemotron_3_nano",
    "nemotron_3_super",
    "nemotron_3_ultra",
    "qwen2_5",
    "qwen3",
    "qwen3_5_nothink",
    "qwen3_5_think",
    "qwen3_6",
    "qwen3_8",
    "qwen3_instruct_2507",
    "qwen3_vl",
)


class ToolChoice(NamedTuple):
    """A tool, and the column it reads; empty where it reads none."""

    name: str
    column: str


def parse_tool_lines(lines: list[str]) -> list[ToolChoice]:
    """Tool choices from lines such as `calculator` or `look_up: article`. Raises ValueError."""
    choices: list[ToolChoice] = []
    for line in lines:
        name, _, column = (field.strip() for field in line.partition(":"))
        if name not in registry.names("tools"):
            raise ValueError(
                f"there is no tool called “{name}”. {registry.suggest_name(name, registry.names('tools'))}"
            )
        if reads_column(name) and not column:
            raise ValueError(f"“{name}” reads a column: name it after a colon, as in {name}: article")
        if column and not reads_column(name):
            raise ValueError(f"“{name}” reads no column, so write it alone")
        if name in (choice.name for choice in choices):
            raise ValueError(f"“{name}” stands there twice")
        choices.append(ToolChoice(name, column))
    return choices


def describe_tools() -> str:
    """All tools in the notation of the setting, each with its title."""
    return "; ".join(
        f"{name}{': COLUMN' if reads_column(name) else ''} ({_tool_title(name)})" for name in registry.names("tools")
    )


def _tool_title(name: str) -> str:
    title = load_tool(name).title
    return title[0].lower() + title[1:]


def tool_function(name: str) -> Callable[..., str]:
    """The function of a tool, which has the tool's name."""
    return load_tool(name).function


def reads_column(name: str) -> bool:
    """Whether a tool reads the text of a column: its first argument is `text`."""
    return next(iter(inspect.signature(tool_function(name)).parameters), "") == TEXT_ARGUMENT


# -- arguments of TRL's trainer ------------------------------------------------------------------------------------


class ToolArguments(TypedDict, total=False):
    """Arguments of TRL's GRPOTrainer about tools."""

    tools: list[Callable[..., str]]
    environment_factory: type[ToolEnvironment]


def trainer_arguments(job: Job) -> ToolArguments:
    """Keyword arguments of the trainer for the chosen tools; {} without any.

    Raises Problem where the model cannot call them.
    """
    choices = parse_tool_lines(job.knobs.tools)
    if not choices:
        return {}
    _require_tool_support(job, choices)
    plain_tools, column_tools = (
        [choice for choice in choices if not choice.column],
        [choice for choice in choices if choice.column],
    )
    arguments: ToolArguments = {}
    if plain_tools:
        arguments["tools"] = [tool_function(choice.name) for choice in plain_tools]
    if column_tools:
        arguments["environment_factory"] = environment_class(column_tools)
    return arguments


class ToolEnvironment:
    """Base class of TRL environments, one instance for each completion. All public methods but `reset` are tools."""

    choices: Sequence[ToolChoice]
    texts: dict[str, str]  # the text of the row that a tool reads, by the tool's name

    def reset(self, /, **row: Cell) -> None:
        """Called by TRL with the row, before its completion is generated."""
        self.texts = {choice.name: _column_text(row.get(choice.column)) for choice in self.choices}


def environment_class(choices: list[ToolChoice]) -> type[ToolEnvironment]:
    """An environment class whose tools are the chosen ones."""
    methods = {choice.name: _environment_method(choice.name) for choice in choices}
    return type("ToolEnvironment", (ToolEnvironment,), {"choices": choices, **methods})


def _environment_method(name: str) -> Callable[..., str]:
    """The tool as a method that fills in the row's text itself; its signature has the other arguments only."""
    function = tool_function(name)

    def method(self: ToolEnvironment, /, *positional: JsonValue, **keywords: JsonValue) -> str:
        return function(self.texts[name], *positional, **keywords)

    _, *parameters = inspect.signature(function).parameters.values()
    self_parameter = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__name__ = method.__qualname__ = name
    method.__doc__ = function.__doc__
    method.__dict__["__signature__"] = inspect.Signature([self_parameter, *parameters])
    method.__annotations__ = {key: hint for key, hint in get_type_hints(function).items() if key != TEXT_ARGUMENT}
    return method


def _column_text(cell: Cell) -> str:
    """A column's value as text: a list has a line for each element."""
    if isinstance(cell, list):
        return "\n".join(_column_text(element) for element in cell)
    return cell if isinstance(cell, str) else "" if cell is None else json.dumps(cell, ensure_ascii=False, default=str)


# -- support by the model --------------------------------------------------------------------------------------------


def require_tool_calling_format(spec: Spec) -> None:
    """Preflight without heavy imports: raises Problem when a local chat template does not support tool calls."""
    if not parse_tool_lines(spec.knobs.get("tools", [])):
        return
    template_text = _chat_template_text(spec.model)
    if template_text is not None and template_text not in [_shipped_format_text(name) for name in TOOL_CALLING_FORMATS]:
        raise _no_tool_calls_problem()


def _chat_template_text(model: Model) -> str | None:
    """The chat template's text; None if not available locally, or if the model declares how calls are parsed."""
    if model.template:
        return template_source.template_text(model.template)
    start_folder = adapters.locate_adapter(model.start_from) if model.start_from else ""
    folders = [Path(folder) for folder in (start_folder, models.locate_model(model.id)) if folder]
    config_path = next(
        (folder / "tokenizer_config.json" for folder in folders if (folder / "tokenizer_config.json").is_file()), None
    )
    if config_path is None:
        return None
    tokenizer_config = json.loads(config_path.read_text("utf-8"))
    if tokenizer_config.get("response_template"):
        return None
    template_path = config_path.with_name("chat_template.jinja")
    template = template_path.read_text("utf-8") if template_path.is_file() else tokenizer_config.get("chat_template")
    return template if isinstance(template, str) else ""


def _shipped_format_text(name: str) -> str:
    return (models.chat_template_folder() / f"{name}.jinja").read_text("utf-8")


def _require_tool_support(job: Job, choices: list[ToolChoice]) -> None:
    """Raises Problem when this model could not call a tool, or a tool would find nothing to read."""
    from trl.chat_template_utils import add_response_schema, supports_tool_calling

    tokenizer, rows = job.trainers_tokenizer, job.data.train
    if not job.uses_chat_template or not supports_tool_calling(tokenizer):
        raise _no_tool_calls_problem()
    if job.processor is not None:
        raise Problem(
            "Prompts with pictures cannot be answered with tools here.",
            advice="Switch the tools off, or leave the pictures out.",
        )
    # A run's result already has the response template of its own format.
    has_response_template = bool(getattr(tokenizer, "response_template", None)) and not job.spec.model.template
    if not has_response_template:
        try:
            add_response_schema(tokenizer)
        except ValueError as error:  # TRL recognises chat templates by their exact text
            raise _no_tool_calls_problem() from error
    column_names = rows.column_names or list(next(iter(rows)))
    for choice in choices:
        if choice.column and choice.column not in column_names:
            listed_names = ", ".join(f"`{name}`" for name in column_names[:20])
            raise Problem(
                f"The tool “{choice.name}” reads the column `{choice.column}`, and the examples have {listed_names}.",
                advice="Name one of these after the tool.",
                reason="wrong_column",
            )


def _no_tool_calls_problem() -> Problem:
    return Problem(
        "Tools need a chat format in which calls can be written and read again, and this model has none.",
        advice="Choose such a chat format under the model, for example trl:qwen3; or a model that comes with one; or use no tools. "
        f"Others: {', '.join(TOOL_CALLING_FORMATS)}.",
        reason="no_tool_calls",
    )
