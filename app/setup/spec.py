"""Spec: everything needed to repeat a run and nothing else. Launch: what belongs to one start of a run."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from app.core.json_types import JsonObject, JsonValue
from app.core.problems import Problem
from app.core.validation import FrozenModel, validate, without_nulls
from app.setup.adapter import Adapter
from app.setup.sources import MAX_EVAL_SETS, EvalSet, Holdout, Revision, Source

MAX_STEPS = 10_000_000  # of one run
# a chat template by name instead of its text: ChatML, or one that TRL ships
NAMED_TEMPLATE = re.compile(r"chatml|trl:(?P<trl_name>[a-z0-9_]{1,60})", re.ASCII)


class Model(FrozenModel):
    """The base model, and the adapter or run that training starts from.

    start_from: `run:ID` or a Hub adapter `owner/name`. template: the chat template, as text, `trl:NAME` or `chatml`.
    new_tokens: tokens that are added to the vocabulary, trained and saved with the adapter. embedding_multiple: when
    the embeddings grow, their number of rows becomes a multiple of this. end_token, pad_token: tokens of the vocabulary
    in place of the tokenizer's own. quantization: of the frozen weights, 4 bits (nf4, fp4) or 8 bits (int8); only with
    an adapter.
    """

    id: str = "pocket"
    revision: Revision | None = None
    start_from: str | None = None
    template: str | None = None
    new_tokens: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(default=[], max_length=64)
    embedding_multiple: Literal[1, 8, 64, 128] = 64
    end_token: str | None = Field(default=None, min_length=1, max_length=100)
    pad_token: str | None = Field(default=None, min_length=1, max_length=100)
    quantization: Literal["none", "nf4", "fp4", "int8"] = "none"


class Reward(FrozenModel):
    """One reward. label (in files `as`): the name of its metric, unique within a Spec. on: whether it is used; a link
    turns off rewards that run code or call an address."""

    name: str
    label: str = Field(default="", alias="as", pattern=r"^[a-z0-9_]*$")
    weight: float = Field(default=1.0, ge=-100, le=100)
    params: dict[str, Any] = Field(default={})
    on: bool = True


class Spec(FrozenModel):
    """Everything needed to repeat a run: no access tokens, no machine, no secrets.

    eval_sets: named examples that evaluations measure beside the held-out ones. prompts: on which completions are
    generated during training. drop: kinds of rows that are not trained on:
    duplicates, rows that are also held out (held_out), rows whose answer is in the prompt (leaks), pairs of equal
    completions (same), rows without a trained token (untrained), rows longer than the limit (cut), and rows that the
    chat template refuses (refused).
    """

    v: Literal[1] = 1
    title: str = Field(default="", max_length=200)
    method: str
    model: Model = Model()
    data: list[Source] = Field(min_length=1, max_length=64)
    holdout: Holdout = Holdout(share=0.05)
    eval_sets: list[EvalSet] = Field(default=[], max_length=MAX_EVAL_SETS)
    drop: list[Literal["duplicates", "held_out", "leaks", "same", "untrained", "cut", "refused"]] = Field(default=[])
    prompts: list[str] = Field(default=[], max_length=32)
    adapter: Adapter = Adapter()
    knobs: dict[str, Any] = Field(default={})
    rewards: list[Reward] = Field(default=[])
    seed: int = Field(default=7, ge=0, lt=2**32)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: JsonValue) -> JsonValue:
        """Absent and null mean the same."""
        return without_nulls(data) if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _check_set_names(self) -> Self:
        names = [eval_set.name.lower() for eval_set in self.eval_sets]
        repeated = next((eval_set.name for eval_set in self.eval_sets if names.count(eval_set.name.lower()) > 1), None)
        if repeated is not None:
            raise ValueError(f"two of its evaluation sets are called “{repeated}”")
        return self

    @property
    def sources(self) -> list[Source]:
        """All sources, those of held-out rows and of evaluation sets included."""
        return [*self.data, *([self.holdout.source] if self.holdout.source else []), *self.eval_sets]

    def to_dict(self) -> dict[str, Any]:
        """Plain data that round-trips through TOML, JSON and links to an equal Spec."""
        return self.model_dump(by_alias=True, exclude_none=True)

    def to_json(self) -> str:
        """`to_dict` as the text of spec.json."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"


class Budget(FrozenModel):
    """When a run stops and saves by itself. minutes: from the start of training, counted anew when it is resumed.
    dollars: that the machine may cost in this time, at dollars_per_hour."""

    minutes: float | None = Field(default=None, gt=0)
    dollars: float | None = Field(default=None, gt=0)
    dollars_per_hour: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _require_price(self) -> Self:
        if self.dollars and not self.dollars_per_hour:
            raise ValueError("to stop at a cost, say what the machine costs per hour")
        return self

    @property
    def seconds(self) -> float | None:
        """Of training, by whichever is reached first; None where there is no limit."""
        limits = [60 * self.minutes] if self.minutes else []
        if self.dollars and self.dollars_per_hour:
            limits.append(3600 * self.dollars / self.dollars_per_hour)
        return min(limits, default=None)


class Publish(FrozenModel):
    """The Hub repository for the finished adapter."""

    repo: str
    private: bool = True


class Extension(FrozenModel):
    """More steps for a finished run, in its own folder. from_step: of the checkpoint that it went on from. planned: all
    steps before. steps: all steps now."""

    from_step: int = Field(ge=0)
    planned: int = Field(ge=0)
    steps: int = Field(ge=1, le=MAX_STEPS)


class Launch(FrozenModel):
    """What belongs to one start of a run and is never part of a link."""

    machine: str = "local"
    strategy: Literal["single"] = "single"
    budget: Budget = Budget()
    publish: Publish | None = None
    owner: str | None = None
    notify: str | None = None
    extension: Extension | None = None
    journey: str | None = None  # ID/STAGE of the pipeline run that it belongs to


def parse_spec(data: JsonObject) -> Spec:
    """A Spec from plain data. Raises Problem with one sentence that names the invalid field and its value."""
    return validate(Spec, data, "The setup")


def read_spec_file(path: str | Path) -> Spec:
    """A Spec from a .toml or .json file. Raises Problem when it can't be read."""
    return parse_spec({key: value for key, value in read_settings_file(Path(path)).items() if key not in PRESET_FIELDS})


def read_settings_file(path: Path) -> JsonObject:
    """The content of a .toml or .json file. Raises Problem when it can't be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        data = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:  # boundary: a person's file
        raise Problem(f"The file {path} cannot be read ({error.strerror}).", advice="Check the path.") from error
    except (ValueError, RecursionError) as error:
        format_name = "TOML" if path.suffix == ".toml" else "JSON"
        raise Problem(
            f"The file {path} is not {format_name}: {error}.", advice="Mend that place, or start from a preset."
        ) from error
    if not isinstance(data, dict):
        raise Problem(f"The file {path} holds a {type(data).__name__}, not a setup.", advice="Start from a preset.")
    return data


# Fields of a preset besides its Spec (app/planning/presets.py). The file of a preset is also a valid SPEC on the command
# line.
PRESET_FIELDS = ("sentence", "minutes", "needs", "goal", "gigabytes", "own_examples")
