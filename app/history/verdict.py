"""Verdict on a run: its worst diagnosis, and what its first and last evaluation say of examples it never saw."""

from __future__ import annotations

from collections.abc import Sequence

from app.history import metric_labels
from app.history.diagnoses import diagnose_events
from app.history.summary import EvalComparison, compare_evals, compare_losses, eval_metrics
from app.runs.events import Event
from app.setup.spec import Spec


def verdict(run_events: Sequence[Event], spec: Spec, eval_count: int, is_over: bool = False) -> str:
    """The verdict: the worst diagnosis on a line of its own, where there is one, then the comparison, which is empty when
    there are not two evaluations. eval_count: held-out examples in one evaluation. is_over: see `diagnose_events`."""
    diagnoses = diagnose_events(run_events, spec, is_over)
    comparison = comparison_text(run_events, spec, eval_count)
    return "\n".join([diagnoses[0].sentences, comparison]) if diagnoses else comparison


def comparison_text(run_events: Sequence[Event], spec: Spec, eval_count: int) -> str:
    """What the first and the last evaluation say; empty when there are not two."""
    evaluations = eval_metrics(run_events)
    comparison, losses = compare_evals(evaluations), compare_losses(evaluations)
    if comparison is None:
        return ""
    eval_examples = f"{eval_count:,} example{'s' if eval_count != 1 else ''}" if eval_count else "examples"
    changes = [_describe_change(comparison, spec)]
    if losses and comparison.name != "loss":
        changes.append(_describe_change(losses, spec))
    return f"On {eval_examples} it never saw, {', and '.join(changes)}."


def _describe_change(comparison: EvalComparison, spec: Spec) -> str:
    """“the loss fell from 4.38 to 0.05 (lower is better)”"""
    name, before, after = comparison.name, comparison.first_text, comparison.last_text
    subject = "the loss" if name == "loss" else f"“{metric_labels.eval_labels(spec.to_dict()).get(name, name)}”"
    verb = "rose" if comparison.last > comparison.first else "fell"
    change = f"stayed at {after}" if before == after else f"{verb} from {before} to {after}"
    return f"{subject} {change}{' (lower is better)' if name == 'loss' else ''}"


def without_diagnosis(verdict_text: str) -> str:
    """The comparison of a stored verdict, for readers that show the diagnoses themselves."""
    return verdict_text.rpartition("\n")[2]
