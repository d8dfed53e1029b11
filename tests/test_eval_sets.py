"""Evaluation sets: named rows that every evaluation measures beside the held-out ones, and that are never trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from app.core.problems import Problem
from app.engine.audit.runner import run_audit
from app.engine.datasets.eval_tables import evaluated_on
from app.engine.evaluation.evaluate import evaluate
from app.engine.generation.generate import preserve_rng_eval
from app.engine.job import Job
from app.engine.libraries import prepare_libraries
from app.engine.model.device import Device
from app.planning import preflight
from app.runs import events, result
from app.runs.events import EvalEvent, of_type
from app.runs.store import Run
from app.setup.set_value import set_values
from app.setup.spec import Spec, parse_spec
from tests.bench import learning
from tests.learning_cases import CASES
from tests.support import build_spec, drain_generator, train, write_rows

SETS = ("holdout", "easy", "hard")
FEW_ROWS = 6  # of each set


def events_by_set(run: Run) -> dict[str, list[EvalEvent]]:
    evaluations = of_type(events.drop_rewound(events.read_events(run.events)), EvalEvent)
    return {
        name: [event for event in evaluations if event.set == name]
        for name in dict.fromkeys(e.set for e in evaluations)
    }


# -- measures -------------------------------------------------------------------------------------------------------


def spec_with_slices(case_name: str) -> Spec:
    """The case's own held-out rows cut in three: those held out, and the sets easy and hard."""
    case = CASES[case_name]
    spec = learning.spec_for(case, seed=7, short=True)
    rows = spec.data[0].model_dump() | {"split": "holdout", "limit": FEW_ROWS}
    slices = [rows | {"start": index * FEW_ROWS} for index in range(3)]
    fields = {"holdout": {"source": slices[0]}, "knobs": spec.knobs | {"eval_answers": 4}}
    if spec.rewards:  # a score that is hardly ever the same for two sets
        fields["rewards"] = [{"name": "similar", "as": "alike", "params": {"by": "letters"}}]
    sets = [{"name": name, **rows} for name, rows in zip(SETS[1:], slices[1:], strict=True)]
    return preflight.check_spec(parse_spec(spec.to_dict() | fields | {"eval_sets": sets}))


def measures_of(spec: Spec, folder: Path) -> dict[str, dict[str, Any]]:
    """{set: its measures} of a model with a little noise on its trained weights, so that it differs from where it began."""
    prepare_libraries()
    job = Job(spec, folder, Device("cpu"))
    trainer = job.method.build(job)
    torch.manual_seed(0)
    for weights in trainer.model.parameters():
        if weights.requires_grad:
            weights.data += 0.02 * torch.randn_like(weights)
    measures = {}
    with preserve_rng_eval(trainer.model):
        for name in job.data.evaluated_sets:
            with evaluated_on(job, trainer, name) as job_on_set:
                measures[name], _ = evaluate(job_on_set, trainer, job_on_set.data.holdout[: job.knobs.eval_answers])
    return measures


@pytest.mark.slow
@pytest.mark.first_cases(2)
@pytest.mark.parametrize("case_name", [name for name, case in CASES.items() if case.ci_knobs])
def test_each_method_measures_a_set_as_if_it_were_held_out_alone(case_name: str, tmp_path: Path) -> None:
    spec = spec_with_slices(case_name)
    together = measures_of(spec, tmp_path / "together")
    assert [*together] == [*SETS]
    assert together["easy"]
    assert {*together["easy"]} == {*together["holdout"]}
    assert together["easy"] != together["holdout"] != together["hard"], "their rows differ"
    for eval_set in spec.eval_sets:
        rows = eval_set.model_dump(exclude={"name"})
        alone = parse_spec(spec.to_dict() | {"holdout": {"source": rows}, "eval_sets": []})
        measures = measures_of(alone, tmp_path / eval_set.name)
        assert together[eval_set.name] == pytest.approx(measures["holdout"], rel=1e-4, abs=1e-6)


# -- runs -----------------------------------------------------------------------------------------------------------

KNOBS = {"steps": 24, "batch_size": 4, "learning_rate": 0.005, "schedule": "constant", "evaluations": 2, "saves": 2,
         "eval_answers": 8, "eval_length": 16}  # fmt: skip
COLOURS = ("red", "blue", "green", "white", "black", "brown", "grey", "pink")


def door_rows(shift: int = 0) -> list[dict[str, Any]]:
    """Eight questions, each with the answer to the one `shift` places on."""
    return [
        {"prompt": f"Which colour has door {i}?", "completion": f"It is {COLOURS[(i + shift) % 8]}."} for i in range(8)
    ]


def doors_spec(folder: Path, holdout: int | None, knobs: dict[str, Any] | None = None, **sets: int) -> Spec:
    """It learns the colours of the doors. holdout, sets: the shift of the answers that are evaluated."""

    def source(name: str, shift: int) -> dict[str, Any]:
        return {"source": write_rows(folder / f"{name}.jsonl", door_rows(shift))}

    return build_spec(
        "sft",
        source("rows", 0)["source"],
        KNOBS | (knobs or {}),
        holdout={} if holdout is None else {"source": source("aside", holdout)},
        eval_sets=[{"name": name, **source(name, shift)} for name, shift in sets.items()],
        rewards=[{"name": "exact_match", "as": "right"}],
    )


@pytest.mark.slow
def test_a_run_measures_each_set_at_every_evaluation(tmp_path: Path) -> None:
    run = train(doors_spec(tmp_path, 3, {"steps": 90, "batch_size": 8}, learned=0, shifted=2))
    evaluations = events_by_set(run)
    assert [*evaluations] == ["holdout", "learned", "shifted"]
    assert all([event.step for event in of_set] == [0, 30, 60, 90] for of_set in evaluations.values())
    assert {*evaluations["holdout"][-1].metrics} >= {"eval/right", "eval/loss", "probe/held_out_rows"}
    assert {*evaluations["learned"][-1].metrics} == {"eval/learned/right", "eval/learned/loss"}
    assert evaluations["learned"][-1].metrics["eval/learned/right"] == 1.0, "it learned these answers"
    assert evaluations["shifted"][-1].metrics["eval/shifted/right"] == 0.0, "these are never the answers it learned"
    losses = [evaluations[name][-1].metrics[f"eval/{name}/loss"] for name in ("learned", "shifted")]
    assert losses[0] < 0.2 < 1 < losses[1]
    facts = run.facts["data"]
    assert (facts["rows"], facts["held_out"], facts["eval_sets"]) == (8, 8, {"learned": 8, "shifted": 8})
    assert {Path(name).name for name in facts["files"]} == {
        "rows.jsonl",
        "aside.jsonl",
        "learned.jsonl",
        "shifted.jsonl",
    }
    assert result.read_result(run)["metric"] == "right", "the held-out rows decide"


@pytest.mark.slow
def test_where_nothing_is_held_out_the_first_set_decides(tmp_path: Path) -> None:
    knobs = {"best_metric": "loss", "evaluations": 5}
    by_holdout = train(doors_spec(tmp_path / "holdout", 3, knobs))
    by_set = train(doors_spec(tmp_path / "set", None, knobs, shifted=3, learned=0))
    assert result.read_result(by_set) == result.read_result(by_holdout)
    assert result.read_result(by_set)["step"] < KNOBS["steps"], "the loss on shifted answers rises again"
    assert [event.metrics["eval/shifted/loss"] for event in events_by_set(by_set)["shifted"]] == [
        event.metrics["eval/loss"] for event in events_by_set(by_holdout)["holdout"]
    ]


# -- before the start -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sets", "text"),
    [
        ([{"name": "a b"}], "is 'a b', but the name of an evaluation set is 1 to 40 letters"),
        ([{"name": "a/b"}], "is 'a/b', but the name of an evaluation set is 1 to 40 letters"),
        ([{"name": "ä"}], "is 'ä', but the name of an evaluation set is 1 to 40 letters"),
        ([{"name": "holdout"}], "is 'holdout', but that is what the held-out examples are called"),
        ([{"name": "same"}, {"name": "Same"}], "two of its evaluation sets are called “same”."),
        ([{"name": "many"}] * 9, "but it may have at most 8"),
        ([{"name": "heavy", "weight": 2}], "an evaluation set is not trained on, so it has no weight"),
        ([{"name": "gone", "file": "gone"}], "The evaluation set “gone” cannot be used. The examples"),
        ([{"name": "void", "file": "void"}], "The evaluation set “void” cannot be used. There is nothing in the examples"),
        ([{"name": "odd", "file": "odd"}], "The evaluation set “odd” cannot be used. The examples have the columns `a`, `b`"),
        ([{"name": "text", "file": "text"}], "It holds a column `text`, and the examples to learn from hold `prompt` and"),
        ([{"name": "own", "file": "rows"}], "“own” cannot be used. Its rows would be learned and tested on alike."),
    ],
)  # fmt: skip
def test_a_set_that_cannot_be_used_is_refused_before_the_start(
    sets: list[dict[str, Any]], text: str, tmp_path: Path
) -> None:
    files = {
        "rows": door_rows(),
        "void": [],
        "odd": [{"a": 1, "b": 2}],
        "text": [{"text": "Once."}],
        "set": door_rows(1),
    }
    sources = {name: write_rows(tmp_path / f"{name}.jsonl", rows) for name, rows in files.items()}
    sources["gone"] = f"path:{tmp_path / 'gone.jsonl'}"
    eval_sets = [{"source": sources[fields.pop("file", "set")], **fields} for fields in map(dict, sets)]
    with pytest.raises(Problem) as refusal:
        build_spec("sft", sources["rows"], eval_sets=eval_sets)
    assert text in refusal.value.text


def test_training_rows_in_a_set_are_reported_and_can_be_left_out(tmp_path: Path) -> None:
    rows, aside = door_rows(), door_rows(2)
    sources = [
        write_rows(tmp_path / f"{name}.jsonl", file_rows)
        for name, file_rows in (("rows", rows), ("aside", [rows[0], *aside]), ("hard", [rows[1], rows[2], *aside]))
    ]
    spec = build_spec(
        "sft",
        sources[0],
        holdout={"source": {"source": sources[1]}},
        eval_sets=[{"name": "hard", "source": sources[2]}],
    )
    _, report = drain_generator(run_audit(spec))
    (finding,) = [finding for finding in report["findings"] if finding["id"] == "held_out"]
    assert finding["text"].startswith("3 examples are also kept aside to test on or in the evaluation set “hard”:")
    assert (finding["rows"], report["eval_sets"]) == ([1, 2, 3], {"hard": 10})
    changed = parse_spec(set_values(spec.to_dict(), finding["remedy"]["changes"]))
    assert (
        Job(changed, tmp_path, Device("cpu")).data.train["prompt"][:]
        == Job(spec, tmp_path, Device("cpu")).data.train["prompt"][3:]
    )
