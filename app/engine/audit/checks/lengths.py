"""How long texts are: those cut off, those that lose their end, and those far from the others."""

from __future__ import annotations

from typing import Any

from app.engine.audit.base import Finding, Look, Named, examples, finding, remedy, without
from app.engine.datasets.row_filter import cut_at
from app.engine.tokens.eos_tokens import ends_of

STEP = 64  # tokens that a raised limit is a multiple of
FAR = 4.0  # spreads of the logarithm from the middle; and at least four times as long or short


class Check(Look):
    def __init__(self, job: Any, table: Any):
        super().__init__(job, table)
        self.limit, self.ends = cut_at(job), ends_of(job)
        self.cut, self.lost = Named(), Named()
        self.found: list[Any] = []  # (numbers, lengths, tokens up to the first that is learned) of each piece

    def tokens(self, texts: list[Any], data: Any) -> None:
        import numpy

        longest = numpy.max([text.lengths for text in texts], axis=0)
        begins = numpy.max([until_learned(text) for text in texts], axis=0)
        self.found.append((self.named(texts[0].first, longest > -1), longest, begins))
        if self.limit is None:
            return
        self.cut.add_all(self.named(texts[0].first, longest > self.limit))
        lost = numpy.zeros(len(longest), bool)
        for text in texts:
            marks = text.learned & numpy.isin(text.ids, self.ends)
            lost |= (text.lengths > self.limit) & (text.count(marks) > text.count(marks, self.limit))
        self.lost.add_all(self.named(texts[0].first, lost))

    @property
    def lengths(self) -> Any:
        """Of each row the longest of its texts."""
        import numpy

        return numpy.concatenate([lengths for _, lengths, _ in self.found]) if self.found else numpy.zeros(0, int)

    @property
    def begins(self) -> Any:
        """How long each row must at least be for something of every text in it to be learned."""
        import numpy

        return numpy.concatenate([begins for _, _, begins in self.found]) if self.found else numpy.zeros(0, int)

    def findings(self) -> list[Finding]:
        if not self.found or not len(self.lengths):
            return []
        return self.cuts() + self.outliers()

    def cuts(self) -> list[Finding]:
        if not self.cut.count or "cut" in self.job.spec.drop:
            return []
        higher = raised(self.lengths, self.limit)
        text = (
            f"{examples(self.cut.count, 'is', 'are')} cut off: longer than the maximum length of {self.limit:,} tokens."
        )
        found = [finding("cut", "careful", text, self.cut, remedy(f"Raise the maximum length to {higher:,} tokens", knobs__max_length=higher))]  # fmt: skip
        if self.lost.count:
            text = f"{examples(self.lost.count, 'loses its', 'lose their')} end token: what is cut off so teaches the model not to stop."
            found.append(finding("lost_end", "careful", text, self.lost, without(self.job, "cut", "Leave out what is too long")))  # fmt: skip
        return found

    def outliers(self) -> list[Finding]:
        import numpy

        numbers, lengths = numpy.concatenate([one for one, _, _ in self.found]), self.lengths
        logs = numpy.log(numpy.maximum(lengths, 1))
        middle = float(numpy.median(logs))
        spread = max(FAR * 1.4826 * float(numpy.median(numpy.abs(logs - middle))), float(numpy.log(4)))
        found = []
        for name, which, words in (("very_long", logs > middle + spread, "longer"), ("very_short", logs < middle - spread, "shorter")):  # fmt: skip
            far = Named()
            far.add_all(numbers[which])
            if far.count:
                ends = f"the {'longest' if words == 'longer' else 'shortest'} has {lengths[which].max() if words == 'longer' else lengths[which].min():,} tokens, half have at most {int(numpy.median(lengths)):,}"  # fmt: skip
                found.append(finding(name, "careful", f"{examples(far.count, 'is', 'are')} far {words} than the others: {ends}.", far))  # fmt: skip
        return found


def until_learned(text: Any) -> Any:
    """Tokens of each text up to the first that is learned; one more than there are where none is."""
    import numpy

    places = numpy.append(numpy.flatnonzero(text.learned), len(text.ids))
    first = places[numpy.searchsorted(places, text.starts[:-1])]
    return numpy.minimum(first, text.starts[1:]) - text.starts[:-1] + text.before + 1


def raised(lengths: Any, limit: int) -> int:
    """A limit that 99 in 100 rows stay within, or all where that is no higher than now."""
    import numpy

    for wanted in (int(numpy.percentile(lengths, 99, method="inverted_cdf")), int(lengths.max())):
        if wanted > limit:
            return -(-wanted // STEP) * STEP
    return limit
