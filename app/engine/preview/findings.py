"""Preview findings: what a person should know of the previewed rows before training, each a severity and a sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from app.contracts import Finding, Severity
from app.data.fields import Row
from app.engine.audit.base import build_finding, iterate_rows
from app.engine.datasets.row_filter import DROP_REASONS, count_trained_rows
from app.engine.job import Job
from app.engine.masking.label_policy import LossMaskPolicy, labeled_messages, template_messages
from app.engine.masking.masked_dataset import NOTES, row_template_kwargs
from app.engine.model import template_source, tokenizer
from app.engine.preview.page_types import PreviewedRow, PreviewedText
from app.engine.preview.unwritten_fields import UnwrittenRows
from app.engine.tokens.eos_tokens import end_token_findings

if TYPE_CHECKING:
    from app.engine.contracts import AnyMethod, Trainer

_COMPARED_ROWS = 20  # rows rendered in two chat templates
_COMPARED_CHARACTERS = 4_000  # of each: the time of the comparison grows with their square


def preview_findings(job: Job, trainer: Trainer, rows: list[PreviewedRow], joined: bool = False) -> list[Finding]:
    """The findings on the previewed rows. Severities are good, careful and wrong.

    joined: texts stand end to end and are cut anywhere.
    """
    if note := generation_note(job.method):
        return [
            *_source_row_findings(job),
            *_dropped_row_findings(job),
            *_unwritten_field_findings(job),
            preview_finding("good", f"Grey is what the model is asked. {note}"),
        ]
    findings = [
        *_source_row_findings(job),
        *_dropped_row_findings(job),
        *left_out_findings(job, trainer, rows),
        *_truncation_findings(job, rows),
        *_untrained_row_findings(rows),
        *_masking_findings(trainer),
        *_unwritten_field_findings(job),
    ]
    if not findings:
        joined_text = (
            "Texts are joined end to end and cut into even rows: "
            "one may begin and end in the middle of a text, and nothing is lost."
        )
        complete_text = "Every example shown is whole and has tokens to learn."
        findings.append(preview_finding("good", joined_text if joined else complete_text))
    findings += _template_findings(job, trainer)
    findings += [preview_finding(*finding) for finding in tokenizer.chat_token_findings(job)]
    findings += [preview_finding(*finding) for finding in end_token_findings(job, job.model)]
    if job.method.remark and (remark := job.method.remark(job)):
        findings.append(preview_finding("good", remark))
    return findings


def generation_note(method: AnyMethod) -> str:
    """Of a method that generates all its completions itself: a sentence on what it learns from them; else
    empty."""
    if method.needs_rewards and not method.generation_note:
        return "It writes the answers itself and learns from their rewards."
    return method.generation_note


def left_out_findings(job: Job, trainer: Trainer, rows: list[PreviewedRow]) -> list[Finding]:
    """Rows that the trainer left out: with its reason where that is known of each row, else because they are too
    long."""
    counted_elsewhere = {*DROP_REASONS.values()}  # rows that a setting drops are counted where they are dropped
    left_out = [row["left_out"] for row in rows if "left_out" in row]
    counts = Counter(reason for reason in left_out if reason not in counted_elsewhere)
    if not counts and not job.streaming and trainer.uncut_rows is None:
        counts[too_long_reason(job)] = count_trained_rows(job) - len(trainer.train_dataset)
    return [preview_finding("wrong", left_out_text(count, reason), count) for reason, count in counts.items() if count]


def is_packed(trainer: Trainer) -> bool:
    """Whether several texts share a row of the trainer's table."""
    return trainer.uncut_rows is not None and "row" not in trainer.train_dataset.column_names


def _masking_findings(trainer: Trainer) -> list[Finding]:
    """The notes that masking left on rows (see NOTES in app/engine/masking/masked_dataset.py)."""
    table = trainer.uncut_rows
    if table is None or "notes" not in table.column_names:
        return []
    counts = Counter(note for row_notes in table["notes"] for note in row_notes)
    return [
        preview_finding("careful", NOTES[note].format(some=f"In {count} example{'' if count == 1 else 's'},"), count)
        for note, count in counts.items()
    ]


def _template_findings(job: Job, trainer: Trainer) -> list[Finding]:
    """What of the text changes because only answers are trained: a template that marks them may write more than the
    model's own."""
    used, own = getattr(trainer, "chat_template", None), job.trainers_tokenizer.chat_template
    if not used or used == own or job.streaming:
        return []
    rows = job.data.train.select(range(min(_COMPARED_ROWS, len(job.data.train))))
    pairs = [(_render(job, own, row), _render(job, used, row)) for row in rows if _is_conversation(row)]
    differing = [
        (before[:_COMPARED_CHARACTERS], after[:_COMPARED_CHARACTERS])
        for before, after in pairs
        if before and before != after
    ]
    if not differing:
        return []
    changes = Counter(change for pair in differing[:3] for change in template_source.template_differences(*pair))
    phrases = [template_source.difference_phrase(change) for change, _ in changes.most_common(3)]
    text = (
        "So that answers can be learned alone, conversations are written in another way than this model’s own "
        f"chat format does: it {', and '.join(phrases) or 'differs further on'}. Everything below is shown as it is learned."
    )
    return [preview_finding("careful", text, len(differing))]


def _is_conversation(row: Row) -> bool:
    return any(isinstance(row.get(name), list) for name in ("messages", "prompt"))


def _render(job: Job, template: str | None, row: Row) -> str:
    """The row in that chat template; empty where the template refuses it."""
    messages = template_messages(labeled_messages(row, LossMaskPolicy()))
    template_kwargs = {"chat_template": template, **row_template_kwargs(row)}
    return template_source.try_render(job.trainers_tokenizer, messages, **template_kwargs) or ""


def too_long_reason(job: Job) -> str:
    """Why a row longer than the maximum length is left out."""
    limit = f"the maximum length of {getattr(job.knobs, 'max_length', None)} tokens"
    if job.kind == "scores":  # a score of a truncated completion would mean nothing: TRL leaves the pair out
        return f"an answer with its prompt is longer than {limit}"
    return f"what it should learn begins only beyond {limit}"


def rows_left_out_by_trainer(job: Job, trainer: Trainer) -> dict[str, int]:
    """{reason: count} of rows that the trainer of a reward model leaves out."""
    count = count_trained_rows(job) - len(trainer.train_dataset) if job.kind == "scores" else 0
    return {too_long_reason(job): count} if count else {}


def left_out_text(count: int, reason: str) -> str:
    """A sentence on rows that are left out."""
    return f"{count} example{' is' if count == 1 else 's are'} left out: {reason}."


def _source_row_findings(job: Job) -> list[Finding]:
    """Rows among those shown at which a run stops, as nobody has allowed to leave them out; and train flags that the method does
    not read."""
    return [finding for finding in job.data.findings if finding["id"] in ("refused", "unread_marks")]


def _unwritten_field_findings(job: Job) -> list[Finding]:
    """Fields of the rows shown that the chat format does not write."""
    if job.streaming:
        return []
    unwritten_rows = UnwrittenRows(job)
    for number, row in enumerate(iterate_rows(job.data.train, {"images"}), 1):
        unwritten_rows.add(number, row)
    return unwritten_rows.findings(len(job.data.train))


def _dropped_row_findings(job: Job) -> list[Finding]:
    return [preview_finding("careful", left_out_text(count, reason)) for reason, count in job.data.dropped.items()]


def _truncation_findings(job: Job, rows: list[PreviewedRow]) -> list[Finding]:
    rows = [row for row in rows if "left_out" not in row]
    count = sum(any(text["cut"] > 0 for text in _trained_texts(row)) for row in rows)
    if not count:
        return []
    loses = "loses its" if count == 1 else "lose their"
    text = f"{count} of {len(rows)} {loses} end: longer than the maximum length of {job.knobs.max_length} tokens."
    return [preview_finding("careful", text)]


def _untrained_row_findings(rows: list[PreviewedRow]) -> list[Finding]:
    rows = [row for row in rows if "left_out" not in row]
    if not rows:
        return [preview_finding("wrong", "No example has a token to learn: all were left out by the trainer.")]
    count = sum(
        not all(any(token["trained"] for token in text["tokens"]) for text in _trained_texts(row)) for row in rows
    )
    return [preview_finding("wrong", f"{count} of {len(rows)} have no token to learn.")] if count else []


def _trained_texts(row: PreviewedRow) -> Sequence[PreviewedText]:
    """What should be trained of a previewed row: its text, or each of its completions."""
    return row.get("sides") or [row]


def preview_finding(severity: Severity, text: str, count: int = 0) -> Finding:
    """A finding of the preview. count: how many rows it concerns, if known."""
    return {**build_finding("preview", severity, text), "count": count}
