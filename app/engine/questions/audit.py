"""Audit: every check over all rows of a setup; an audit of the same rows with the same settings is answered at once."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app import contracts
from app.setup.spec import Spec

if TYPE_CHECKING:
    from app.engine.audit.report import AuditReport
    from app.engine.cooperative import ProgressPart


@dataclass(frozen=True)
class Question(contracts.Question["AuditReport", "ProgressPart"]):
    """spec: the setup. The report: app/engine/audit/report.py."""

    title = "Audit"
    timeout = 900.0
    schedule = "cooperative"

    spec: Spec

    def early_answer(self) -> AuditReport | None:
        from app.engine.audit.runner import find_cached_audit

        return find_cached_audit(self.spec)

    def answer(self) -> Generator[ProgressPart, None, AuditReport]:
        from app.engine.audit.runner import run_audit

        return run_audit(self.spec)
