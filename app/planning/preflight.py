"""Preflight: what can be known to fail before anything is started, said in a sentence. Loads nothing heavy."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from app.core import registry
from app.core.problems import Problem
from app.data import file_scan, files, rows
from app.data.fields import MISSING, at
from app.hub import identity
from app.planning.resolve import named_models, resolve
from app.setup import models
from app.setup.spec import Source, Spec


def check(spec: Spec, later: frozenset[str] = frozenset()) -> Spec:
    """The resolved Spec when nothing known stands in its way. later: names of models that are still to be made, by earlier stages
    of a chain. Raises the first Problem found."""
    spec = resolve(spec)
    registry.home("runs")
    check_weights(spec)
    if spec.model.start_from:
        models.start_folder(spec.model.start_from)
    for name in named_models(spec):
        if not is_later(name, later):
            models.place(name)
    check_held(spec)
    if identity.in_space():
        refuse_paths(spec, later)
    method = registry.load("methods", spec.method)
    check_steps(spec)
    for source in spec.sources:
        check_source(source, spec, method)
    check_column(spec)
    if spec.holdout.split and spec.holdout.split == spec.data[0].split:
        raise Problem(
            f"The split “{spec.holdout.split}” would be learned and tested on alike.",
            advice="Hold out another split, or a share.",
        )
    if spec.holdout.split:
        files.file_of(spec.data[0], spec.holdout.split)
    if getattr(method, "NEEDS_REWARDS", False) and not spec.rewards:
        raise Problem(
            f"“{method.TITLE}” needs at least one reward.",
            advice=f"Choose from: {', '.join(registry.choices('rewards'))}.",
        )
    check_rewards(spec, later)
    if hasattr(method, "check"):
        method.check(spec)
    return spec


def check_held(spec: Spec) -> None:
    """Weights held in few bits cannot be trained themselves."""
    if spec.model.quantization != "none" and spec.adapter.kind == "none":
        raise Problem(
            f"Weights held as {spec.model.quantization} cannot be trained themselves.",
            advice="Train an adapter beside them, or keep the weights as they are.",
        )


def check_rewards(spec: Spec, later: frozenset[str] = frozenset()) -> None:
    """What a reward says it cannot work without; of one that is still to be made nothing can be said."""
    for reward in spec.rewards:
        if any(is_later(value, later) for value in reward.params.values()):
            continue
        module = registry.load("rewards", reward.name)
        lacking = getattr(module, "lacking", None)
        if lacking and (why := lacking(module.Params.model_validate(reward.params))):
            raise Problem(f"The reward “{reward.label}” {why}.", advice="Give it that, or choose another reward.")


def refuse_paths(spec: Spec, later: frozenset[str]) -> None:
    """A Space takes nothing from the disk it happens to run on."""
    named = [source.source for source in spec.sources if source.source.startswith("path:")]
    named += [
        one
        for one in (spec.model.id, *named_models(spec))
        if one not in models.SHIPPED
        and not one.startswith("run:")
        and not is_later(one, later)
        and Path(models.place(one)).is_dir()
    ]
    if named:
        raise Problem(f"“{named[0]}” is a file of the machine this Space runs on.", advice="Upload the file, or name it on the Hub.")  # fmt: skip


def is_later(name: Any, later: frozenset[str]) -> bool:
    """Is it still to be made, as a whole or a checkpoint of it?"""
    return str(name).partition("@")[0] in later


def check_steps(spec: Spec) -> None:
    if spec.knobs.get("streaming") and not spec.knobs.get("steps"):
        raise Problem("Reading while training has no end of its own.", advice="Set a number of steps.")


def check_weights(spec: Spec) -> None:
    folder = Path(models.locate(spec.model.id))
    if (
        folder.is_dir()
        and not spec.knobs.get("from_scratch")
        and not any(folder.glob("*.safetensors"))
        and not any(folder.glob("*.bin"))
    ):
        raise Problem(
            f"The folder {folder} holds no weights.", advice="Bring them as .safetensors files, or start from scratch."
        )


def check_source(source: Source, spec: Spec, method: Any) -> None:
    """One usable row is there, in a layout the method takes, with the columns the rewards read."""
    path = files.file_of(source)
    if path is None:
        return  # a Hub dataset: fetched when the run or its preview asks
    file_scan.require_readable(source)
    first = next(files.rows_of(source), None)
    if first is None:
        sliced = "The slice asked for lies beyond the end of" if source.start else "There is nothing in"
        raise Problem(f"{sliced} the examples “{files.name_of(source)}”: they are empty.", advice="Bring a file with rows.", reason="no_rows")  # fmt: skip
    normaliser = rows.Normaliser(method.LAYOUTS, method.TITLE, chat=True)
    usable = next(iter(normaliser(files.rows_of(source), source)), None)
    if usable is None:
        left_out = ", ".join(f"{count} × {reason}" for reason, count in normaliser.dropped.items())
        raise Problem(f"No usable rows in “{files.name_of(source)}”: all were left out ({left_out}).",
                      advice="Check the examples and how their columns are mapped.", reason="no_rows")  # fmt: skip
    if getattr(method, "NEEDS_REWARDS", False):
        check_reward_columns(spec, usable)


def check_column(spec: Spec) -> None:
    """The column by whose value rows are held out is there, in one of the first rows of a source that lies here."""
    column, here = spec.holdout.column, [one for one in spec.data if files.file_of(one)]
    first = [row for one in here for row in islice(files.rows_of(one), 50)] if column else []
    if column and first and len(here) == len(spec.data) and all(at(row, column) is MISSING for row in first):
        raise Problem(f"No row has a column “{column}” to hold out by.", advice=registry.nearest(column, list(first[0])[:50]), reason="wrong_column")  # fmt: skip


def check_reward_columns(spec: Spec, row: dict[str, Any]) -> None:
    from app.engine.reward_runtime.reward import columns_of  # a declaration: light

    for reward in spec.rewards:
        for column in columns_of(reward):
            if column not in row:
                have = ", ".join(f"`{name}`" for name in islice(row, 20))
                raise Problem(f"The reward “{reward.label}” reads the column `{column}`, and the examples have {have}.",
                              advice="Choose another column in the reward, or map one to this name.", reason="wrong_column")  # fmt: skip
