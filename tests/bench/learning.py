"""Learning: every method on the practice model, three seeds: its own held-out measure moves, and the result reloads and says the same."""

from __future__ import annotations

import copy
import os
import statistics
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from app.planning import preflight
from app.setup.spec import Spec, parse_spec
from presets import make_kin
from tests.learning_cases import CASES, Case, made
from tests.support import QUIET, generated

SEEDS = (17, 18, 19)  # others than those that settings were tried with
TOGETHER = 2  # processes, each of which computes with one thread: the numbers do not depend on how many there are
QUESTIONS = [
    "Hello! What colour is the sky?",
    "What is 12 + 31?",
    "The fox",
]  # a result must answer or score these as before


@dataclass(frozen=True)
class Learned:
    """What one training did. same: the saved result, loaded anew, answers or scores as the trained model did."""

    before: float
    after: float
    changed: bool
    same: bool

    @property
    def gain(self) -> float:
        return self.after - self.before


def spec_for(case: Case, seed: int, short: bool = False) -> Spec:
    data = copy.deepcopy(case.spec) | {"seed": seed}
    data["knobs"] = QUIET | data.get("knobs", {}) | (case.short if short else {})
    if short and case.short_rows:
        data["holdout"] = {"source": data["data"][0] | {"split": "holdout", "limit": case.short_rows}}
    data["data"] = [one | {"source": made(one["source"])} for one in data["data"]]
    if kin := kin_of(case):
        data["knobs"]["teacher"] = str(make_kin.ready(kin))
    return preflight.check_spec(parse_spec(data))


def kin_of(case: Case) -> str:
    """Of presets/make_kin.py, where the case has a teacher from there."""
    name = str(case.spec.get("knobs", {}).get("teacher", ""))
    return name.removeprefix("kin:") if name.startswith("kin:") else ""


def learn(spec: Spec, measure: str, folder: Path) -> Learned:
    """Trains in this process, tested by the engine's own tests before and after."""
    from app.engine.__main__ import save_model
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries
    from app.engine.model.device import Device

    prepare_libraries()
    job = Job(spec, folder, Device("cpu"))
    trainer = job.method.build(job)
    before, kept = tested(job, trainer, measure), weights_of(trainer.model)
    trainer.train()
    after, changed = tested(job, trainer, measure), weights_differ(kept)
    save_model(trainer, folder / "result")
    return Learned(before, after, changed, says_the_same(job, trainer.model, folder / "result"))


def tested(job: Any, trainer: Any, wanted: str) -> float:
    """By that part of the engine's own test which tells what is wanted: all of it would take twice as long."""
    from app.engine.evaluation import evaluate
    from app.engine.generation.generate import preserve_rng_eval

    with preserve_rng_eval(trainer.model):
        if wanted == "loss":
            return evaluate.held_out_losses(job, trainer)[wanted]
        if wanted in job.method.eval_metrics:
            return evaluate.method_metrics(job, trainer)[wanted]
        return evaluate.evaluate(job, trainer, job.data.holdout[: job.knobs.eval_answers])[0][wanted]


def weights_of(model: Any) -> list[tuple[Any, Any]]:
    return [(weight, weight.detach().clone()) for weight in model.parameters() if weight.requires_grad]


def weights_differ(kept: list[tuple[Any, Any]]) -> bool:
    return any(not weight.detach().equal(before) for weight, before in kept)


def says_the_same(job: Any, model: Any, result: Path) -> bool:
    """The numbers for some texts, and of a model that writes also its answers."""
    import torch

    from app.engine.model.load_model import load_tuned

    loaded, tokenizer = load_tuned(result)
    model.eval()
    for text in QUESTIONS:
        ids = tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            if not torch.allclose(model(input_ids=ids).logits, loaded(input_ids=ids).logits, atol=1e-3):
                return False
    return not job.is_generative or generated(model, tokenizer, QUESTIONS, 24) == generated(
        loaded, tokenizer, QUESTIONS, 24
    )


def kept(case: Case, found: list[Learned]) -> bool:
    """Is the promise kept in every seed?"""
    sign = 1 if case.margin > 0 else -1
    moved = all(sign * one.gain >= abs(case.margin) for one in found)
    return moved and abs(case.margin) > 3 * spread(found) and all(one.changed and one.same for one in found)


def spread(found: list[Learned]) -> float:
    """Standard deviation of the change over seeds."""
    return statistics.stdev(one.gain for one in found)


def run(folder: Path, names: list[str] | None = None) -> list[dict[str, Any]]:
    """A row for each case, printed as it is known. names: only these."""
    chosen = {name: CASES[name] for name in names or CASES}
    for case in chosen.values():
        if kin := kin_of(case):
            make_kin.ready(kin)  # before the processes start: both would make it
    table = []
    for name, found in side_by_side(chosen, folder):
        table.append(row(name, CASES[name], found))
        print(table[-1], flush=True)
    return table


def side_by_side(cases: dict[str, Case], folder: Path) -> Iterator[tuple[str, list[Learned]]]:
    """What each case did in every seed, in their order."""
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # read when a process loads torch
    with ProcessPoolExecutor(TOGETHER, get_context("spawn")) as pool:
        doing: dict[str, list[Future[Learned]]] = {
            name: [pool.submit(learned, name, seed, folder / f"{name}-{seed}") for seed in SEEDS] for name in cases
        }
        for name, parts in doing.items():
            yield name, [part.result() for part in parts]


def learned(name: str, seed: int, folder: Path) -> Learned:
    """One training, in a process of its own."""
    import torch

    torch.set_num_threads(1)
    case = CASES[name]
    return learn(spec_for(case, seed), case.measure, folder)


def row(name: str, case: Case, found: list[Learned]) -> dict[str, Any]:
    return {
        "method": name,
        "measure": case.measure,
        "before": f"{statistics.mean(one.before for one in found):.3f}",
        f"after, seeds {', '.join(map(str, SEEDS))}": ", ".join(f"{one.after:.3f}" for one in found),
        "promised change": f"{case.margin:+.3g}",
        "3 × spread": f"{3 * spread(found):.3f}",
        "weights changed": "yes" if all(one.changed for one in found) else "NO",
        "reloads the same": "yes" if all(one.same for one in found) else "NO",
        "promise": "kept" if kept(case, found) else "NOT kept",
    }
