"""Audit check of keys, tokens and e-mail addresses that look real: a trained model may repeat them to anyone."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from app.engine.audit.base import AuditCheck, AuditedRow, Finding, FlaggedMatches
from app.engine.tokens.secrets import find_email_addresses, find_secrets

if TYPE_CHECKING:
    from datasets import Dataset

    from app.engine.job import Job

_EMAIL_ADDRESS = "a real e-mail address"


class Check(AuditCheck):
    def __init__(self, job: Job, table: Dataset):
        super().__init__(job, table)
        self.flagged = FlaggedMatches()

    def check_row(self, audited_row: AuditedRow) -> None:
        addresses = ((_EMAIL_ADDRESS, address) for address in find_email_addresses(audited_row.text))
        self.flagged.add_row(audited_row.number, chain(find_secrets(audited_row.text), addresses))

    def findings(self) -> list[Finding]:
        return [
            self.flagged.finding("mail", kind, "careful")
            if kind == _EMAIL_ADDRESS
            else self.flagged.finding("secret", kind, "wrong")
            for kind in self.flagged.rows_by_kind
        ]
