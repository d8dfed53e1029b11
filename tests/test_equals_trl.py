"""Equality with TRL: our losses equal those of a plain TRL script with the same settings to six digits."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core import registry
from tests import trl_comparison
from tests.trl_cases import CASES
from tests.trl_comparison import (
    STEPS,
    LoggedMetrics,
    largest_relative_difference,
    train_with_engine,
    train_without_engine,
)

METHODS_NOT_IN_TRL = {"ppo", "process_reward"}  # TRL has no trainer for these methods any more
SHORT_CASES = {name: case for name, case in CASES.items() if case.runs_in_ci}


def test_every_method_that_trl_has_is_compared_with_a_plain_script() -> None:
    assert {case.method for case in CASES.values()} == {*registry.names("methods")} - METHODS_NOT_IN_TRL


@pytest.fixture(scope="module")
def plain_script_metrics(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, LoggedMetrics]:
    """The metrics of the plain TRL scripts by case: of those that are asked for, all in one process."""
    asked_for = {item.callspec.params.get("name") for item in request.session.items if hasattr(item, "callspec")}
    cases = {name: case for name, case in SHORT_CASES.items() if name in asked_for}
    return trl_comparison.train_with_plain_trl(cases, tmp_path_factory.mktemp("plain"))


@pytest.mark.slow
@pytest.mark.timeout(900)  # the first test waits for all plain scripts
@pytest.mark.first_cases(5)
@pytest.mark.parametrize("name", SHORT_CASES)
def test_losses_rewards_and_margins_equal_those_of_a_plain_script(
    name: str, plain_script_metrics: dict[str, LoggedMetrics], tmp_path: Path
) -> None:
    tunesmith_metrics, trl_metrics = train_without_engine(SHORT_CASES[name], tmp_path), plain_script_metrics[name]
    assert len(trl_metrics.losses) == STEPS
    assert len({round(loss, 6) for loss in trl_metrics.losses}) > 1, "a constant loss would not show a difference"
    assert largest_relative_difference(tunesmith_metrics.losses, trl_metrics.losses) < 1e-6
    assert largest_relative_difference(tunesmith_metrics.rewards, trl_metrics.rewards) < 1e-6
    assert largest_relative_difference(tunesmith_metrics.margins, trl_metrics.margins) < 1e-6
    if SHORT_CASES[name].spec.get("rewards"):
        assert any(0 < reward < 1 for reward in trl_metrics.rewards), "constant rewards would not show a difference"


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.parametrize("name", ["sft on conversations", "grpo"])
def test_losses_in_an_engine_process_equal_those_of_a_plain_script(
    name: str, plain_script_metrics: dict[str, LoggedMetrics], tmp_path: Path
) -> None:
    assert (
        largest_relative_difference(
            train_with_engine(SHORT_CASES[name], tmp_path).losses, plain_script_metrics[name].losses
        )
        < 1e-6
    )
