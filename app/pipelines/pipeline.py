"""Chain: a way of several runs, each a setup that may start from what earlier ones made: a small graph, told as data.

Wherever a setup names a run (to go on from, a reward model, a teacher), a stage may say `stage:NAME` instead, or
`stage:NAME@STEP` and `stage:NAME@best` for one of its checkpoints; where it names examples, `stage:NAME` are the pairs that a
stage of tries made. A journey is one walk along a chain: a folder, like a run.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from pydantic import Field, field_validator, model_validator

from app.core import paths, registry
from app.core.validation import validate
from app.setup.spec import FrozenModel, Model, Reward, Source, Spec, parse_spec

STAGE_REFERENCE = re.compile(r"stage:([a-z0-9_]+)(@\w+)?", re.ASCII)


class BestOfNSettings(FrozenModel):
    """Preferences that a model makes by itself: of several own answers to a prompt, the best over the worst, by the rewards.

    model: `stage:NAME`, a run, or any model with `start_from`. Prompts whose answers are all as good make no pair.
    """

    model: Model = Model()
    source: Source
    rewards: list[Reward] = Field(min_length=1)
    attempts: int = Field(default=8, ge=2, le=64)
    prompts: int = Field(default=400, ge=1, le=100_000)
    longest: int = Field(default=64, ge=1, le=4096)
    temperature: float = Field(default=1.0, gt=0, le=2)
    seed: int = Field(default=7, ge=0, lt=2**32)


class Stage(FrozenModel):
    """One run of it, or examples made for a later one.

    setup: a Spec as plain data, tries: Tries as plain data; with `stage:NAME` where they build on an earlier stage.
    """

    name: str = Field(pattern=r"^[a-z0-9_]{1,40}$")
    sentence: str = ""
    setup: dict[str, Any] | None = None
    tries: dict[str, Any] | None = None

    @model_validator(mode="after")
    def one_of_both(self) -> Stage:
        if (self.setup is None) == (self.tries is None):
            raise ValueError("a stage has a setup or tries, and not both")
        return self

    @property
    def plan(self) -> dict[str, Any]:
        return self.setup if self.setup is not None else self.tries or {}


class ComparisonSettings(FrozenModel):
    """On what every stage is compared: the same prompts, scored by the same rewards; category: a column to part the scores by."""

    source: Source
    rewards: list[Reward] = Field(min_length=1)
    category: str | None = None
    longest: int = Field(default=64, ge=1, le=4096)
    prompts: int = Field(default=100, ge=1, le=1000)


class Pipeline(FrozenModel):
    """Stages in an order in which each finds done what it builds on."""

    title: str = Field(min_length=1, max_length=200)
    sentence: str = ""
    minutes: float = Field(default=10, gt=0)
    needs: str = "Any computer"
    stages: list[Stage] = Field(min_length=1, max_length=16)
    measure: ComparisonSettings

    @field_validator("stages")
    @classmethod
    def names_differ(cls, value: list[Stage]) -> list[Stage]:
        names = [stage.name for stage in value]
        if len(set(names)) < len(names):
            raise ValueError("two stages have the same name")
        return value

    @model_validator(mode="after")
    def each_builds_on_earlier_ones(self) -> Pipeline:
        known: set[str] = set()
        for stage in self.stages:
            if missing := referenced_stages(stage.plan) - known:
                raise ValueError(f"the stage “{stage.name}” builds on “{min(missing)}”, which does not come before it")
            known.add(stage.name)
        if not self.training_stages:
            raise ValueError("no stage of it trains anything")
        if missing := referenced_stages([one.params for one in self.measure.rewards]) - known:
            raise ValueError(f"the measure asks for the stage “{min(missing)}”, which there is not")
        return self

    @property
    def training_stages(self) -> list[Stage]:
        """The stages that become runs."""
        return [stage for stage in self.stages if stage.setup is not None]

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)


def parse_pipeline(data: dict[str, Any]) -> Pipeline:
    """A Chain from plain data. Raises Problem with one sentence."""
    return validate(Pipeline, data, "The chain")


def load_pipeline(name: str) -> Pipeline:
    """One of the shipped chains. Raises Problem for an unknown name."""
    registry.require_known("pipelines", name)
    folder, suffix = registry.FOLDERS["pipelines"]
    return parse_pipeline(tomllib.loads((paths.ROOT / folder / f"{name}{suffix}").read_text(encoding="utf-8")))


def referenced_stages(data: Any) -> set[str]:
    """The stages that plain data names."""
    if isinstance(data, str):
        match = STAGE_REFERENCE.fullmatch(data)
        return {match[1]} if match else set()
    children = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return set().union(*map(referenced_stages, children))


def resolve_references(data: Any, stage_outputs: dict[str, str]) -> Any:
    """The data with every stage's name replaced by what it made. runs: {stage: run id, or the source of its pairs}."""
    if isinstance(data, str):
        match = STAGE_REFERENCE.fullmatch(data)
        if not match:
            return data
        output = stage_outputs[match[1]]
        return output if output.startswith("upload:") else f"run:{output}{match[2] or ''}"
    if isinstance(data, dict):
        return {key: resolve_references(value, stage_outputs) for key, value in data.items()}
    return [resolve_references(value, stage_outputs) for value in data] if isinstance(data, list) else data


def stage_spec(stage: Stage, title: str, stage_outputs: dict[str, str]) -> Spec:
    """The stage's Spec, once all that it builds on is done. Raises Problem."""
    return parse_spec({"title": f"{title}: {stage.name.replace('_', ' ')}"} | resolve_references(stage.plan, stage_outputs))


def best_of_n_settings(stage: Stage, stage_outputs: dict[str, str]) -> BestOfNSettings:
    """The stage's tries, once all that they build on is done. Raises Problem."""
    return validate(BestOfNSettings, resolve_references(stage.plan, stage_outputs), "The tries")
