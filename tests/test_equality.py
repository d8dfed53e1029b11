"""Preview equals training: what is shown is what the loss receives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import equality


@pytest.mark.slow
@pytest.mark.parametrize("case", equality.CASES)
def test_the_previewed_batches_are_those_the_loss_receives(case: str, tmp_path: Path) -> None:
    spec = equality.spec_for(case, tmp_path)
    shown, real = equality.previewed(spec), equality.received(spec)
    assert equality.differences(shown, real) == []


@pytest.mark.slow
def test_the_comparison_sees_a_single_changed_token(tmp_path: Path) -> None:
    spec = equality.spec_for("sft, assistant only", tmp_path)
    shown, other = equality.previewed(spec), equality.previewed(spec)
    other[1]["labels"][0, -1] += 1
    assert equality.differences(shown, other) == ["batch 2: labels"]
