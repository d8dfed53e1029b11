"""Dry run: completions of the untrained model with the rewards that training would give them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app import contracts
from app.setup.spec import Spec

if TYPE_CHECKING:
    from app.engine.cooperative import CountPart
    from app.engine.preview.dry_run import DryRun


@dataclass(frozen=True)
class Question(contracts.Question["DryRun", "CountPart"]):
    """prompts: how many of the setup's. attempts: completions of each."""

    title = "Dry run"
    timeout = 600.0
    schedule = "on_device"

    spec: Spec
    prompts: int = 8
    attempts: int = 4

    def early_answer(self) -> None:
        from app.engine.preview.dry_run import check_dry_run

        check_dry_run(self.spec)

    def answer(self) -> Generator[CountPart, None, DryRun]:
        from app.engine.preview.dry_run import dry_run

        return dry_run(self.spec, self.prompts, self.attempts)
