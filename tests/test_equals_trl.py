"""We equal TRL: our losses are those of a plain TRL script with the same settings, to six digits."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core import registry
from tests import trl_comparison
from tests.trl_cases import CASES
from tests.trl_comparison import STEPS, Told, by_engine, difference, here

OURS = {"ppo", "process_reward"}  # TRL has no trainer for these any more
SHORT = {name: case for name, case in CASES.items() if case.short}


def test_every_method_of_trl_stands_beside_its_own_script() -> None:
    assert {case.method for case in CASES.values()} == {*registry.names("methods")} - OURS


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Told]:
    """What the plain scripts say, all run in one process."""
    return trl_comparison.by_plain_scripts(SHORT, tmp_path_factory.mktemp("plain"))


@pytest.mark.slow
@pytest.mark.timeout(900)  # the first one waits for all plain scripts
@pytest.mark.parametrize("name", SHORT)
def test_our_losses_are_those_of_a_plain_script(name: str, plain: dict[str, Told], tmp_path: Path) -> None:
    ours, theirs = here(SHORT[name], tmp_path), plain[name]
    assert len(theirs.losses) == STEPS
    assert len({round(loss, 6) for loss in theirs.losses}) > 1, "a loss that stays the same compares nothing"
    assert difference(ours.losses, theirs.losses) < 1e-6
    assert difference(ours.rewards, theirs.rewards) < 1e-6
    assert difference(ours.margins, theirs.margins) < 1e-6
    if SHORT[name].spec.get("rewards"):
        assert any(0 < reward < 1 for reward in theirs.rewards), "without reward there is nothing to compare"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sft on conversations", "grpo"])
def test_a_whole_engine_changes_nothing_of_it(name: str, plain: dict[str, Told], tmp_path: Path) -> None:
    assert difference(by_engine(SHORT[name], tmp_path).losses, plain[name].losses) < 1e-6
