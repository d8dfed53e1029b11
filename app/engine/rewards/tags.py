"""The share of wanted tags, such as <think> and <answer>, that are opened and closed exactly once and in their order."""

from __future__ import annotations

from pydantic import field_validator

from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.setup.knob import Knobs, knob


class Params(Knobs):
    tags: list[str] = knob(
        ["think", "answer"], "The names of the tags, in the order they should come, one on each line."
    )
    nothing_else: bool = knob(False, "Only white space may stand outside the tags; otherwise the answer earns nothing.")

    @field_validator("tags")
    @classmethod
    def check_tags(cls, tags: list[str]) -> list[str]:
        if not tags or not all(tag and tag.isidentifier() for tag in tags) or len(set(tags)) < len(tags):
            raise ValueError("each tag should be a name of letters, such as think, and come once")
        return tags


def make(params: Params) -> PerRowReward:
    def score(completion: str) -> float:
        if params.nothing_else and _text_outside_tags(completion, params.tags).strip():
            return 0.0
        position, correct_tags = 0, 0
        for tag in params.tags:
            opening, closing = completion.find(f"<{tag}>", position), completion.find(f"</{tag}>", position)
            occurs_once = completion.count(f"<{tag}>") == completion.count(f"</{tag}>") == 1
            if occurs_once and position <= opening < closing:
                correct_tags, position = correct_tags + 1, closing
        return correct_tags / len(params.tags)

    return PerRowReward(score)


def _text_outside_tags(text: str, tags: list[str]) -> str:
    """The text without the first span of each tag."""
    for tag in tags:
        before, opening, rest = text.partition(f"<{tag}>")
        _inside, closing, after = rest.partition(f"</{tag}>")
        text = before + after if opening and closing else text
    return text


REWARD = RewardDefinition(
    title="Thinks and answers in tags",
    sentence=__doc__,
    params=Params,
    make=make,
)
