"""Rehearsal: every stage of a chain is checked before the first begins, as if what it builds on were made already."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from app.core.problems import Problem
from app.core.validation import parse
from app.pipelines.pipeline import Chain, Stage, Tries, builds_on
from app.pipelines.prompts import prompts, scoring
from app.planning import preflight
from app.setup.spec import Reward, Source, read

PAIRS = "sample:manners"  # in place of pairs that a stage will make


def check(made_of: Chain) -> None:
    """Raises Problem for the first stage that could not begin, or a measure that could not be taken; says where."""
    later = frozenset(f"stage:{one.name}" for one in made_of.stages)
    for stage in made_of.stages:
        with named(f"stage “{stage.name}”"):
            check_stage(stage, later)
    with named("measure"):
        check_scores(made_of.measure.source, made_of.measure.rewards, later)


@contextlib.contextmanager
def named(where: str) -> Iterator[None]:
    try:
        yield
    except Problem as problem:
        raise Problem(f"In the {where}: {problem.text}", advice=problem.advice, reason=problem.reason) from problem


def check_stage(stage: Stage, later: frozenset[str]) -> None:
    if stage.tries is not None:
        tries = parse(Tries, begun(stage.tries), "The tries")
        check_scores(tries.source, tries.rewards, later)
    else:
        preflight.check(read(begun(stage.plan)), later)


def check_scores(source: Source, rewards: list[Reward], later: frozenset[str]) -> None:
    """The rows are within reach and have what the rewards read, and these are known and have what they need."""
    spec = scoring(rewards, source)
    preflight.check_rewards(spec, later)
    for row in prompts(source, 1):
        # rows without an answer of their own are scored by the one that was expected
        preflight.check_reward_columns(spec, {"answer": None} | row)


def begun(plan: Any) -> Any:
    """As it is told, but it goes on from nothing, and learns from pairs that are there."""
    if isinstance(plan, list):
        return [begun(one) for one in plan]
    if not isinstance(plan, dict):
        return plan
    made = {name: begun(value) for name, value in plan.items() if not (name == "start_from" and builds_on(value))}
    if builds_on(made.get("source")):  # how many there will be is not known
        made = {name: value for name, value in made.items() if name not in ("start", "limit")} | {"source": PAIRS}
    return made
