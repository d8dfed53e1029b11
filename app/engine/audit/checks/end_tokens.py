"""Audit check of the beginnings and ends of texts: end tokens that are untrained or missing, and doubled begin tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engine.audit.base import AuditCheck, Finding, FlaggedRows, build_finding, build_remedy, count_examples
from app.engine.datasets.token_columns import flatten_lists, missing_end_tokens
from app.engine.tokens.eos_tokens import end_token_findings, end_token_ids
from app.engine.tokens.template_alternatives import find_fixing_template

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

    from app.contracts import Remedy
    from app.engine.datasets.token_columns import TokenBatch
    from app.engine.job import Job
    from app.engine.tokens.tokenized_examples import BoolArray, IntArray


class Check(AuditCheck):
    def __init__(self, job: Job, table: Dataset):
        super().__init__(job, table)
        self.end_token_ids = end_token_ids(job)
        self.untrained_end, self.without_end, self.double_bos = FlaggedRows(), FlaggedRows(), FlaggedRows()

    def check_tokens(self, token_batches: list[TokenBatch], chunk: pyarrow.Table) -> None:
        import numpy

        first_row = token_batches[0].first_row
        if self.job.kind == "causal" and self.end_token_ids:
            limit = getattr(self.job.knobs, "max_length", None)
            masks = [missing_end_tokens(batch, self.end_token_ids, limit) for batch in token_batches]
            untrained = numpy.any([untrained for untrained, _ in masks], axis=0)
            missing = numpy.any([missing for _, missing in masks], axis=0)
            self.untrained_end.add_all(self.row_numbers_where(first_row, untrained))
            self.without_end.add_all(self.row_numbers_where(first_row, missing & ~untrained))
        bos_token_id = self.job.trainers_tokenizer.bos_token_id
        if bos_token_id is not None:
            texts = [(batch.token_ids, batch.starts) for batch in token_batches]
            if "prompt_ids" in chunk.column_names:
                texts = [flatten_lists(chunk, "prompt_ids")]
            is_doubled = numpy.any([has_double_bos(*text, bos_token_id) for text in texts], axis=0)
            self.double_bos.add_all(self.row_numbers_where(first_row, is_doubled))

    def findings(self) -> list[Finding]:
        findings = []
        if count := self.untrained_end.count:
            text = f"{count_examples(count, 'has', 'have')} an end token that is not learned: the model may not know when to stop."
            remedy = self._end_token_remedy()
            findings.append(build_finding("end_untrained", "wrong", text, self.untrained_end, remedy))
        if count := self.without_end.count:
            text = f"{count_examples(count, 'has', 'have')} no end token after what is learned: the model may not know when to stop."
            remedy = self._template_remedy(self.without_end)
            findings.append(build_finding("no_end", "careful", text, self.without_end, remedy))
        if count := self.double_bos.count:
            text = f"{count_examples(count, 'begins', 'begin')} with two begin tokens: the chat format writes one, and the tokenizer adds another."
            findings.append(build_finding("double_begin", "careful", text, self.double_bos))
        if self.job.kind == "causal":
            undeclared = end_token_findings(self.job, self.job.model)
            findings += [build_finding("end_undeclared", *finding) for finding in undeclared]
        return findings

    def _end_token_remedy(self) -> Remedy | None:
        """Trains every end token where the method has a setting for it, otherwise takes another chat template."""
        knobs = self.job.knobs
        if "end_tokens" in type(knobs).model_fields and knobs.end_tokens != "all":
            return build_remedy("Learn every end token", knobs__end_tokens="all")
        return self._template_remedy(self.untrained_end)

    def _template_remedy(self, flagged: FlaggedRows) -> Remedy | None:
        """The remedy that takes another chat template, where one is known that fixes these rows."""
        template = find_fixing_template(self.job, flagged.row_numbers)
        if template is None:
            return None
        name = template.removeprefix("trl:")
        title = f"Take TRL’s chat format “{name}”" if template else "Take the model’s own chat format"
        return build_remedy(title, model__template=template or None)


def has_double_bos(token_ids: IntArray, starts: IntArray, bos_token_id: int) -> BoolArray:
    """Which texts begin with two begin-of-sequence tokens."""
    import numpy

    is_long_enough = starts[1:] - starts[:-1] > 1
    is_doubled = numpy.zeros(len(is_long_enough), bool)
    first_positions = starts[:-1][is_long_enough]
    second_positions = first_positions + 1
    is_doubled[is_long_enough] = (token_ids[first_positions] == bos_token_id) & (
        token_ids[second_positions] == bos_token_id
    )
    return is_doubled
