"""Start bar: what starting would do and how long it takes, beside the button that does it."""

from __future__ import annotations

from typing import Any

from components.progress import duration
from components.theme import alone, page, safe

COUNTING = '<p class="promise" aria-busy="true"><strong>Counting the steps …</strong><span>You can start without waiting for this.</span></p>'
STARTING = '<p class="promise" role="status"><strong>Starting …</strong><span>Watch opens as soon as the run has its place.</span></p>'
UNKNOWN = '<p class="promise"><strong>Nothing to start yet.</strong><span>Mend the setup first.</span></p>'
THEN = "You can stop at any moment and keep what was learned."


def promise(plan: dict[str, Any]) -> str:
    """Steps, time, and what comes next."""
    steps = f"{plan['steps']:,} step{'' if plan['steps'] == 1 else 's'} here"
    seconds = plan.get("seconds")
    long = f", about {duration(seconds)}" if seconds else ""
    why = f" {plan['seconds_why']}" if not seconds and plan.get("seconds_why") else ""
    return f'<p class="promise"><strong>{steps}{long}.</strong><span>{THEN}{safe(why)}</span></p>'


def example() -> None:
    page(promise({"steps": 120, "seconds": 50.0}))
    page(promise({"steps": 1, "seconds": None, "seconds_why": "No run has shown yet how quick this machine is."}))


if __name__ == "__main__":
    alone(example)
