"""Score: what a run's reward model gives to answers to a prompt, or to each step of a solution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Never

from app import contracts


@dataclass(frozen=True)
class Question(contracts.Question[dict[str, list[float]], Never]):
    """answers: for a reward model. steps: of one solution, for a process reward model."""

    title = "Scores"
    timeout = 300.0
    schedule = "on_device"

    run: str
    prompt: str
    answers: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()

    def early_answer(self) -> None:
        from app.engine.evaluation.score_query import require_scoring_result

        require_scoring_result(self.run, self.prompt, self.answers, self.steps)

    def answer(self) -> dict[str, list[float]]:
        from app.engine.evaluation.score_query import score_query

        return score_query(self.run, self.prompt, self.answers, self.steps)
