"""What a rehearsal found, in sentences for the page and the command line."""

from __future__ import annotations

from collections.abc import Iterator

from app.contracts import Finding, Remedy, Severity
from app.core.dates import format_duration
from app.core.sizes import format_bytes
from app.planning.rehearsal import RehearsalResult

_WORSE_THAN_GUESSING = 1.1  # times the loss of a model that guesses
_FREED_SHARE = 1.5  # times the estimate: what a program on a processor holds, with memory that it has freed and keeps
_ALIKE = 0.1  # part of a number that no correction is told of


def rehearsal_findings(result: RehearsalResult, planned_seconds: float | None = None) -> list[Finding]:
    """The worst first. planned_seconds: of the whole run, as it was estimated before; None where it was not."""
    findings = [*_memory_findings(result), *_loss_findings(result), _time_finding(result, planned_seconds)]
    order: tuple[Severity, ...] = ("wrong", "careful", "good")
    return sorted(findings, key=lambda finding: order.index(finding["severity"]))


def _finding(name: str, severity: Severity, text: str, remedy: Remedy | None = None) -> Finding:
    return {"id": name, "severity": severity, "text": text, "count": 0, "rows": [], "remedy": remedy}


def _memory_findings(result: RehearsalResult) -> Iterator[Finding]:
    if result["attempts"]:
        count = len(result["attempts"])
        times = "once" if count == 1 else f"{count} times"
        titles = "; ".join(
            f"{attempt['change']['title']}: {attempt['change']['reason']}" for attempt in result["attempts"]
        )
        text = f"Memory ran out {times}. It fits with {'this change' if count == 1 else 'these changes'}. {titles}"
        remedy: Remedy = {"title": "Use what fits", "changes": dict(result["settings"])}
        yield _finding("out_of_memory", "careful", text, remedy)
    text = f"It took at most {format_bytes(result['peak_bytes'])} of memory"
    if result["memory"]:
        low, high = result["memory"]
        text += f"; estimated were {format_bytes(low)} to {format_bytes(high)}"
        if high < result["peak_bytes"] <= _FREED_SHARE * high and result["counts_freed"]:
            text += " at once; on a processor the program also keeps memory that it has freed"
        elif result["peak_bytes"] > high:
            yield _finding("memory", "careful", f"{text}, which was too little.")
            return
    yield _finding("memory", "good", f"{text}.")


def _loss_findings(result: RehearsalResult) -> Iterator[Finding]:
    loss, guessing = result["first_loss"], result["guessing_loss"]
    if loss is None or guessing is None:
        return
    numbers = f"The first loss is {loss:.2f}; a model that only guesses has {guessing:.2f}"
    if loss > _WORSE_THAN_GUESSING * guessing:
        text = (
            f"{numbers}. It knows less than nothing about these examples: mostly the chat format or the tokenizer "
            "belongs to another model, or the weights are damaged."
        )
        yield _finding("first_loss", "wrong", text)
    else:
        yield _finding("first_loss", "good", f"{numbers}.")


def _time_finding(result: RehearsalResult, planned_seconds: float | None) -> Finding:
    seconds = result["run_seconds"]
    text = (
        f"{result['steps']} real steps went well, {result['step_seconds']:.2g} s for an average one: all {result['run_steps']:,} "
        f"take about {format_duration(seconds)}"
    )
    if planned_seconds and abs(seconds - planned_seconds) > _ALIKE * planned_seconds:
        word = "more" if seconds > planned_seconds else "less"
        text += f", {100 * abs(seconds / planned_seconds - 1):.0f} % {word} than estimated"
    return _finding("time", "good", f"{text}.")
