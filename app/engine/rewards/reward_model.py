"""The score that a model gives which learned to score: one of your runs, or one from the Hub."""

from __future__ import annotations

from typing import Any, Literal

from app.engine.reward_runtime.reward import text_of
from app.setup.knob import Knobs, knob

TITLE = "A reward model"


class Params(Knobs):
    model: str = knob(
        "",
        "Which model gives the score: a run of yours that learned to score answers, or one from the Hub.",
        picks="model",
    )
    squash: Literal["sigmoid", "none"] = knob(
        "sigmoid", "What becomes of the model's own score, which has no bounds.",
        choices={"sigmoid": "A number between 0 and 1, where 0.5 is an ordinary answer: easy to read and to weigh.",
                 "none": "It stays as it is: the very best answers still stand out from the good ones."})  # fmt: skip


class Scores:
    """A callable(completions, prompts=…) -> scores. The model is loaded when it is first asked; device: where to."""

    columns: tuple[str, ...] = ()
    given = ("prompts",)
    device = "cpu"

    def __init__(self, params: Params):
        self.params, self.__name__ = params, "reward_model"

    def __call__(self, completions: list[Any], **columns: Any) -> list[float | None]:
        from app.engine.evaluation.scoring import asked, sigmoid

        if not self.params.model or not completions:
            return [None] * len(completions)
        found = asked(self.params.model, self.device, columns["prompts"], [text_of(one) for one in completions])
        if self.params.squash == "none":
            return found
        return [None if one is None else sigmoid(one) for one in found]


def lacking(params: Params) -> str | None:
    """What it cannot work without, as the end of a sentence."""
    from app.engine.evaluation.scoring import unfit

    return unfit(params.model) if params.model else "has no model that could give a score"


def make(params: Params) -> Scores:
    return Scores(params)
