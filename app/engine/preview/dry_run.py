"""Trial: the untouched model tries real prompts, scored exactly as in training, so that a person sees what there is to earn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.core import registry
from app.core.problems import Problem
from app.engine.generation.generate import mean
from app.engine.model.device import Device
from app.engine.preview.findings import Finding, say
from app.engine.trainers.group_rl.retry_failed_prompts import ROW
from app.engine.trainers.group_rl.rollout_logging import finite, plain
from app.engine.trainers.group_rl.zero_variance_groups import SAME
from app.planning.resolve import resolve
from app.setup.spec import Spec, read

MOST = 64  # prompts or attempts of one trial


def check(request: dict[str, Any]) -> None:
    """Before waiting for a turn: does this method earn rewards? Raises Problem."""
    method = registry.load("methods", read(request["spec"]).method)
    if not getattr(method, "NEEDS_REWARDS", False):
        raise Problem(f"“{method.TITLE}” learns from examples, so there are no attempts to try.")
    if not read(request["spec"]).rewards:
        raise Problem(
            "There is no reward to try yet.", advice=f"Choose from: {', '.join(registry.choices('rewards'))}."
        )


def dry_run(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """{"progress"} after each prompt, at last {"done": {"rows", "by_reward", "findings"}}."""
    from app.engine.job import Job

    prompts, attempts = min(request["prompts"], MOST), min(max(2, request["attempts"]), MOST)
    spec = resolve(read(request["spec"]))
    with TemporaryDirectory() as folder:
        job = Job(spec, Path(folder), Device("cpu"), rows=prompts)
        trainer = job.method.build(job)
        asked = [row_of(row) for row in trainer.train_dataset]
        tried = []
        for row in asked:
            tried.append(tries(trainer, row, attempts, spec))
            yield {"progress": {"done": len(tried), "of": len(asked)}}
    named = by_reward(tried)
    yield {"done": {"rows": tried, "by_reward": named, "findings": findings(tried, named, spec)}}


def row_of(row: dict[str, Any]) -> dict[str, Any]:
    """As rewards see it."""
    return {key: value for key, value in row.items() if key != ROW}


def tries(trainer: Any, row: dict[str, Any], attempts: int, spec: Spec) -> dict[str, Any]:
    """One prompt's attempts, written and scored by the trainer's own code.

    Every trainer of a method with NEEDS_REWARDS has `try_out(row, count)` -> [{"text", "rewards": {name: number or None}, "failed":
    could a reward not score it though it should have}], `count` of them.
    """
    completions = []
    for one in trainer.try_out(row, attempts):
        rewards = {name: finite(value) for name, value in one["rewards"].items()}
        completions.append({"text": one["text"], "rewards": rewards, "total": None if one["failed"] else total(rewards, spec)})  # fmt: skip
    totals = [one["total"] for one in completions if one["total"] is not None] or [0.0]
    asked = (
        trainer.asked(row) if hasattr(trainer, "asked") else plain(row["prompt"])
    )  # with what it is told of its tools
    return {"prompt": asked, "completions": completions, "spread": round(max(totals) - min(totals), 6)}


def total(rewards: dict[str, float | None], spec: Spec) -> float:
    """The weighted sum, as TRL's: what could not be scored adds nothing."""
    return round(sum(one.weight * (rewards[one.label] or 0.0) for one in spec.rewards), 6)


def by_reward(rows: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """{name: {"mean", "lowest", "highest"}} of the answers that could be scored."""
    found: dict[str, list[float | None]] = {}
    for completion in (one for row in rows for one in row["completions"]):
        for name, value in completion["rewards"].items():
            found.setdefault(name, []).append(value)
    scored = {name: [value for value in values if value is not None] for name, values in found.items()}
    return {name: {"mean": mean(values), "lowest": min(values, default=None), "highest": max(values, default=None)}
            for name, values in scored.items()}  # fmt: skip


def findings(rows: list[dict[str, Any]], named: dict[str, dict[str, float | None]], spec: Spec) -> list[Finding]:
    """What a person should know before training on these rewards."""
    return [*(one for name, values in named.items() if (one := unscored(name, values))), *failed(rows), *spread(rows, named, spec)]  # fmt: skip


def failed(rows: list[dict[str, Any]]) -> list[Finding]:
    totals = [one["total"] for row in rows for one in row["completions"]]
    if None not in totals:
        return []
    return [say("careful", f"A reward failed on {totals.count(None)} of {len(totals)} answers. Training leaves such answers out.")]  # fmt: skip


def unscored(name: str, values: dict[str, float | None]) -> Finding | None:
    if values["mean"] is None:
        return say("wrong", f"The reward “{name}” could not score a single answer. Check the column or the words that it reads.")  # fmt: skip
    return None


def spread(rows: list[dict[str, Any]], named: dict[str, dict[str, float | None]], spec: Spec) -> list[Finding]:
    """Only where the attempts at one prompt earn differently is there anything to learn from."""
    differ = sum(row["spread"] > SAME for row in rows)
    attempts = max((len(row["completions"]) for row in rows), default=0)
    totals = {one["total"] for row in rows for one in row["completions"] if one["total"] is not None}
    if not rows or all(values["mean"] is None for values in named.values()):
        return []
    if differ == 0 and all(abs(value) <= SAME for value in totals):
        return [say("wrong", f"All {attempts * len(rows)} attempts earn 0, so there is nothing to learn from. Give the model "
                             "easier prompts or a more forgiving reward, or first let it imitate some examples.")]  # fmt: skip
    if differ == 0:
        return [say("wrong", "Every attempt at a prompt earns the same, so there is nothing to learn from. Raise the "
                             f"temperature (now {spec.knobs['temperature']:g}), or choose a reward that tells answers apart.")]  # fmt: skip
    flat = [say("careful", f"The reward “{name}” is {values['mean']:g} for every answer, so it steers nothing.")
            for name, values in named.items()
            if len(named) > 1 and values["mean"] is not None and values["highest"] - values["lowest"] <= SAME]  # fmt: skip
    if differ * 8 <= len(rows):
        return [*flat, say("careful", f"At {len(rows) - differ} of {len(rows)} prompts all {attempts} attempts earn the same, and those "
                                      "teach nothing. More attempts, or easier prompts, would help.")]  # fmt: skip
    return [*flat, say("good", f"At {differ} of {len(rows)} prompts the attempts earn differently, so there is something to learn from.")]  # fmt: skip
