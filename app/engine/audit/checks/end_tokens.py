"""Where texts begin and end: end tokens that are not learned or not there, and begin tokens that stand twice."""

from __future__ import annotations

from typing import Any

from app.engine.audit.base import Finding, Look, Named, examples, finding, remedy
from app.engine.datasets.token_columns import flat
from app.engine.tokens.eos_tokens import ends_of
from app.engine.tokens.template_alternatives import mending

NEAR = 3  # tokens around an end in which its mark stands: formats write a line break after it


class Check(Look):
    def __init__(self, job: Any, table: Any):
        super().__init__(job, table)
        self.ends = ends_of(job)
        self.unlearned, self.missing, self.twice = Named(), Named(), Named()

    def tokens(self, texts: list[Any], data: Any) -> None:
        import numpy

        first = texts[0].first
        if self.job.kind == "causal" and self.ends:
            told = [of_text(text, self.ends, getattr(self.job.knobs, "max_length", None)) for text in texts]
            unlearned = numpy.any([one[0] for one in told], axis=0)
            self.unlearned.add_all(self.named(first, unlearned))
            self.missing.add_all(self.named(first, numpy.any([one[1] for one in told], axis=0) & ~unlearned))
        begin = self.job.trainers_tokenizer.bos_token_id
        if begin is not None:
            heads = [flat(data, "prompt_ids")] if "prompt_ids" in data.column_names else [(text.ids, text.starts) for text in texts]  # fmt: skip
            self.twice.add_all(self.named(first, numpy.any([doubled(*head, begin) for head in heads], axis=0)))

    def findings(self) -> list[Finding]:
        found = []
        if self.unlearned.count:
            fits = "end_tokens" in type(self.job.knobs).model_fields and self.job.knobs.end_tokens != "all"
            mend = (
                remedy("Learn every end token", knobs__end_tokens="all")
                if fits
                else self.another_format(self.unlearned)
            )
            text = f"{examples(self.unlearned.count, 'has', 'have')} an end token that is not learned: the model may not know when to stop."
            found.append(finding("end_untrained", "wrong", text, self.unlearned, mend))
        if self.missing.count:
            text = f"{examples(self.missing.count, 'has', 'have')} no end token after what is learned: the model may not know when to stop."
            found.append(finding("no_end", "careful", text, self.missing, self.another_format(self.missing)))
        if self.twice.count:
            text = f"{examples(self.twice.count, 'begins', 'begin')} with two begin tokens: the chat format writes one, and the tokenizer adds another."
            found.append(finding("double_begin", "careful", text, self.twice))
        return found

    def another_format(self, found: Named) -> dict[str, Any] | None:
        """The remedy that takes another chat format, where one is known that mends these rows."""
        told = mending(self.job, found.rows)
        if told is None:
            return None
        title = f"Take TRL’s chat format “{told.removeprefix('trl:')}”" if told else "Take the model’s own chat format"
        return remedy(title, model__template=told or None)


def of_text(text: Any, ends: list[int], limit: int | None) -> tuple[Any, Any]:
    """(the mark after what is learned last is only read, there is none), for each text that is not cut off."""
    import numpy

    places = numpy.arange(len(text.ids))
    last = numpy.maximum.accumulate(numpy.where(text.learned, places, -1)) if len(places) else places
    begins, stops = text.starts[:-1], text.starts[1:]
    at = numpy.where(stops > begins, last[numpy.maximum(stops - 1, 0)] if len(last) else -1, -1)
    learned = (at >= begins) & (text.lengths <= (limit or text.lengths.max(initial=0)))
    is_end = numpy.isin(text.ids, ends)

    def ends_near(steps: range) -> Any:
        found = numpy.zeros(len(at), bool)
        for step in steps:
            place = at + step
            inside = (place >= begins) & (place < stops)
            found[inside] |= is_end[place[inside]]
        return found

    within, after = ends_near(range(0, -NEAR, -1)), ends_near(range(1, NEAR + 1))
    return learned & ~within & after, learned & ~within & ~after


def doubled(ids: Any, starts: Any, begin: int) -> Any:
    """Which texts begin with that token twice."""
    import numpy

    long = starts[1:] - starts[:-1] > 1
    found = numpy.zeros(len(long), bool)
    heads = starts[:-1][long]
    found[long] = (ids[heads] == begin) & (ids[heads + 1] == begin)
    return found
