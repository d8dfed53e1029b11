"""Preview equals training: what is shown is what the loss receives."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import equality


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in equality.CASES if case not in equality.SLOWER])
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


@pytest.mark.slow
@pytest.mark.parametrize("case", ["sft, assistant only", "sft, packed", "sft, completion only"])
def test_rows_shown_one_by_one_are_the_documents_in_the_batches(case: str, tmp_path: Path) -> None:
    from app.engine import tokens
    from app.engine.device import Device
    from app.engine.job import Job

    spec = equality.spec_for(case, tmp_path)

    def key(row: dict) -> tuple:
        return tuple((token["id"], token["trained"]) for token in row["tokens"])

    shown = {key(row) for row in tokens.rows(Job(spec, tmp_path, Device("cpu"), rows=equality.ROWS))}
    batches = tokens.batch_tokens(Job(spec, tmp_path, Device("cpu")), 2)
    documents = [part for batch in batches for row in batch["rows"] for part in row["documents"]]
    assert len(documents) >= 8
    assert all(key(part) in shown for part in documents)
