"""Learning: a case of every method in short form, one seed: its own held-out measure moves, and the result reloads and says the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core import registry
from tests.bench import learning
from tests.bench.learning import Learned, kept
from tests.learning_cases import CASES, Case

SHORT = [name for name, case in CASES.items() if case.short]  # the others are run by the bench alone


def test_every_method_promises_something() -> None:
    assert {CASES[name].spec["method"] for name in SHORT} == {*registry.names("methods")}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_a_method_learns(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    found = learning.learn(learning.spec_for(case, seed=7, short=True), case.measure, tmp_path)
    sign = 1 if case.short_margin > 0 else -1
    assert sign * found.gain >= abs(case.short_margin) > 0
    assert found.changed
    assert found.same


def test_a_promise_is_kept_only_when_every_part_of_it_holds() -> None:
    case = Case({}, "correct", 0.3)
    good = [Learned(0.1, after, changed=True, same=True) for after in (0.50, 0.52, 0.54)]
    assert kept(case, good)
    assert not kept(case, [Learned(0.1, 0.39, changed=True, same=True), *good[1:]]), "one seed moves too little"
    assert not kept(case, [Learned(0.1, 0.9, changed=True, same=True), *good[1:]]), "the seeds lie too far apart"
    assert not kept(case, [Learned(0.1, 0.5, changed=False, same=True), *good[1:]])
    assert not kept(case, [Learned(0.1, 0.5, changed=True, same=False), *good[1:]])
    assert kept(Case({}, "loss", -0.3), [Learned(1.0, after, changed=True, same=True) for after in (0.5, 0.52, 0.54)])
