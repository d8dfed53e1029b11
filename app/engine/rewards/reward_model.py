"""The score that a model gives which learned to score: one of your runs, or one from the Hub."""

from __future__ import annotations

from typing import Literal

from app.data.conversations.split_prompt import as_messages
from app.data.fields import Cell
from app.engine.contracts import Completion, RewardDefinition
from app.engine.reward_runtime.reward import Score, final_answer_text
from app.setup.knob import Knobs, knob


class Params(Knobs):
    model: str = knob(
        "",
        "Which model gives the score: a run of yours that learned to score answers, or one from the Hub.",
        picks="model",
    )
    squash: Literal["sigmoid", "none"] = knob(
        "sigmoid",
        "What becomes of the model's own score, which has no bounds.",
        choices={
            "sigmoid": "A number between 0 and 1, where 0.5 is an ordinary answer: easy to read and to weigh.",
            "none": "It stays as it is: the very best answers still stand out from the good ones.",
        },
    )


class _RewardModelReward:
    """A reward function (completions, prompts=…) -> scores. The model is loaded on `device` when first needed."""

    columns: tuple[str, ...] = ()
    trainer_columns: tuple[str, ...] = ("prompts",)
    device = "cpu"

    def __init__(self, params: Params):
        self.params, self.__name__ = params, "reward_model"

    def __call__(self, completions: list[Completion], **columns: list[Cell]) -> list[Score]:
        from app.engine.evaluation.scoring import score_with_model, sigmoid

        if not self.params.model or not completions:
            return [None] * len(completions)
        prompts = [prompt if isinstance(prompt, str) else as_messages(prompt, "user") for prompt in columns["prompts"]]
        answers = [final_answer_text(completion) for completion in completions]
        scores = score_with_model(self.params.model, self.device, prompts, answers)
        if self.params.squash == "none":
            return [*scores]
        return [None if score is None else sigmoid(score) for score in scores]


def lacking(params: Params) -> str | None:
    """What is missing for this reward to work, as the end of a sentence; None when nothing is."""
    from app.engine.evaluation.scoring import unsuitable_reason

    return unsuitable_reason(params.model) if params.model else "has no model that could give a score"


def make(params: Params) -> _RewardModelReward:
    return _RewardModelReward(params)


REWARD = RewardDefinition(
    title="A reward model",
    sentence=__doc__,
    params=Params,
    make=make,
    lacking=lacking,
)
