"""Tokenized prompts with their reference completions, or conversations, exactly as the chat template renders them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from app.core.problems import Problem
from app.data.conversations.messages import Messages
from app.data.row_types import as_messages
from app.engine.generation.end_tokens import end_token_ids_of
from app.engine.tokens.tokenized_examples import IGNORE_INDEX

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class TokenizedPrompt:
    """Token ids of a prompt and its reference answers.

    prompt_ids: up to the first answer. answer_ids: each with its end token. gap_ids: what stands between two answers.
    """

    prompt_ids: list[int]
    answer_ids: list[list[int]]
    gap_ids: list[list[int]]

    @property
    def completion_ids(self) -> list[int]:
        """All token ids after the prompt."""
        later_turns = zip(self.gap_ids, self.answer_ids[1:], strict=True)
        return [*self.answer_ids[0], *chain.from_iterable(gap + answer for gap, answer in later_turns)]

    @property
    def labels(self) -> list[int]:
        """Labels of prompt and completion: the answers' tokens, IGNORE_INDEX elsewhere."""
        later_turns = zip(self.gap_ids, self.answer_ids[1:], strict=True)
        later_labels = chain.from_iterable([IGNORE_INDEX] * len(gap) + answer for gap, answer in later_turns)
        return [*[IGNORE_INDEX] * len(self.prompt_ids), *self.answer_ids[0], *later_labels]


@dataclass(frozen=True)
class PromptTokenizer:
    """A tokenizer (with the chat template's arguments) and the tokens that end an answer, the tokenizer's own first."""

    tokenizer: PreTrainedTokenizerBase
    end_token_ids: list[int]

    def tokenize(self, prompt: str | Messages, completion: str | Messages) -> TokenizedPrompt:
        """Tokenizes plain text or messages.

        A completion of several messages begins and ends with an answer. Raises Problem.
        """
        if not isinstance(prompt, list):
            answer_ids = self.tokenizer(str(completion), add_special_tokens=False)["input_ids"]
            return TokenizedPrompt(
                self.tokenizer(prompt)["input_ids"], [[*answer_ids, self.tokenizer.eos_token_id]], []
            )
        messages = prompt + as_messages(completion, "assistant")
        answer_indices = [
            position for position in range(len(prompt), len(messages)) if messages[position]["role"] == "assistant"
        ]
        prompt_ids, first_answer_ids = self._split_turn(messages, answer_indices[0])
        tokenized = TokenizedPrompt(prompt_ids, [first_answer_ids], [])
        for index in answer_indices[1:]:
            prefix_ids = tokenized.prompt_ids + tokenized.completion_ids
            prompt_ids, answer_ids = self._split_turn(messages, index)
            _require_prefix(prompt_ids, prefix_ids)
            tokenized = TokenizedPrompt(
                tokenized.prompt_ids,
                [*tokenized.answer_ids, answer_ids],
                [*tokenized.gap_ids, prompt_ids[len(prefix_ids) :]],
            )
        return tokenized

    def _split_turn(self, messages: Messages, index: int) -> tuple[list[int], list[int]]:
        """(token ids before the answer at `index`, token ids of that answer)"""
        prompt_ids = self._conversation_ids(messages[:index], add_generation_prompt=True)
        all_ids = self._conversation_ids(messages[: index + 1])
        _require_prefix(all_ids, prompt_ids)
        return prompt_ids, cut_after_last_end(all_ids[len(prompt_ids) :], self.end_token_ids)

    def _conversation_ids(self, messages: Messages, add_generation_prompt: bool = False) -> list[int]:
        text = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt)
        # The chat template has already written the beginning-of-sequence token.
        return self.tokenizer(str(text), add_special_tokens=False)["input_ids"]


def _require_prefix(token_ids: list[int], prefix_ids: list[int]) -> None:
    if token_ids[: len(prefix_ids)] != prefix_ids:
        raise Problem(
            "The model's chat format writes what came before differently once it goes on, so answers cannot be told apart from it.",
            advice="Learn from the last answer of each conversation, turn the chat format off, or choose another model.",
        )


def cut_after_last_end(token_ids: list[int], end_token_ids: list[int]) -> list[int]:
    """Up to the last end token: what a template writes after it, such as a line break, is not part of an answer."""
    end_positions = [position for position, token_id in enumerate(token_ids) if token_id in end_token_ids]
    return token_ids[: end_positions[-1] + 1] if end_positions else token_ids


def prompt_tokenizer(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> PromptTokenizer:
    """A PromptTokenizer with the end tokens of the tokenizer and of the model's generation config."""
    return PromptTokenizer(tokenizer, end_token_ids_of(model, tokenizer))
