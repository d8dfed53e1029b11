"""Characters that were read in the wrong encoding, are lost, or cannot be seen."""

from __future__ import annotations

import re
from typing import Any

from app.engine.audit.base import Finding, Look, Named, Read, examples, finding

# UTF-8 read as Windows-1252: é becomes Ã©, an apostrophe â€™.
GARBLED = re.compile(r"[ÃÂ][\u0080-\u00bf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€[\u0080-\u00bf™œ\u009d˜“”¢¦]|ï»¿|ðŸ")
UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]")
LOST = "\ufffd"


class Check(Look):
    def __init__(self, job: Any, table: Any):
        super().__init__(job, table)
        self.garbled, self.lost, self.unseen = Named(), Named(), Named()

    def row(self, read: Read) -> None:
        text = read.text
        if LOST in text:
            self.lost.add(read.number)
        if not text.isascii() and GARBLED.search(text):
            self.garbled.add(read.number)
        if not text.isprintable() and UNSEEN.search(text):
            self.unseen.add(read.number)

    def findings(self) -> list[Finding]:
        found = []
        if self.garbled.count:
            text = f"{examples(self.garbled.count, 'holds', 'hold')} letters that were read in the wrong encoding, such as Ã© for é. Save the file as UTF-8 anew."
            found.append(finding("garbled", "wrong", text, self.garbled))
        if self.lost.count:
            text = f"{examples(self.lost.count, 'holds', 'hold')} the mark of a character that was lost ({LOST})."
            found.append(finding("lost_letters", "careful", text, self.lost))
        if self.unseen.count:
            text = f"{examples(self.unseen.count, 'holds', 'hold')} control characters that nobody sees and the model would learn."
            found.append(finding("unseen_letters", "careful", text, self.unseen))
        return found
