"""Evaluation: held-out metrics of a run's result beside those of the model it started from."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app import contracts

if TYPE_CHECKING:
    from app.engine.cooperative import CountPart
    from app.engine.evaluation.baseline_eval import Comparison


@dataclass(frozen=True)
class Question(contracts.Question["Comparison", "CountPart"]):
    """run: id of the run."""

    title = "Test"
    timeout = 600.0
    schedule = "on_device"

    run: str

    def early_answer(self) -> Comparison | None:
        from app.engine.evaluation.baseline_eval import recorded_scores

        return recorded_scores(self.run)

    def answer(self) -> Generator[CountPart, None, Comparison]:
        from app.engine.evaluation.baseline_eval import score_base_and_result

        return score_base_and_result(self.run)
