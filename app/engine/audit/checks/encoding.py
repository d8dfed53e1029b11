"""Audit check of characters that were decoded wrongly, are lost, or are invisible."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from app.engine.audit.base import AuditCheck, AuditedRow, Finding, FlaggedRows, build_finding, count_examples

if TYPE_CHECKING:
    from datasets import Dataset

    from app.engine.job import Job

# UTF-8 read as Windows-1252: é becomes Ã©, an apostrophe â€™.
_MOJIBAKE = re.compile(r"[ÃÂ][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€[\u0080-\u00bf™œ\u009d˜“”¢¦]|ï»¿|ðŸ")
_INVISIBLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]")
_REPLACEMENT_CHARACTER = "\ufffd"  # what a decoder writes for bytes that it cannot decode


class Check(AuditCheck):
    def __init__(self, job: Job, table: Dataset):
        super().__init__(job, table)
        self.garbled, self.undecodable, self.invisible = FlaggedRows(), FlaggedRows(), FlaggedRows()

    def check_row(self, audited_row: AuditedRow) -> None:
        text = audited_row.text
        if _REPLACEMENT_CHARACTER in text:
            self.undecodable.add(audited_row.number)
        if not text.isascii() and _MOJIBAKE.search(text):
            self.garbled.add(audited_row.number)
        if not text.isprintable() and _INVISIBLE.search(text):
            self.invisible.add(audited_row.number)

    def findings(self) -> list[Finding]:
        findings = []
        if count := self.garbled.count:
            text = f"{count_examples(count, 'holds', 'hold')} letters that were read in the wrong encoding, such as Ã© for é. Save the file as UTF-8 anew."
            findings.append(build_finding("garbled", "wrong", text, self.garbled))
        if count := self.undecodable.count:
            text = f"{count_examples(count, 'holds', 'hold')} the mark of a character that was lost ({_REPLACEMENT_CHARACTER})."
            findings.append(build_finding("lost_letters", "careful", text, self.undecodable))
        if count := self.invisible.count:
            text = f"{count_examples(count, 'holds', 'hold')} control characters that nobody sees and the model would learn."
            findings.append(build_finding("unseen_letters", "careful", text, self.invisible))
        return findings
