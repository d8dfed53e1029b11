"""Progress: how far a run is, in a bar and in words, and its verdict."""

from __future__ import annotations

from typing import Any

from components.look import alone, page, safe
from components.notices import findings

Story = list[dict[str, Any]]

STATES = {
    "new": "Not started",
    "waiting": "Waiting for its turn",
    "preparing": "Getting ready",
    "loading": "Loading the model",
    "training": "Learning",
    "evaluating": "Testing on examples kept aside",
    "saving": "Saving",
    "stopping": "Stopping after this step, then saving",
    "finished": "Finished",
    "stopped": "Stopped",
    "failed": "Failed",
    "lost": "Gone: the process ended without a last word",
}
ENDED = ("new", "finished", "stopped", "failed", "lost")


def progress(state: str, story: Story) -> str:
    """The bar, the words under it, the verdict or the problem, and what deserves care."""
    step = last(story, "step") or {"step": 0, "of": 0, "seconds_left": None}
    share = step["step"] / step["of"] if step["of"] else 0
    return (
        f'<div class="progress" data-state="{safe(state)}">{bar(share, step, state)}'
        f'<p class="told"><strong role="status">{STATES.get(state, safe(state))}</strong>{"".join(words(state, step, story))}</p>'
        f"{verdict(story)}{findings(cares(state, story))}</div>"
    )


def bar(share: float, step: dict[str, Any], state: str) -> str:
    ended = " ended" if state in ENDED and state != "finished" else ""
    return (
        f'<div class="track{ended}" role="progressbar" aria-label="Training" aria-valuemin="0" aria-valuemax="{step["of"]}" '
        f'aria-valuenow="{step["step"]}"><i style="width: {share:.1%}"></i></div>'
    )


def words(state: str, step: dict[str, Any], story: Story) -> list[str]:
    """Step, time left, and who is ahead in the queue."""
    said = []
    waiting = last(story, "progress") if state == "waiting" else None
    if waiting:
        said.append(f"{waiting['of']} ahead")
    if step["of"]:
        said.append(f"step {step['step']:,} of {step['of']:,}")
    if state not in ENDED and step.get("seconds_left"):
        said.append(f"{duration(step['seconds_left'])} left")
    return [f"<span>{text}</span>" for text in said]


def verdict(story: Story) -> str:
    done = story[-1] if story and story[-1]["kind"] == "done" else {}
    return f'<p class="verdict" role="status">{safe(done["verdict"])}</p>' if done.get("verdict") else ""


def cares(state: str, story: Story) -> list[dict[str, str]]:
    """What the person should know: careful notes, why it failed, how to go on."""
    found = [{"severity": note["level"], "text": note["text"]} for note in story
             if note["kind"] == "note" and note["level"] != "info"]  # fmt: skip
    if state == "failed" and story and story[-1]["kind"] == "failed":
        found.append({"severity": "wrong", "text": f"{story[-1]['text']} {story[-1]['advice']}".strip()})
    if state == "lost":
        found.append({"severity": "wrong", "text": "The computer may have been restarted, or memory ran out. "
                      "What was saved is still there, and the run can be resumed from it."})  # fmt: skip
    return found


def duration(seconds: float) -> str:
    """14 s, 3 min, 2 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def last(story: Story, kind: str) -> dict[str, Any] | None:
    return next((event for event in reversed(story) if event["kind"] == kind), None)


def example() -> None:
    page(progress("training", [{"kind": "step", "step": 84, "of": 120, "seconds_left": 14.0}]))
    page(progress("finished", [{"kind": "step", "step": 120, "of": 120},
                               {"kind": "done", "verdict": "On held-out prompts “correct” went from 12% to 88%."}]))  # fmt: skip


if __name__ == "__main__":
    alone(example)
