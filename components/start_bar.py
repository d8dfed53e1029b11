"""Summary beside the start button: number of steps and expected duration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.planning.duration import format_expected_time
from components.theme import escape, html_block, launch_demo

if TYPE_CHECKING:
    from app.engine.preview.run_estimate import RunEstimate

COUNTING_HTML = '<p class="promise" aria-busy="true"><strong>Counting the steps …</strong><span>You can start without waiting for this.</span></p>'
STARTING_HTML = '<p class="promise" role="status"><strong>Starting …</strong><span>Watch opens as soon as the run has its place.</span></p>'
NOTHING_TO_START_HTML = (
    '<p class="promise"><strong>Nothing to start yet.</strong><span>Mend the setup first.</span></p>'
)
_STOP_HINT = "You can stop at any moment and keep what was learned."


def render_start_summary(plan: RunEstimate) -> str:
    """HTML of the steps and expected duration in the worker's plan."""
    steps_text = f"{plan['steps']:,} step{'' if plan['steps'] == 1 else 's'} here"
    seconds, between = plan.get("seconds"), plan.get("seconds_range")
    time = format_expected_time(seconds, between)
    duration_text, reason = (f", {time}", "") if time else ("", plan.get("seconds_why") or "")
    if between and not seconds:
        reason = "The time is reckoned from the sizes."
    return f'<p class="promise"><strong>{steps_text}{duration_text}.</strong><span>{_STOP_HINT}{escape(reason and f" {reason}")}</span></p>'


def render_cost(plan: RunEstimate | None, dollars_per_hour: float | None) -> str:
    """HTML of what the run costs at a price. plan: None where it is not counted yet."""
    seconds, between = (plan["seconds"], plan["seconds_range"]) if plan else (None, None)
    limits = [seconds, seconds] if seconds else [between["low"], between["high"]] if between else []
    if not dollars_per_hour:
        text = "With a price, this says what the run costs."
    elif not limits:
        text = "How long it takes is not known yet, and so what it costs."
    else:
        low, high = (_format_dollars(limit / 3600 * dollars_per_hour) for limit in limits)
        text = f"At this price the run costs {f'about {low}' if low == high else f'{low} to {high}'}."
    return f'<p class="quiet">{text}</p>'


def _format_dollars(dollars: float) -> str:
    """At least a cent."""
    return f"${max(0.01, dollars):,.2f}"


def _demo() -> None:
    estimate: RunEstimate = {
        "steps": 120,
        "seconds": 50.0,
        "evaluation_seconds": 4.0,
        "seconds_why": "",
        "seconds_range": None,
        "rows": 413,
        "held_out": 20,
        "eval_sets": {},
        "tokens": None,
        "lengths": None,
        "truncated": None,
        "empty": None,
        "left_out": {},
        "effective_batch": 16,
        "memory": None,
        "memory_changes": [],
    }
    html_block(render_start_summary(estimate))
    estimate |= {"steps": 1, "seconds": None, "seconds_why": "No run has shown yet how quick this machine is."}
    html_block(render_start_summary(estimate))
    estimate |= {"seconds_range": {"low": 200.0, "high": 560.0}}
    html_block(render_start_summary(estimate))
    html_block(render_cost(estimate, 2.5))


if __name__ == "__main__":
    launch_demo(_demo)
