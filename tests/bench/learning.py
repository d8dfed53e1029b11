"""Learning: every method on the practice model with three seeds improves its held-out metric, and the saved result gives the same outputs."""

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
from tests.learning_cases import CASES, Case, resolve_source
from tests.support import NO_EVALUATIONS_OR_SAVES, generate_greedy

SEEDS = (17, 18, 19)  # not the seeds with which the settings were chosen
WORKER_COUNT = 2  # processes with one thread each, so that the numbers do not depend on this count
PROMPTS = [
    "Hello! What colour is the sky?",
    "What is 12 + 31?",
    "The fox",
]  # the reloaded result must give the same outputs for these


@dataclass(frozen=True)
class LearningOutcome:
    """One training. before, after: its held-out metric. reload_matches: the reloaded result gives the outputs of the trained model."""

    before: float
    after: float
    weights_changed: bool
    reload_matches: bool

    @property
    def gain(self) -> float:
        return self.after - self.before


def spec_for(case: Case, seed: int, short: bool = False) -> Spec:
    spec_fields = copy.deepcopy(case.spec) | {"seed": seed}
    spec_fields["knobs"] = NO_EVALUATIONS_OR_SAVES | spec_fields.get("knobs", {}) | (case.ci_knobs if short else {})
    if short and case.ci_holdout_rows:
        spec_fields["holdout"] = {
            "source": spec_fields["data"][0] | {"split": "holdout", "limit": case.ci_holdout_rows}
        }
    spec_fields["data"] = [source | {"source": resolve_source(source["source"])} for source in spec_fields["data"]]
    if kin_name := kin_teacher_name(case):
        spec_fields["knobs"]["teacher"] = str(make_kin.ready(kin_name))
    return preflight.check_spec(parse_spec(spec_fields))


def kin_teacher_name(case: Case) -> str:
    """The name in presets/make_kin.py of the case's teacher, "" where its teacher is not from there."""
    name = str(case.spec.get("knobs", {}).get("teacher", ""))
    return name.removeprefix("kin:") if name.startswith("kin:") else ""


def train_and_measure(spec: Spec, measure: str, folder: Path) -> LearningOutcome:
    """Trains in this process and measures with the engine's own evaluation before and after."""
    from app.engine.__main__ import save_model
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries
    from app.engine.model.device import Device

    prepare_libraries()
    job = Job(spec, folder, Device("cpu"))
    trainer = job.method.build(job)
    before, weights_before = measure_holdout(job, trainer, measure), snapshot_weights(trainer.model)
    trainer.train()
    after, weights_changed = measure_holdout(job, trainer, measure), weights_differ(weights_before)
    save_model(trainer, folder / "result")
    return LearningOutcome(
        before, after, weights_changed, reloaded_model_matches(job, trainer.model, folder / "result")
    )


def measure_holdout(job: Any, trainer: Any, metric_name: str) -> float:
    """Runs only the part of the engine's evaluation that computes this metric: all of it would take twice as long."""
    from app.engine.evaluation import evaluate
    from app.engine.generation.generate import preserve_rng_eval

    with preserve_rng_eval(trainer.model):
        if metric_name == "loss":
            return evaluate.held_out_losses(job, trainer)[metric_name]
        if metric_name in job.method.eval_metrics:
            return evaluate.method_metrics(job, trainer)[metric_name]
        return evaluate.evaluate(job, trainer, job.data.holdout[: job.knobs.eval_answers])[0][metric_name]


def snapshot_weights(model: Any) -> list[tuple[Any, Any]]:
    return [(weight, weight.detach().clone()) for weight in model.parameters() if weight.requires_grad]


def weights_differ(snapshot: list[tuple[Any, Any]]) -> bool:
    return any(not weight.detach().equal(before) for weight, before in snapshot)


def reloaded_model_matches(job: Any, model: Any, result_folder: Path) -> bool:
    """Compares the logits of PROMPTS, and for a generative model also the greedy completions."""
    import torch

    from app.engine.generation.loaded_result import Arithmetic, load_as_trained

    arithmetic = Arithmetic(job.dtype, job.device.half_dtype(job.knobs.precision))
    reloaded, tokenizer = load_as_trained(result_folder, arithmetic)
    model.eval()
    for prompt in PROMPTS:
        input_ids = tokenizer(prompt, return_tensors="pt").input_ids
        with torch.no_grad():
            if not torch.allclose(
                model(input_ids=input_ids).logits.float(), reloaded(input_ids=input_ids).logits.float(), atol=1e-3
            ):
                return False
    return not job.is_generative or generate_greedy(model, tokenizer, PROMPTS, 24) == generate_greedy(
        reloaded, tokenizer, PROMPTS, 24
    )


def promise_holds(case: Case, outcomes: list[LearningOutcome]) -> bool:
    """True when the gain reaches the margin in every seed and the margin exceeds three times the spread."""
    sign = 1 if case.margin > 0 else -1
    moved_enough = all(sign * outcome.gain >= abs(case.margin) for outcome in outcomes)
    return (
        moved_enough
        and abs(case.margin) > 3 * gain_spread(outcomes)
        and all(outcome.weights_changed and outcome.reload_matches for outcome in outcomes)
    )


def gain_spread(outcomes: list[LearningOutcome]) -> float:
    """Standard deviation of the gain over the seeds."""
    return statistics.stdev(outcome.gain for outcome in outcomes)


def run(folder: Path, names: list[str] | None = None) -> list[dict[str, Any]]:
    """One table row per case, printed as soon as it is known. names: run only these cases."""
    selected_cases = {name: CASES[name] for name in names or CASES}
    for case in selected_cases.values():
        if kin_name := kin_teacher_name(case):
            make_kin.ready(kin_name)  # before the worker processes start, because each would build it
    table = []
    for name, outcomes in train_in_parallel(selected_cases, folder):
        table.append(table_row(name, CASES[name], outcomes))
        print(table[-1], flush=True)
    return table


def train_in_parallel(cases: dict[str, Case], folder: Path) -> Iterator[tuple[str, list[LearningOutcome]]]:
    """Yields (case name, outcomes of all seeds) in the order of the cases."""
    os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # torch reads these when it is imported
    with ProcessPoolExecutor(WORKER_COUNT, get_context("spawn")) as pool:
        futures_by_case: dict[str, list[Future[LearningOutcome]]] = {
            name: [pool.submit(train_case, case, seed, folder / f"{name}-{seed}") for seed in SEEDS]
            for name, case in cases.items()
        }
        for name, futures in futures_by_case.items():
            yield name, [future.result() for future in futures]


def train_case(case: Case, seed: int, folder: Path) -> LearningOutcome:
    """Trains one case with one seed, in a worker process."""
    import torch

    torch.set_num_threads(1)
    return train_and_measure(spec_for(case, seed), case.measure, folder)


def table_row(name: str, case: Case, outcomes: list[LearningOutcome]) -> dict[str, Any]:
    return {
        "method": name,
        "measure": case.measure,
        "before": f"{statistics.mean(outcome.before for outcome in outcomes):.3f}",
        f"after, seeds {', '.join(map(str, SEEDS))}": ", ".join(f"{outcome.after:.3f}" for outcome in outcomes),
        "promised change": f"{case.margin:+.3g}",
        "3 × spread": f"{3 * gain_spread(outcomes):.3f}",
        "weights changed": "yes" if all(outcome.weights_changed for outcome in outcomes) else "NO",
        "reloads the same": "yes" if all(outcome.reload_matches for outcome in outcomes) else "NO",
        "promise": "kept" if promise_holds(case, outcomes) else "NOT kept",
    }
