"""Rewards of completions of held-out prompts, one by one and as means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from app.data.conversations.messages import Messages, last_message_text
from app.data.rows import Row, prompt_and_answer
from app.engine.contracts import Metrics
from app.engine.reward_runtime import reward_factory
from app.engine.reward_runtime.error_policy import RewardErrorPolicy, Warn
from app.engine.reward_runtime.reward import final_answer_text
from app.engine.trainers.group_rl.rollout_logging import completion_text
from app.setup.spec import Reward

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RewardScores = dict[str, list[float | None]]  # {reward label: score of each completion, None where it was not scored}


class PromptRow(NamedTuple):
    """A row, its prompt and its expected answer, which may be empty."""

    row: Row
    prompt: str | Messages
    reference: str


class EvalSample(TypedDict):
    """A completion as a sample event shows it. prompt: the text of its last message."""

    prompt: str
    completion: str
    wanted: str
    rewards: Metrics


def prompts_of_rows(rows: list[Row]) -> list[PromptRow]:
    """Rows without a prompt are left out."""
    return [PromptRow(row, *question) for row in rows if (question := prompt_and_answer(row))]


@dataclass(frozen=True)
class CompletionScorer:
    """The rewards of a Spec.

    tokenizer: gives the completions' token ids to rewards that read them. device: of reward models. warn: gets the
    reason why an answer could not be scored; without it Problem is raised when most could not.
    """

    rewards: list[Reward]
    tokenizer: PreTrainedTokenizerBase
    device: str
    warn: Warn | None = None

    def scores(self, prompts: list[PromptRow], completions: list[str]) -> RewardScores:
        """The scores of one completion for each prompt."""
        columns = {name: [prompt.row.get(name) for prompt in prompts] for name in prompts[0].row} | {
            "answer": [prompt.reference if prompt.reference or "answer" in prompt.row else None for prompt in prompts],
            "prompts": [prompt.prompt for prompt in prompts],
            "completion_ids": self.tokenizer(completions, add_special_tokens=False)["input_ids"],
        }
        reward_functions = {
            reward_spec.label: reward_factory.build_reward(reward_spec, self.device) for reward_spec in self.rewards
        }
        return {
            label: RewardErrorPolicy(reward_function, label, self.warn, stops_run=self.warn is None)(
                completions=[*completions], **columns
            )
            for label, reward_function in reward_functions.items()
        }

    def evaluate(
        self, prompts: list[PromptRow], completions: Sequence[str | Messages]
    ) -> tuple[Metrics, list[EvalSample]]:
        """(mean of each reward, the completions with their rewards), both empty without prompts.

        completions: one for each prompt, as text or as messages with tool calls.
        """
        if not prompts:
            return {}, []
        scores = self.scores(prompts, [final_answer_text(completion) for completion in completions])
        samples: list[EvalSample] = [
            {
                "prompt": last_message_text(prompt.prompt),
                "completion": completion_text(completion),
                "wanted": prompt.reference,
                "rewards": {name: reward_scores[index] for name, reward_scores in scores.items()},
            }
            for index, (prompt, completion) in enumerate(zip(prompts, completions, strict=True))
        ]
        return {name: mean_score(reward_scores) for name, reward_scores in scores.items()}, samples


def mean_score(scores: list[float | None]) -> float | None:
    """Mean of the scores that are not None; None without any."""
    known_scores = [score for score in scores if score is not None]
    return sum(known_scores) / len(known_scores) if known_scores else None
