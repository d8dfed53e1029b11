"""Pipeline: an ordered list of stages, each a run or generated preference pairs, that can build on earlier stages.

Wherever a setup names a run (to start from, a reward model, a teacher), a stage may name `stage:NAME` instead, or
`stage:NAME@STEP` and `stage:NAME@best` for one of its checkpoints. Where it names a source of examples, `stage:NAME`
are the pairs that a stage with `tries` made. One execution of a pipeline is a pipeline run, a folder like a run.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from pydantic import Field, field_validator, model_validator

from app.core import paths, registry
from app.core.json_types import JsonObject, JsonValue
from app.core.validation import FrozenModel, validate
from app.setup.spec import Model, Reward, Source, Spec, parse_spec

STAGE_REFERENCE = re.compile(r"stage:([a-z0-9_]+)(@\w+)?", re.ASCII)


class BestOfNSettings(FrozenModel):
    """Preference pairs that a model generates itself: of several completions of a prompt, the best as chosen and the
    worst as rejected, scored by the rewards.

    model: any model, or one with `start_from`, which can be `stage:NAME` or a run. attempts: completions for each
    prompt. longest: tokens of a completion at most. Prompts whose completions all have the same score make no pair.
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
    """One stage: a run, or preference pairs for a later run.

    Exactly one is given, as plain data that may contain `stage:NAME`. setup: a Spec. tries: BestOfNSettings.
    """

    name: str = Field(pattern=r"^[a-z0-9_]{1,40}$")
    sentence: str = ""
    setup: dict[str, Any] | None = None
    tries: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _check_setup_or_tries(self) -> Stage:
        if (self.setup is None) == (self.tries is None):
            raise ValueError("a stage has a setup or tries, and not both")
        return self

    @property
    def configuration(self) -> JsonObject:
        """The setup or the tries, as plain data."""
        return self.setup if self.setup is not None else self.tries or {}


class ComparisonSettings(FrozenModel):
    """How the stages are compared at the end: completions of the same prompts, scored by the same rewards.

    category: a column; the scores are also given for each of its values. longest: tokens of a completion at most.
    """

    source: Source
    rewards: list[Reward] = Field(min_length=1)
    category: str | None = None
    longest: int = Field(default=64, ge=1, le=4096)
    prompts: int = Field(default=100, ge=1, le=1000)


class Pipeline(FrozenModel):
    """Stages in the order in which they run. A stage can only refer to earlier ones.

    minutes: about how long it takes; None where that depends on the card. gigabytes: of the smallest graphics card that
    every stage fits on, None where any computer will do.
    """

    title: str = Field(min_length=1, max_length=200)
    sentence: str = ""
    minutes: float | None = Field(default=None, gt=0)
    needs: str = "Any computer"
    gigabytes: int | None = Field(default=None, gt=0)
    stages: list[Stage] = Field(min_length=1, max_length=16)
    measure: ComparisonSettings

    @field_validator("stages")
    @classmethod
    def _check_unique_names(cls, value: list[Stage]) -> list[Stage]:
        names = [stage.name for stage in value]
        if len(set(names)) < len(names):
            raise ValueError("two stages have the same name")
        return value

    @model_validator(mode="after")
    def _check_references(self) -> Pipeline:
        earlier_names: set[str] = set()
        for stage in self.stages:
            if missing := referenced_stages(stage.configuration) - earlier_names:
                raise ValueError(f"the stage “{stage.name}” builds on “{min(missing)}”, which does not come before it")
            earlier_names.add(stage.name)
        if not self.training_stages:
            raise ValueError("no stage of it trains anything")
        if missing := referenced_stages([reward.params for reward in self.measure.rewards]) - earlier_names:
            raise ValueError(f"the measure asks for the stage “{min(missing)}”, which there is not")
        return self

    @property
    def training_stages(self) -> list[Stage]:
        """The stages that are runs."""
        return [stage for stage in self.stages if stage.setup is not None]

    def stage(self, name: str) -> Stage:
        """The stage of this name, which must exist."""
        return next(stage for stage in self.stages if stage.name == name)


def parse_pipeline(data: JsonObject) -> Pipeline:
    """A Pipeline from plain data. Raises Problem with one sentence."""
    return validate(Pipeline, data, "The chain")


def load_pipeline(name: str) -> Pipeline:
    """One of the shipped pipelines. Raises Problem for an unknown name."""
    registry.require_known("pipelines", name)
    folder, suffix = registry.FOLDERS["pipelines"]
    return parse_pipeline(tomllib.loads((paths.ROOT / folder / f"{name}{suffix}").read_text(encoding="utf-8")))


def referenced_stages(data: JsonValue) -> set[str]:
    """Names of the stages that plain data refers to, at any depth."""
    if isinstance(data, str):
        match = STAGE_REFERENCE.fullmatch(data)
        return {match[1]} if match else set()
    children = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return set().union(*map(referenced_stages, children))


def resolve_references(configuration: JsonObject, stage_outputs: dict[str, str]) -> JsonObject:
    """A copy with each reference, at any depth, replaced by the output of its stage.

    stage_outputs: {stage: run id, or the source (`upload:…`) of its pairs}.
    """
    return {name: _resolve_reference(data, stage_outputs) for name, data in configuration.items()}


def _resolve_reference(data: JsonValue, stage_outputs: dict[str, str]) -> JsonValue:
    """The same for any part of a configuration."""
    if isinstance(data, dict):
        return resolve_references(data, stage_outputs)
    if isinstance(data, list):
        return [_resolve_reference(element, stage_outputs) for element in data]
    match = STAGE_REFERENCE.fullmatch(data) if isinstance(data, str) else None
    if match is None:
        return data
    output = stage_outputs[match[1]]
    return output if output.startswith("upload:") else f"run:{output}{match[2] or ''}"


def stage_spec(stage: Stage, title: str, stage_outputs: dict[str, str]) -> Spec:
    """The Spec of a stage whose earlier stages are done. Raises Problem."""
    default_title = f"{title}: {stage.name.replace('_', ' ')}"
    return parse_spec({"title": default_title, **resolve_references(stage.configuration, stage_outputs)})


def best_of_n_settings(stage: Stage, stage_outputs: dict[str, str]) -> BestOfNSettings:
    """The settings of a stage with `tries` whose earlier stages are done. Raises Problem."""
    return validate(BestOfNSettings, resolve_references(stage.configuration, stage_outputs), "The tries")
