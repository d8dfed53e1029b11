"""Learning: every method on the practice model, three seeds: its own held-out measure moves, and the result reloads and says the same."""

from __future__ import annotations

import copy
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app import preflight
from app.spec import Spec, read
from presets import make_kin
from tests.support import QUIET

SEEDS = (7, 8, 9)
QUESTIONS = [
    "Hello! What colour is the sky?",
    "What is 12 + 31?",
    "The fox",
]  # a result must answer or score these as before


@dataclass(frozen=True)
class Case:
    """One method's promise, stated before it is measured.

    spec: a setup on the practice model. measure: of its held-out test. margin: the least change in every seed, negative
    where it must fall; it must also be larger than three times the spread over seeds. short, short_margin: what CI
    changes of the settings, and its margin with one seed.
    """

    spec: dict[str, Any]
    measure: str
    margin: float
    short: dict[str, Any] = field(default_factory=dict)
    short_margin: float = 0.0


def imitating(knobs: dict[str, Any] | None = None, margin: float = -3.0, **other: Any) -> Case:
    """Support tickets, by one of the ways to train; the held-out loss falls."""
    settings = {"steps": 120, "batch_size": 16, "learning_rate": 0.004, "max_length": 256} | (knobs or {})
    spec = {"method": "sft", "data": [{"source": "sample:tickets"}], "holdout": {"split": "holdout"}, "knobs": settings}
    return Case(spec | other, "loss", margin, {"steps": 8}, -1.0)


def reading(knobs: dict[str, Any], **other: Any) -> Case:
    """Pages of a diary; the held-out loss falls."""
    spec = {"method": "pretrain", "data": [{"source": "sample:diary"}], "holdout": {"split": "holdout"},
            "knobs": {"steps": 60, "max_length": 128} | knobs}  # fmt: skip
    return Case(spec | other, "loss", -3.0, {"steps": 8}, -1.0)


WHOLE = {"adapter": {"kind": "none"}}
CASES: dict[str, Case] = {
    "sft": imitating(),
    "sft by dft": imitating({"loss": "dft"}),
    "sft, all weights": imitating({"learning_rate": 0.0005}, **WHOLE),
    "sft, dora": imitating(adapter={"kind": "dora"}),
    "sft, rslora": imitating({"learning_rate": 0.002}, adapter={"kind": "rslora"}),
    "sft, nf4": imitating(model={"quantization": "nf4"}),
    "sft, new words": imitating(model={"new_tokens": ['{"team":']}, margin=-4.0),
    "pretrain": reading({"learning_rate": 0.002}),
    "pretrain from nothing": reading({"learning_rate": 0.003, "from_scratch": True}, **WHOLE),
}


def copying(
    method: str, data: dict[str, Any], measure: str, margin: float, short_margin: float, knobs: dict[str, Any]
) -> Case:
    """A method that copies a teacher, or itself with a hint; a teacher “kin:NAME” is one of presets/make_kin.py."""
    setup = {"method": method, "data": [data], "holdout": {"split": "holdout"}, "knobs": COPYING | knobs,
             "rewards": [{"name": "exact_match", "as": "correct"}]}  # fmt: skip
    return Case(
        setup, measure, margin, {"steps": 8, "batch_size": 16, "learning_rate": 0.004, "eval_answers": 40}, short_margin
    )


COPYING = {"steps": 40, "batch_size": 32, "max_completion_length": 8, "learning_rate": 0.002, "eval_answers": 200}
ANSWERED = {"source": "sample:sums", "mapping": {"completion": "answer"}}
TICKETS = {"teacher": "kin:stranger", "batch_size": 16, "learning_rate": 0.004, "max_completion_length": 40, "eval_answers": 60,
           "examples_weight": 0.0}  # fmt: skip
CASES |= {
    "distill": copying("distill", {"source": "sample:sums"}, "correct", 0.3, 0.12, {}),
    "gkd": copying("gkd", ANSWERED, "agreement", 0.1, 0.04, {}),
    "gold": copying("gold", {"source": "sample:tickets"}, "agreement", 0.2, 0.12, TICKETS),
    "sdft": copying("sdft", {"source": "sample:hints"}, "correct", 0.4, 0.15, {"max_completion_length": 12}),
}

CASES |= {
    "reward": Case({"method": "reward", "data": [{"source": "sample:manners"}], "holdout": {"split": "holdout"},
                    "knobs": {"steps": 40, "batch_size": 16}}, "sure", 0.4, {"steps": 6}, 0.1),
    "process_reward": Case({"method": "process_reward", "data": [{"source": "sample:steps"}], "holdout": {"split": "holdout"},
                            "knobs": {"steps": 250, "batch_size": 16, "learning_rate": 0.002, "schedule": "cosine", "warmup": 0.04}},
                           "sure", 0.2, {"steps": 140, "batch_size": 8, "warmup": 0.1}, 0.05),
    "ppo": Case({"method": "ppo", "data": [{"source": "sample:sums"}], "holdout": {"split": "holdout"},
                 "rewards": [{"name": "exact_match", "as": "correct"}],
                 "knobs": {"steps": 25, "batch_size": 128, "minibatches": 4, "passes": 2, "max_completion_length": 8, "learning_rate": 0.001,
                           "kl": 0.02, "schedule": "constant", "eval_answers": 200}},
                "correct", 0.3, {"steps": 3, "batch_size": 32, "passes": 4}, 0.08),
}  # fmt: skip


def earning(method: str, knobs: dict[str, Any], short: dict[str, Any], short_margin: float) -> Case:
    """Small sums, where only the exact answer counts; it is given to more of the held-out ones."""
    settings = {
        "batch_size": 64,
        "max_completion_length": 8,
        "learning_rate": 0.001,
        "schedule": "constant",
        "eval_answers": 200,
    }
    setup = {"method": method, "data": [{"source": "sample:sums"}], "holdout": {"split": "holdout"}, "knobs": settings | knobs,
             "rewards": [{"name": "exact_match", "as": "correct"}]}  # fmt: skip
    return Case(setup, "correct", 0.25, {"eval_answers": 64} | short, short_margin)


CASES |= {
    "grpo": earning("grpo", {"steps": 60, "batch_size": 128, "loss": "dr_grpo"}, {"steps": 10, "batch_size": 64}, 0.08),
    "grpo, gspo with replay and second tries": earning("grpo", {"steps": 60, "recipe": "gspo", "clip": 0.2, "clip_high": 0.28, "replay": 32,
        "reroll_after": 0.3, "reroll_groups": 2}, {"steps": 10}, 0.08),
    "rloo": earning("rloo", {"steps": 40, "kl": 0.02}, {"steps": 8}, 0.08),
    "online_dpo": earning("online_dpo", {"steps": 40, "learning_rate": 0.002, "beta": 0.05, "schedule": "linear"},
        {"steps": 8, "learning_rate": 0.003}, 0.1),
}  # fmt: skip


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
    if (teacher := str(data["knobs"].get("teacher"))).startswith("kin:"):
        data["knobs"]["teacher"] = str(make_kin.ready(teacher.removeprefix("kin:")))
    return preflight.check(read(data))


def learn(spec: Spec, measure: str, folder: Path) -> Learned:
    """Trains in this process, tested by the engine's own tests before and after."""
    from app.engine.__main__ import save
    from app.engine.device import Device
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries

    prepare_libraries()
    job = Job(spec, folder, Device("cpu"))
    trainer = job.method.build(job)
    before, kept = tested(job, trainer)[measure], weights_of(trainer.model)
    trainer.train()
    after, changed = tested(job, trainer)[measure], weights_differ(kept)
    save(trainer, folder / "result")
    return Learned(before, after, changed, says_the_same(job, trainer.model, folder / "result"))


def tested(job: Any, trainer: Any) -> dict[str, float]:
    from app.engine.answers import aside
    from app.engine.measure import measure

    with aside(trainer.model):
        return measure(job, trainer, job.data.holdout[: job.knobs.eval_answers])[0]


def weights_of(model: Any) -> list[tuple[Any, Any]]:
    return [(weight, weight.detach().clone()) for weight in model.parameters() if weight.requires_grad]


def weights_differ(kept: list[tuple[Any, Any]]) -> bool:
    return any(not weight.detach().equal(before) for weight, before in kept)


def says_the_same(job: Any, model: Any, result: Path) -> bool:
    """The numbers for some texts, and of a model that writes also its answers."""
    import torch

    from app.engine.answers import answer
    from app.engine.model import load_tuned

    loaded, tokenizer = load_tuned(result)
    model.eval()
    for text in QUESTIONS:
        ids = tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            if not torch.allclose(model(input_ids=ids).logits, loaded(input_ids=ids).logits, atol=1e-3):
                return False
    return not job.writes or answer(model, tokenizer, QUESTIONS, 24) == answer(loaded, tokenizer, QUESTIONS, 24)


def kept(case: Case, found: list[Learned]) -> bool:
    """Is the promise kept in every seed?"""
    sign = 1 if case.margin > 0 else -1
    moved = all(sign * one.gain >= abs(case.margin) for one in found)
    return moved and abs(case.margin) > 3 * spread(found) and all(one.changed and one.same for one in found)


def spread(found: list[Learned]) -> float:
    """Standard deviation of the change over seeds."""
    return statistics.stdev(one.gain for one in found)


def run(folder: Path) -> list[dict[str, Any]]:
    table = []
    for name, case in CASES.items():
        found = [learn(spec_for(case, seed), case.measure, folder / f"{name}-{seed}") for seed in SEEDS]
        table.append(row(name, case, found))
        print(table[-1], flush=True)
    return table


def row(name: str, case: Case, found: list[Learned]) -> dict[str, Any]:
    return {
        "method": name,
        "measure": case.measure,
        "before": f"{statistics.mean(one.before for one in found):.3f}",
        "after, seeds 7, 8, 9": ", ".join(f"{one.after:.3f}" for one in found),
        "promised change": f"{case.margin:+.3g}",
        "3 × spread": f"{3 * spread(found):.3f}",
        "weights changed": "yes" if all(one.changed for one in found) else "NO",
        "reloads the same": "yes" if all(one.same for one in found) else "NO",
        "promise": "kept" if kept(case, found) else "NOT kept",
    }
