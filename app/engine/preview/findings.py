"""Check: what a preview finds that a person should know before training, each a severity and a sentence."""

from __future__ import annotations

from collections import Counter
from typing import Any

from app.engine.audit.base import finding
from app.engine.datasets.row_filter import WHY, left
from app.engine.job import Job
from app.engine.masking.label_policy import LossMaskPolicy, as_told, labeled_turns
from app.engine.masking.masked_dataset import NOTES, options_of
from app.engine.model import template_source, tokenizer

Finding = dict[str, Any]
LOOKED_AT = 20  # rows written in two chat formats
COMPARED = 4_000  # characters of each: telling differences takes the square of it


def findings(job: Job, trainer: Any, rows: list[dict[str, Any]], joined: bool = False) -> list[Finding]:
    """Of the rows shown. severity: good, careful or wrong. joined: texts stand end to end and are cut anywhere."""
    if writes := how_it_writes(job.method):
        return [*dropped(job), say("good", f"Grey is what the model is asked. {writes}")]
    found = dropped(job) + beyond(job, trainer, rows) + cut_off(job, rows) + untrained(rows) + noted(trainer)
    whole = "Texts are joined end to end and cut into even rows: one may begin and end in the middle of a text, and nothing is lost."
    found = found or [say("good", whole if joined else "Every example shown is whole and has tokens to learn.")]
    found += rewritten(job, trainer) + [say(*one) for one in tokenizer.remarks(job)]
    return found + ([say("good", remark)] if (remark := getattr(job.method, "remark", lambda _: "")(job)) else [])


def how_it_writes(method: Any) -> str:
    """Of a method that writes all its answers itself: a sentence on what it learns from them, its WRITES; else empty."""
    earns = "It writes the answers itself and learns from their rewards."
    return getattr(method, "WRITES", earns if getattr(method, "NEEDS_REWARDS", False) else "")


def beyond(job: Job, trainer: Any, rows: list[dict[str, Any]]) -> list[Finding]:
    """Rows that the trainer left out: with its reason where that is known of each, else as what it learns is too long."""
    told = {*WHY.values()}  # what a person said to drop, which is counted where it is dropped
    reasons = Counter(row["left_out"] for row in rows if "left_out" in row and row["left_out"] not in told)
    if not reasons and not job.streaming and not packed(trainer):
        reasons[too_long(job)] = left(job) - len(trainer.train_dataset) if trainer.whole is None else 0
    return [say("wrong", left_out(count, reason), count) for reason, count in reasons.items() if count]


def packed(trainer: Any) -> bool:
    return trainer.whole is not None and "row" not in trainer.train_dataset.column_names


def noted(trainer: Any) -> list[Finding]:
    """What masking found in the rows on its way."""
    whole = trainer.whole
    notes = Counter(note for row in (whole["notes"] if whole is not None and "notes" in whole.column_names else ()) for note in row)  # fmt: skip
    return [say("careful", NOTES[note].format(some=f"In {count} example{'' if count == 1 else 's'},"), count) for note, count in notes.items()]  # fmt: skip


def rewritten(job: Job, trainer: Any) -> list[Finding]:
    """What of the text changes because only answers are learned: a template that marks them may write more than the model's own."""
    used, own = getattr(trainer, "chat_template", None), job.trainers_tokenizer.chat_template
    rows = [] if not used or used == own or job.streaming else job.data.train.select(range(min(LOOKED_AT, len(job.data.train))))  # fmt: skip
    pairs = [(written(job, own, row), written(job, used, row)) for row in rows if is_talk(row)]
    differ = [(before[:COMPARED], after[:COMPARED]) for before, after in pairs if before and before != after]
    if not differ:
        return []
    found = Counter(change for pair in differ[:3] for change in template_source.changes(*pair))
    told = ", and ".join(template_source.told(change) for change, _ in found.most_common(3)) or "it differs further on"
    return [say("careful", f"So that answers can be learned alone, conversations are written in another way than this model’s own chat format does: it {told}. "
                "Everything below is shown as it is learned.", len(differ))]  # fmt: skip


def is_talk(row: dict[str, Any]) -> bool:
    return any(isinstance(row.get(name), list) for name in ("messages", "prompt"))


def written(job: Job, template: Any, row: dict[str, Any]) -> str:
    turns = as_told(labeled_turns(row, LossMaskPolicy()))
    try:
        return job.trainers_tokenizer.apply_chat_template(
            turns, tokenize=False, chat_template=template, **options_of(row)
        )
    except Exception:  # a border: a template is a stranger's program
        return ""


def too_long(job: Job) -> str:
    limit = f"the maximum length of {getattr(job.knobs, 'max_length', None)} tokens"
    if job.kind == "scores":  # a score of half an answer would mean nothing: TRL leaves the pair out
        return f"an answer with its prompt is longer than {limit}"
    return f"what it should learn begins only beyond {limit}"


def filtered(job: Job, trainer: Any) -> dict[str, int]:
    """{reason: rows} that the trainer of a model that scores leaves out whole."""
    count = left(job) - len(trainer.train_dataset) if job.kind == "scores" else 0
    return {too_long(job): count} if count else {}


def left_out(count: int, reason: str) -> str:
    return f"{count} example{' is' if count == 1 else 's are'} left out: {reason}."


def dropped(job: Job) -> list[Finding]:
    return [say("careful", left_out(count, reason)) for reason, count in job.data.dropped.items()]


def cut_off(job: Job, rows: list[dict[str, Any]]) -> list[Finding]:
    rows = [row for row in rows if "left_out" not in row]
    count = sum(any(part["cut"] > 0 for part in parts(row)) for row in rows)
    text = (
        f"{count} of {len(rows)} {'loses its' if count == 1 else 'lose their'} end: longer than the maximum length of "
    )
    return [say("careful", f"{text}{job.knobs.max_length} tokens.")] if count else []


def untrained(rows: list[dict[str, Any]]) -> list[Finding]:
    rows = [row for row in rows if "left_out" not in row]
    if not rows:
        return [say("wrong", "No example has a token to learn: all were left out by the trainer.")]
    count = sum(not all(any(token["trained"] for token in part["tokens"]) for part in parts(row)) for row in rows)
    return [say("wrong", f"{count} of {len(rows)} have no token to learn.")] if count else []


def parts(row: dict[str, Any]) -> list[dict[str, Any]]:
    """What should be learned of a row: its text, or each of its answers."""
    return row.get("sides") or [row]


def say(severity: str, text: str, count: int = 0) -> Finding:
    return finding("preview", severity, text) | {"count": count}
