"""The share of wanted tags, such as <think> and <answer>, that are opened and closed exactly once and in their order."""

from __future__ import annotations

from pydantic import field_validator

from app.engine.reward_runtime.reward import per_row
from app.setup.knob import Knobs, knob

TITLE = "Thinks and answers in tags"


class Params(Knobs):
    tags: list[str] = knob(
        ["think", "answer"], "The names of the tags, in the order they should come, one on each line."
    )
    nothing_else: bool = knob(False, "Only white space may stand outside the tags; otherwise the answer earns nothing.")

    @field_validator("tags")
    @classmethod
    def tags_are_names(cls, value: list[str]) -> list[str]:
        if not value or not all(tag and tag.isidentifier() for tag in value) or len(set(value)) < len(value):
            raise ValueError("each tag should be a name of letters, such as think, and come once")
        return value


def make(params: Params) -> per_row:
    def score(completion: str) -> float:
        if params.nothing_else and outside(completion, params.tags).strip():
            return 0.0
        at, right = 0, 0
        for tag in params.tags:
            opened, closed = completion.find(f"<{tag}>", at), completion.find(f"</{tag}>", at)
            once = completion.count(f"<{tag}>") == completion.count(f"</{tag}>") == 1
            if once and at <= opened < closed:
                right, at = right + 1, closed
        return right / len(params.tags)

    return per_row(score)


def outside(text: str, tags: list[str]) -> str:
    """What stands in none of the tags."""
    for tag in tags:
        before, opened, rest = text.partition(f"<{tag}>")
        _inside, closed, after = rest.partition(f"</{tag}>")
        text = before + after if opened and closed else text
    return text
