"""Learning: a short case of every method with one seed improves its held-out metric, and the saved result gives the same outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core import registry
from tests.bench import learning
from tests.bench.learning import LearningOutcome, promise_holds
from tests.learning_cases import CASES, Case

SHORT_CASES = [
    name for name, case in CASES.items() if case.ci_knobs
]  # the other cases run only in tests/bench/learning.py


def test_every_method_has_a_short_learning_case() -> None:
    assert {CASES[name].spec["method"] for name in SHORT_CASES} == {*registry.names("methods")}


@pytest.mark.slow
@pytest.mark.first_cases(2)
@pytest.mark.parametrize("name", SHORT_CASES)
def test_a_method_improves_its_measure_and_reloads_identically(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    outcome = learning.train_and_measure(learning.spec_for(case, seed=7, short=True), case.measure, tmp_path)
    sign = 1 if case.ci_margin > 0 else -1
    assert sign * outcome.gain >= abs(case.ci_margin) > 0
    assert outcome.weights_changed
    assert outcome.reload_matches


def test_promise_holds_only_when_every_condition_holds() -> None:
    case = Case({}, "correct", 0.3)
    good_outcomes = [
        LearningOutcome(0.1, after, weights_changed=True, reload_matches=True) for after in (0.50, 0.52, 0.54)
    ]
    assert promise_holds(case, good_outcomes)
    assert not promise_holds(
        case, [LearningOutcome(0.1, 0.39, weights_changed=True, reload_matches=True), *good_outcomes[1:]]
    ), "the gain of one seed is below the margin"
    assert not promise_holds(
        case, [LearningOutcome(0.1, 0.9, weights_changed=True, reload_matches=True), *good_outcomes[1:]]
    ), "the margin is below three times the spread of the seeds"
    assert not promise_holds(
        case, [LearningOutcome(0.1, 0.5, weights_changed=False, reload_matches=True), *good_outcomes[1:]]
    )
    assert not promise_holds(
        case, [LearningOutcome(0.1, 0.5, weights_changed=True, reload_matches=False), *good_outcomes[1:]]
    )
    assert promise_holds(
        Case({}, "loss", -0.3),
        [LearningOutcome(1.0, after, weights_changed=True, reload_matches=True) for after in (0.5, 0.52, 0.54)],
    )
