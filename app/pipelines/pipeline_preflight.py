"""Rehearsal: every stage of a chain is checked before the first begins, as if what it builds on were made already."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from app.core.problems import Problem
from app.core.validation import validate
from app.pipelines.pipeline import Pipeline, Stage, BestOfNSettings, referenced_stages
from app.pipelines.prompts import read_prompts, scoring_spec
from app.planning import preflight
from app.setup.spec import Reward, Source, parse_spec

_PLACEHOLDER_PAIRS = "sample:manners"  # in place of pairs that a stage will make


def check_pipeline(pipeline: Pipeline) -> None:
    """Raises Problem for the first stage that could not begin, or a measure that could not be taken; says where."""
    future_models = frozenset(f"stage:{stage.name}" for stage in pipeline.stages)
    for stage in pipeline.stages:
        with _locate_problems(f"stage “{stage.name}”"):
            _check_stage(stage, future_models)
    with _locate_problems("measure"):
        _check_scoring(pipeline.measure.source, pipeline.measure.rewards, future_models)


@contextlib.contextmanager
def _locate_problems(location: str) -> Iterator[None]:
    try:
        yield
    except Problem as problem:
        raise Problem(f"In the {location}: {problem.text}", advice=problem.advice, reason=problem.reason) from problem


def _check_stage(stage: Stage, future_models: frozenset[str]) -> None:
    if stage.tries is not None:
        tries = validate(BestOfNSettings, _with_placeholders(stage.tries), "The tries")
        _check_scoring(tries.source, tries.rewards, future_models)
    else:
        preflight.check_spec(parse_spec(_with_placeholders(stage.plan)), future_models)


def _check_scoring(source: Source, rewards: list[Reward], future_models: frozenset[str]) -> None:
    """The rows are within reach and have what the rewards read, and these are known and have what they need."""
    spec = scoring_spec(rewards, source)
    preflight.check_rewards(spec, future_models)
    for row in read_prompts(source, 1):
        # rows without an answer of their own are scored by the one that was expected
        preflight.check_reward_columns(spec, {"answer": None} | row)


def _with_placeholders(plan: Any) -> Any:
    """As it is told, but it goes on from nothing, and learns from pairs that are there."""
    if isinstance(plan, list):
        return [_with_placeholders(one) for one in plan]
    if not isinstance(plan, dict):
        return plan
    made = {name: _with_placeholders(value) for name, value in plan.items() if not (name == "start_from" and referenced_stages(value))}
    if referenced_stages(made.get("source")):  # how many there will be is not known
        made = {name: value for name, value in made.items() if name not in ("start", "limit")} | {"source": _PLACEHOLDER_PAIRS}
    return made
