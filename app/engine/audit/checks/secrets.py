"""Audit check of keys, tokens and e-mail addresses that look real: a trained model may repeat them to anyone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engine.audit.base import AuditCheck, AuditedRow, Finding, FlaggedRows, build_finding, count_examples
from app.engine.tokens.secrets import find_email_addresses, find_secrets, redact_secret

if TYPE_CHECKING:
    from datasets import Dataset

    from app.engine.job import Job


class Check(AuditCheck):
    def __init__(self, job: Job, table: Dataset):
        super().__init__(job, table)
        self.rows_by_kind: dict[str, FlaggedRows] = {}
        self.redacted_examples: dict[str, str] = {}
        self.with_address, self.redacted_address = FlaggedRows(), ""

    def check_row(self, audited_row: AuditedRow) -> None:
        for kind, secret in find_secrets(audited_row.text):
            self.rows_by_kind.setdefault(kind, FlaggedRows()).add(audited_row.number)
            self.redacted_examples.setdefault(kind, redact_secret(secret))
        if address := next(iter(find_email_addresses(audited_row.text)), None):
            self.redacted_address = self.redacted_address or redact_secret(address)
            self.with_address.add(audited_row.number)

    def findings(self) -> list[Finding]:
        findings = []
        for kind, rows in self.rows_by_kind.items():
            text = f"{count_examples(rows.count, 'holds', 'hold')} what looks like {kind} ({self.redacted_examples[kind]}). Take it out of the file: the model may say it to anybody."
            findings.append(build_finding("secret", "wrong", text, rows))
        if count := self.with_address.count:
            text = (
                f"{count_examples(count, 'holds', 'hold')} an e-mail address that looks real ({self.redacted_address})."
            )
            findings.append(build_finding("mail", "careful", text, self.with_address))
        return findings
