"""Plan: rows, tokens, lengths and steps of a run as the trainer counts them, and about how long it takes."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app import contracts
from app.setup.spec import Spec

if TYPE_CHECKING:
    from app.engine.cooperative import ProgressPart
    from app.engine.preview.run_estimate import RunEstimate


@dataclass(frozen=True)
class Question(contracts.Question["RunEstimate", "ProgressPart"]):
    """spec: of the run."""

    title = "Plan"
    timeout = 900.0
    schedule = "cooperative"

    spec: Spec

    def answer(self) -> Generator[ProgressPart, None, RunEstimate]:
        from app.engine.preview.run_estimate import estimate_run

        return estimate_run(self.spec)
