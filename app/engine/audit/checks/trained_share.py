"""How much is learned: the share of tokens, and rows of which nothing is."""

from __future__ import annotations

from typing import Any

from app.engine.audit.base import Finding, Look, Named, examples, finding, without
from app.engine.masking.masked_dataset import NOTES

LITTLE = 0.02  # of all tokens: most of the time is spent on reading


class Check(Look):
    def __init__(self, job: Any, table: Any):
        super().__init__(job, table)
        self.all = self.learned = 0
        self.none = Named()
        self.notes: dict[str, Named] = {}

    def tokens(self, texts: list[Any], data: Any) -> None:
        import numpy

        limit = getattr(self.job.knobs, "max_length", None)
        counts = [text.count(text.learned) for text in texts]
        self.all += int(sum(text.lengths.sum() for text in texts))
        self.learned += int(sum(count.sum() for count in counts))
        fewest = numpy.min([text.count(text.learned, limit) for text in texts], axis=0)
        self.none.add_all(self.named(texts[0].first, fewest == 0))
        if "notes" in data.column_names:
            for place, notes in enumerate(data.column("notes").to_pylist(), texts[0].first):
                for note in notes or ():
                    number = place if self.numbers is None else int(self.numbers[place])
                    self.notes.setdefault(note, Named()).add(number + 1)

    def findings(self) -> list[Finding]:
        if not self.all or self.job.kind != "causal":
            return []
        share = self.learned / self.all
        text = f"{share * 100:.0f} % of all tokens are learned: {self.learned:,} of {self.all:,}."
        found = [finding("share", "good", text) if share > LITTLE else
                 finding("share", "careful", f"Only {share * 100:.1f} % of all tokens are learned; the others are only read.")]  # fmt: skip
        if self.none.count and "untrained" not in self.job.spec.drop:
            found.append(finding("untrained", "wrong", f"{examples(self.none.count, 'has', 'have')} nothing to learn within the maximum length.",
                                 self.none, without(self.job, "untrained", "Leave them out")))  # fmt: skip
        for note, rows in self.notes.items():
            some = f"In {rows.count:,} example{'' if rows.count == 1 else 's'},"
            found.append(finding(f"mask_{note}", "careful", NOTES[note].format(some=some), rows))
        return found
