"""Preflight checks of a pipeline: every stage is checked before the first one starts.

Models and pairs that earlier stages will make do not exist yet: such models are not checked, and a shipped sample
stands in for the pairs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from app.core.json_types import JsonObject, JsonValue
from app.core.problems import Problem
from app.core.validation import validate
from app.pipelines.pipeline import BestOfNSettings, Pipeline, Stage, referenced_stages
from app.pipelines.prompts import read_prompts, scoring_spec
from app.planning import preflight
from app.planning.data_preflight import check_reward_columns
from app.setup.spec import Reward, Source, parse_spec

_PLACEHOLDER_PAIRS = "sample:manners"  # stands in for pairs that a stage will make


def check_pipeline(pipeline: Pipeline) -> None:
    """Raises Problem for the first stage that could not start, or a comparison that could not be made."""
    future_models = frozenset(f"stage:{stage.name}" for stage in pipeline.stages)
    for stage in pipeline.stages:
        with _locate_problems(f"stage “{stage.name}”"):
            _check_stage(stage, future_models)
    with _locate_problems("measure"):
        _check_scoring(pipeline.measure.source, pipeline.measure.rewards, future_models)


@contextlib.contextmanager
def _locate_problems(location: str) -> Iterator[None]:
    """Adds the location to the text of a Problem."""
    try:
        yield
    except Problem as problem:
        raise Problem(f"In the {location}: {problem.text}", advice=problem.advice, reason=problem.reason) from problem


def _check_stage(stage: Stage, future_models: frozenset[str]) -> None:
    if stage.tries is not None:
        settings = validate(BestOfNSettings, _with_placeholders(stage.tries), "The tries")
        _check_scoring(settings.source, settings.rewards, future_models)
    else:
        preflight.check_spec(parse_spec(_with_placeholders(stage.configuration)), future_models)


def _check_scoring(source: Source, rewards: list[Reward], future_models: frozenset[str]) -> None:
    """The rewards exist and are complete, and the rows can be read and have the columns that the rewards read."""
    spec = scoring_spec(rewards, source)
    preflight.check_rewards(spec, future_models)
    for row in read_prompts(source, 1):
        # a row without a reference answer is scored by the expected completion, so it needs no answer column
        check_reward_columns(spec, {"answer": None} | row)


def _with_placeholders(configuration: JsonObject) -> JsonObject:
    """A copy that starts from no earlier stage and reads its pairs from the placeholder."""
    configuration = {
        name: _with_nested_placeholders(value)
        for name, value in configuration.items()
        if not (name == "start_from" and referenced_stages(value))
    }
    if referenced_stages(configuration.get("source")):
        slice_fields = ("start", "limit")  # how many pairs there will be is not known
        configuration = {name: value for name, value in configuration.items() if name not in slice_fields}
        configuration["source"] = _PLACEHOLDER_PAIRS
    return configuration


def _with_nested_placeholders(data: JsonValue) -> JsonValue:
    """The same for any part of a configuration."""
    if isinstance(data, list):
        return [_with_nested_placeholders(element) for element in data]
    return _with_placeholders(data) if isinstance(data, dict) else data
