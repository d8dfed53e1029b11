"""From which step the result of a run is, and why, in one or two sentences."""

from __future__ import annotations

from app.core.json_types import JsonObject
from app.core.problems import Problem
from app.history import metric_labels
from app.history.summary import format_metric
from app.runs.result import ResultRecord, read_result, result_step
from app.runs.store import Run


def result_words(run: Run) -> str:
    """`describe_result` of a run; empty where its result, or a file of it, is missing or damaged."""
    try:
        record = read_result(run)
        return describe_result(record, run.spec.to_dict()) if record else ""
    except (Problem, OSError):  # boundary: the disk, and runs that are being deleted
        return ""


def known_result_step(run: Run) -> int | None:
    """The step of the result; None where its record is missing or damaged: then the events say what the engine left."""
    try:
        return result_step(run)
    except Problem:  # boundary: the disk
        return None


def describe_result(record: ResultRecord, spec: JsonObject) -> str:
    """Such as “The result is from step 40 of 60: there the held-out loss was lowest, 1.23; at the end it was 1.31.”

    Empty where nothing was measured after the start: then it is the last step's, and nothing is to be said of it.
    """
    sentences: list[str] = []
    measure = _measure_name(record["metric"] or "", spec)
    if record["patience"] is not None:
        tests = "the last test" if record["patience"] == 1 else f"the last {record['patience']:,} tests"
        end = f"step {record['last_step']:,} of {record['of']:,}"
        sentences.append(f"Stopped early at {end}, because {measure} did not improve in {tests}.")
    if record["metric"] is not None and record["best_step"] is not None and record["best"] is not None:
        texts = _value_texts(record["metric"], record["best"], record["last"])
        sentences.append(_origin_sentence(record, record["best_step"], measure, texts))
    if record["lost_step"] is not None:
        sentences.append(f"Step {record['lost_step']:,} had measured better, but has no checkpoint that can be used.")
    return " ".join(sentences)


def _origin_sentence(record: ResultRecord, best_step: int, measure: str, texts: tuple[str, str]) -> str:
    """From which step the result is. texts: the measure there where it is best, and at the last step."""
    (best, last), last_step, of = texts, record["last_step"], record["of"]
    extreme = "lowest" if record["metric"] == "loss" else "highest"
    if record["step"] != last_step:
        end = f"at the end it was {last}" if last else f"the last step, {last_step:,}, was not tested"
        return f"The result is from step {record['step']:,} of {of:,}: there {measure} was {extreme}, {best}; {end}."
    origin = f"The result is from the last step, {last_step:,}" + (f" of {of:,}" if last_step < of else "")
    if best_step == last_step:
        return f"{origin}: there {measure} was {extreme}, {best}."
    there = f"there {measure} was {last}; it" if last else f"{measure}, which was not measured there,"
    return f"{origin}: {there} was {extreme} at step {best_step:,}, {best}."


def _measure_name(name: str, spec: JsonObject) -> str:
    """As the subject of a sentence."""
    if name == "loss":
        return "the held-out loss"
    return f"“{metric_labels.eval_labels(spec).get(name, name)}” on held-out examples"


def _value_texts(name: str, best: float, last: float | None) -> tuple[str, str]:
    """Both values for people, with more digits where they would look equal; the last is empty where it was not
    measured."""
    if last is None:
        return format_metric(name, best), ""
    texts = format_metric(name, best), format_metric(name, last)
    return (f"{best:.4g}", f"{last:.4g}") if texts[0] == texts[1] and best != last else texts
