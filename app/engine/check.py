"""Check: what a preview finds that a person should know before training, each a severity and a sentence."""

from __future__ import annotations

from typing import Any

from app.engine import words
from app.engine.job import Job

Finding = dict[str, str]


def findings(job: Job, rows: list[dict[str, Any]], unlearnable: int = 0, joined: bool = False) -> list[Finding]:
    """Of the rows shown. severity: good, careful or wrong. unlearnable: rows that the trainer left out, as nothing to learn
    stands within the maximum length. joined: texts stand end to end and are cut anywhere."""
    if writes := how_it_writes(job.method):
        return [*dropped(job), say("good", f"Grey is what the model is asked. {writes}")]
    found = dropped(job) + beyond(job, unlearnable) + cut_off(job, rows) + untrained(rows)
    whole = "Texts are joined end to end and cut into even rows: one may begin and end in the middle of a text, and nothing is lost."
    found = found or [say("good", whole if joined else "Every example shown is whole and has tokens to learn.")]
    found += [say(*one) for one in words.remarks(job)]
    return found + ([say("good", remark)] if (remark := getattr(job.method, "remark", lambda _: "")(job)) else [])


def how_it_writes(method: Any) -> str:
    """Of a method that writes all its answers itself: a sentence on what it learns from them, its WRITES; else empty."""
    earns = "It writes the answers itself and learns from their rewards."
    return getattr(method, "WRITES", earns if getattr(method, "NEEDS_REWARDS", False) else "")


def beyond(job: Job, count: int) -> list[Finding]:
    return [say("wrong", left_out(count, too_long(job)))] if count else []


def too_long(job: Job) -> str:
    limit = f"the maximum length of {getattr(job.knobs, 'max_length', None)} tokens"
    if job.kind == "scores":  # a score of half an answer would mean nothing: TRL leaves the pair out
        return f"an answer with its prompt is longer than {limit}"
    return f"what it should learn begins only beyond {limit}"


def filtered(job: Job, trainer: Any) -> dict[str, int]:
    """{reason: rows} that the trainer of a model that scores leaves out whole."""
    count = len(job.data.train) - len(trainer.train_dataset) if job.kind == "scores" else 0
    return {too_long(job): count} if count else {}


def left_out(count: int, reason: str) -> str:
    return f"{count} example{' is' if count == 1 else 's are'} left out: {reason}."


def dropped(job: Job) -> list[Finding]:
    return [say("careful", left_out(count, reason)) for reason, count in job.data.dropped.items()]


def cut_off(job: Job, rows: list[dict[str, Any]]) -> list[Finding]:
    count = sum(any(part["cut"] > 0 for part in parts(row)) for row in rows)
    text = (
        f"{count} of {len(rows)} {'loses its' if count == 1 else 'lose their'} end: longer than the maximum length of "
    )
    return [say("careful", f"{text}{job.knobs.max_length} tokens.")] if count else []


def untrained(rows: list[dict[str, Any]]) -> list[Finding]:
    if not rows:
        return [say("wrong", "No example has a token to learn: all were left out by the trainer.")]
    count = sum(not all(any(token["trained"] for token in part["tokens"]) for part in parts(row)) for row in rows)
    return [say("wrong", f"{count} of {len(rows)} have no token to learn.")] if count else []


def parts(row: dict[str, Any]) -> list[dict[str, Any]]:
    """What should be learned of a row: its text, or each of its answers."""
    return row.get("sides") or [row]


def say(severity: str, text: str) -> Finding:
    return {"severity": severity, "text": text}
