"""Toolbox: what a model may call while it answers, how it is given that, and whether its chat format can say it.

A tool is one file in app/engine/tools: TITLE, one sentence, and a function of the file's name whose docstring the model reads. One whose
first argument is called `text` gets what stands in a column of the row; the model is told only of the others.
"""

from __future__ import annotations

import copy
import inspect
import json
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from app.core import registry
from app.core.problems import Problem
from app.engine.model import template_source
from app.setup import models

if TYPE_CHECKING:
    import torch

    from app.engine.job import Job
    from app.setup.spec import Model, Spec

TEXT = "text"  # the argument that is no question of the model's: what stands in the row
BATCH = 32  # rows that are asked at once in a test
# Of the formats that TRL ships those that write calls, and whose calls it can read again; tests/test_tools.py holds them against TRL.
FORMATS = ("gemma4", "gemma4_v2", "gemma4_v3", "gemma4_v4", "gemma4_v5", "glm4moe", "gptoss", "lfm2_2_5", "lfm2_2_5_v2", "lfm2_2_5_vl",
           "lfm2_v2", "llama3_1", "llama3_2", "nemotron_3_5_lightning", "nemotron_3_nano", "nemotron_3_super", "nemotron_3_ultra", "qwen2_5",
           "qwen3", "qwen3_5_nothink", "qwen3_5_think", "qwen3_6", "qwen3_8", "qwen3_instruct_2507", "qwen3_vl")  # fmt: skip

Turns = list[dict[str, Any]]


class Chosen(NamedTuple):
    """A tool, and the column it reads, if it reads one."""

    name: str
    column: str


def parsed(lines: list[str]) -> list[Chosen]:
    """Lines such as `calculator` or `look_up: article`. Raises ValueError."""
    found = []
    for line in lines:
        name, _, column = (part.strip() for part in line.partition(":"))
        if name not in registry.choices("tools"):
            raise ValueError(f"there is no tool called “{name}”. {registry.nearest(name, registry.choices('tools'))}")
        if reads(name) and not column:
            raise ValueError(f"“{name}” reads a column: name it after a colon, as in {name}: article")
        if column and not reads(name):
            raise ValueError(f"“{name}” reads no column, so write it alone")
        if name in (one.name for one in found):
            raise ValueError(f"“{name}” stands there twice")
        found.append(Chosen(name, column))
    return found


def menu() -> str:
    """All tools as a person would write them, each with its title."""
    return "; ".join(
        f"{name}{': COLUMN' if reads(name) else ''} ({title_of(name)})" for name in registry.choices("tools")
    )


def title_of(name: str) -> str:
    title = registry.load("tools", name).TITLE
    return title[0].lower() + title[1:]


def function_of(name: str) -> Any:
    return getattr(registry.load("tools", name), name)


def reads(name: str) -> bool:
    return next(iter(inspect.signature(function_of(name)).parameters), "") == TEXT


# -- given to TRL's trainer ----------------------------------------------------------------------------------------


def given(job: Job) -> dict[str, Any]:
    """What the trainer is told beside its arguments; nothing where no tool was chosen. Raises Problem where none could be called."""
    chosen = parsed(job.knobs.tools)
    if not chosen:
        return {}
    require(job, chosen)
    alone, reading = [one for one in chosen if not one.column], [one for one in chosen if one.column]
    told = {"tools": [function_of(one.name) for one in alone]} if alone else {}
    return told | ({"environment_factory": surroundings(reading)} if reading else {})


def surroundings(chosen: list[Chosen]) -> type:
    """What TRL calls an environment, one for each answer: it is shown the row first, and its methods are the tools."""

    def reset(self: Any, /, **row: Any) -> None:
        self.texts = {one.name: text_in(row.get(one.column)) for one in chosen}

    return type("Surroundings", (), {"reset": reset, **{one.name: method_of(one.name) for one in chosen}})


def method_of(name: str) -> Any:
    """The tool as a method that brings the row's text itself; the model is told of the other arguments only."""
    function = function_of(name)

    def method(self: Any, /, *values: Any, **named: Any) -> Any:
        return function(self.texts[name], *values, **named)

    _, *others = inspect.signature(function).parameters.values()
    itself = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__name__ = method.__qualname__ = name
    method.__doc__, method.__signature__ = function.__doc__, inspect.Signature([itself, *others])  # type: ignore[attr-defined]
    method.__annotations__ = {key: hint for key, hint in get_type_hints(function).items() if key != TEXT}
    return method


def text_in(value: Any) -> str:
    """A column's value as text: a list has a line for each of its parts."""
    if isinstance(value, list):
        return "\n".join(text_in(one) for one in value)
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False, default=str)  # fmt: skip


class Calling:
    """Part of a trainer of groups (app/engine/trainers/group_rl/trainer.py), the outermost: tools in a look beforehand and in tests."""

    testing = False

    def _tokenize_prompts(self, prompts: list[Turns]) -> Any:
        self._batch_environments = [None] * len(prompts)  # TRL's name of its only one; a look at prompts sets none
        return super()._tokenize_prompts(prompts)

    def _calculate_rewards(self, inputs: Any, prompts: Any, completions: list[Turns], ids: Any) -> torch.Tensor:
        import torch

        if not self.testing:
            return super()._calculate_rewards(inputs, prompts, completions, ids)
        self.said = completions
        return torch.zeros(len(prompts), len(self.reward_funcs), device=self.accelerator.device)

    def asked(self, row: dict[str, Any]) -> str:
        """The prompt as the model reads it, with all it is told of its tools."""
        ids, *_ = self._tokenize_prompts([row["prompt"]])
        return self._tokenizer.decode(ids[0])

    def answer_with_tools(self, rows: list[dict[str, Any]]) -> list[Turns]:
        """The likeliest answers, each with the calls and results on its way. Nothing of it is told as training."""
        names = ("_logs", "_metrics", "generation_config", "num_generations_eval", "testing")
        before = {name: getattr(self, name) for name in names}
        self._logs, self.generation_config = copy.deepcopy(self._logs), greedy(self.generation_config)
        self._metrics = {mode: defaultdict(list) for mode in self._metrics}
        self.num_generations_eval, self.testing = 1, True
        try:
            return [one for start in range(0, len(rows), BATCH) for one in self.answers(rows[start : start + BATCH])]
        finally:
            for name, value in before.items():
                setattr(self, name, value)

    def answers(self, rows: list[dict[str, Any]]) -> list[Turns]:
        import torch

        with torch.no_grad():
            self._generate_and_score_completions([dict(row) for row in rows])
        return self.said


def greedy(config: Any) -> Any:
    changed = copy.copy(config)
    changed.do_sample, changed.temperature, changed.top_p, changed.top_k, changed.min_p = False, None, None, None, None
    return changed


# -- can this model call anything? -----------------------------------------------------------------------------------


def check(spec: Spec) -> None:
    """Before anything is started, and without anything heavy: a chat format whose text lies here is one that can. Raises Problem."""
    if not parsed(spec.knobs.get("tools", [])):
        return
    text = format_of(spec.model)
    if text is not None and text not in [format_text(name) for name in FORMATS]:
        raise unable()


def format_of(model: Model) -> str | None:
    """The text of its chat format; None where that does not lie here, or where the model itself says how its calls are read."""
    if model.template:
        return template_source.text_of(model.template)
    start = models.start_folder(model.start_from) if model.start_from else ""
    folders = [Path(place) for place in (start, models.locate(model.id)) if place]
    told = next((one / "tokenizer_config.json" for one in folders if (one / "tokenizer_config.json").is_file()), None)
    if told is None:
        return None
    settings = json.loads(told.read_text("utf-8"))
    if settings.get("response_template"):
        return None
    beside = told.with_name("chat_template.jinja")
    own = beside.read_text("utf-8") if beside.is_file() else settings.get("chat_template")
    return own if isinstance(own, str) else ""


def format_text(name: str) -> str:
    return (models.format_folder() / f"{name}.jinja").read_text("utf-8")


def require(job: Job, chosen: list[Chosen]) -> None:
    """Raises Problem when this model could not call a tool, or a tool would find nothing to read."""
    from trl.chat_template_utils import add_response_schema, supports_tool_calling

    tokenizer, rows = job.trainers_tokenizer, job.data.train
    if not job.chat or not supports_tool_calling(tokenizer):
        raise unable()
    if job.processor is not None:
        raise Problem("Prompts with pictures cannot be answered with tools here.", advice="Switch the tools off, or leave the pictures out.")  # fmt: skip
    if job.spec.model.template or not getattr(
        tokenizer, "response_template", None
    ):  # an earlier result brings that of its own format
        try:
            add_response_schema(tokenizer)
        except ValueError as error:  # TRL knows formats by their very text
            raise unable() from error
    have = rows.column_names or list(next(iter(rows)))
    for one in chosen:
        if one.column and one.column not in have:
            raise Problem(f"The tool “{one.name}” reads the column `{one.column}`, and the examples have {', '.join(f'`{name}`' for name in have[:20])}.",
                          advice="Name one of these after the tool.", reason="wrong_column")  # fmt: skip


def unable() -> Problem:
    return Problem("Tools need a chat format in which calls can be written and read again, and this model has none.",
                   advice="Choose such a chat format under the model, for example trl:qwen3; or a model that comes with one; or use no tools. "
                          f"Others: {', '.join(FORMATS)}.", reason="no_tool_calls")  # fmt: skip
