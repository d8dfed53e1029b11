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

    Empty where nothing was measured: then the result is the last step's, and nothing is to be said of it.
    """
    if record["metric"] is None or record["best_step"] is None or record["best"] is None:
        return ""
    name, last_step = record["metric"], record["last_step"]
    measure, extreme = _measure_name(name, spec), "lowest" if name == "loss" else "highest"
    best_text, last_text = _value_texts(name, record["best"], record["last"])
    all_steps = f"the last step, {last_step:,}" + (f" of {record['of']:,}" if last_step < record["of"] else "")
    if record["best_step"] == last_step:
        sentence = f"The result is from {all_steps}: there {measure} was {extreme}, {best_text}."
    elif record["step"] == last_step:
        there = f"there {measure} was {last_text}; it" if last_text else f"{measure}, which was not measured there,"
        sentence = (
            f"The result is from {all_steps}: {there} was {extreme} at step {record['best_step']:,}, {best_text}."
        )
    else:
        end = f"at the end it was {last_text}" if last_text else f"the last step, {last_step:,}, was not tested"
        sentence = f"The result is from step {record['step']:,} of {record['of']:,}: there {measure} was {extreme}, {best_text}; {end}."
    return _early_sentence(record, measure) + sentence


def _early_sentence(record: ResultRecord, measure: str) -> str:
    """Why the run stopped early; empty where it did not."""
    if record["patience"] is None:
        return ""
    tests = "the last test" if record["patience"] == 1 else f"the last {record['patience']:,} tests"
    return f"Stopped early at step {record['last_step']:,} of {record['of']:,}, because {measure} did not improve in {tests}. "


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
