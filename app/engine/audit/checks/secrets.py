"""Keys, tokens and e-mail addresses that look real: a model may say them to anybody."""

from __future__ import annotations

from typing import Any

from app.engine.audit.base import Finding, Look, Named, Read, examples, finding
from app.engine.tokens.secrets import addresses, hidden, secrets


class Check(Look):
    def __init__(self, job: Any, table: Any):
        super().__init__(job, table)
        self.kinds: dict[str, Named] = {}
        self.shown: dict[str, str] = {}
        self.mail, self.address = Named(), ""

    def row(self, read: Read) -> None:
        for kind, secret in secrets(read.text):
            self.kinds.setdefault(kind, Named()).add(read.number)
            self.shown.setdefault(kind, hidden(secret))
        for one in addresses(read.text):
            self.address = self.address or hidden(one)
            self.mail.add(read.number)
            break

    def findings(self) -> list[Finding]:
        found = [finding("secret", "wrong", f"{examples(rows.count, 'holds', 'hold')} what looks like {kind} ({self.shown[kind]}). Take it out of the file: the model may say it to anybody.", rows)
                 for kind, rows in self.kinds.items()]  # fmt: skip
        if self.mail.count:
            text = f"{examples(self.mail.count, 'holds', 'hold')} an e-mail address that looks real ({self.address})."
            found.append(finding("mail", "careful", text, self.mail))
        return found
