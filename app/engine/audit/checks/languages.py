"""Which languages the examples are in, by a sample of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from app.engine.audit.base import Finding, Look, Named, Read, finding

SAMPLE, LETTERS, READ = 400, 40, 400  # rows; the least letters that tell; how many are read of each
SURE = 0.8  # how sure it must be
NAMES = {"en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese", "nl": "Dutch", "pl": "Polish",
         "ru": "Russian", "uk": "Ukrainian", "tr": "Turkish", "ar": "Arabic", "fa": "Persian", "he": "Hebrew", "hi": "Hindi", "bn": "Bengali",
         "zh": "Chinese", "ja": "Japanese", "ko": "Korean", "vi": "Vietnamese", "th": "Thai", "id": "Indonesian", "sv": "Swedish",
         "da": "Danish", "no": "Norwegian", "fi": "Finnish", "cs": "Czech", "sk": "Slovak", "hu": "Hungarian", "ro": "Romanian",
         "bg": "Bulgarian", "el": "Greek", "ca": "Catalan", "hr": "Croatian", "sr": "Serbian", "la": "Latin"}  # fmt: skip


class Check(Look):
    def __init__(self, job: Any, table: Any):
        super().__init__(job, table)
        self.every = max(1, self.rows // SAMPLE)
        self.told: dict[str, Named] = {}

    def row(self, read: Read) -> None:
        if (read.number - 1) % self.every:
            return
        text = read.text[:READ]
        if sum(map(str.isalpha, text)) < LETTERS:
            return
        from app.engine.rewards.language import judge

        name, chance = judge().identifier.classify(text)
        if chance >= SURE:
            self.told.setdefault(name, Named()).add(read.number)

    def findings(self) -> list[Finding]:
        counts = Counter({name: rows.count for name, rows in self.told.items()})
        total = sum(counts.values())
        if not total:
            return []
        shares = [(name, count / total) for name, count in counts.most_common() if count / total >= 0.01 and count > 1]
        if not shares:
            return []
        sampled = f" ({total:,} of {self.rows:,} examples looked at)" if self.every > 1 else ""
        mix = ", ".join(f"{share * 100:.0f} % in {NAMES.get(name, name)}" for name, share in shares[:5])
        if len(shares) == 1:
            return [finding("languages", "good", f"The examples are in {NAMES.get(shares[0][0], shares[0][0])}{sampled}.")]  # fmt: skip
        others = Named(sum(self.told[name].count for name, _ in shares[1:]), [number for name, _ in shares[1:] for number in self.told[name].rows][:20])  # fmt: skip
        return [finding("languages", "careful", f"The examples are in several languages: {mix}{sampled}.", others)]
