"""Completions: greedy completions of many prompts by a run's result and, if wanted, by its base model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Never

from app import contracts


@dataclass(frozen=True)
class Question(contracts.Question[dict[str, list[str]], Never]):
    """base: also by the base model. longest: most new tokens of a completion."""

    title = "Answers"
    timeout = 600.0
    schedule = "on_device"

    run: str
    prompts: tuple[str, ...]
    base: bool = False
    longest: int = 128

    def early_answer(self) -> None:
        from app.engine.generation.chat import require_generative_result

        require_generative_result(self.run)

    def answer(self) -> dict[str, list[str]]:
        from app.engine.generation.chat import complete_prompts

        return complete_prompts(self.run, [*self.prompts], self.base, self.longest)
