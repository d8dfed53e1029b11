"""Diagnoses: what a run's own numbers say went wrong, each with what helps; for page, command line, pipelines and card."""

from __future__ import annotations

from collections.abc import Sequence

from app.history.diagnoses.evidence import Diagnosis, Evidence, evidence_from_events
from app.history.diagnoses.examples import diagnose_examples, diagnose_gain, diagnose_learning
from app.history.diagnoses.optimization import diagnose_effort, diagnose_optimization
from app.history.diagnoses.rewards import diagnose_rewards
from app.runs.events import Event
from app.setup.spec import Spec

__all__ = ["Diagnosis", "Evidence", "diagnose", "diagnose_events"]

_CAUSES = (diagnose_examples, diagnose_rewards)
_SYMPTOMS = (diagnose_effort, diagnose_gain)  # only where no cause is known


def diagnose(run: Evidence) -> list[Diagnosis]:
    """What went wrong, the gravest first; empty for a healthy run. A symptom that a cause explains is left out."""
    run = run.of_result()
    broken = [diagnosis for diagnosis in diagnose_optimization(run) if diagnosis]
    diagnoses = broken + [diagnosis for rule in _CAUSES for diagnosis in rule(run) if diagnosis]
    if not broken:  # a broken model shows everything else, too
        diagnoses += [diagnosis for diagnosis in diagnose_learning(run) if diagnosis]
    for rule in _SYMPTOMS:
        if not any(diagnosis.severity == "wrong" for diagnosis in diagnoses):
            diagnoses += [diagnosis for diagnosis in rule(run) if diagnosis]
    return sorted(diagnoses, key=lambda diagnosis: diagnosis.severity == "careful")


def diagnose_events(
    run_events: Sequence[Event], spec: Spec, is_over: bool = False, result_step: int | None = None
) -> list[Diagnosis]:
    """The diagnoses of a run by its current events; the arguments are those of `evidence_from_events`."""
    return diagnose(evidence_from_events(run_events, spec, is_over, result_step))
