"""Told: a question and its true answer, or a whole conversation, in tokens, as the model reads it and would write it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.core.problems import Problem
from app.data.row_types import as_messages
from app.engine.tokens.tokenized_examples import UNLEARNED


@dataclass(frozen=True)
class Told:
    """prompt: up to where the first answer begins. answers: each with its end token. between: what stands between two of them."""

    prompt: list[int]
    answers: list[list[int]]
    between: list[list[int]]

    @property
    def answer(self) -> list[int]:
        """All that follows the prompt."""
        rest = [part for pair in zip(self.between, self.answers[1:], strict=True) for part in pair]
        return [one for part in (self.answers[0], *rest) for one in part]

    @property
    def labels(self) -> list[int]:
        """Of prompt and answer: the answers' own tokens."""
        rest = [
            part
            for between, answer in zip(self.between, self.answers[1:], strict=True)
            for part in ([UNLEARNED] * len(between), answer)
        ]
        return [one for part in ([UNLEARNED] * len(self.prompt), self.answers[0], *rest) for one in part]


@dataclass(frozen=True)
class Words:
    """tokenizer: with the template's arguments. ends: tokens that end an answer, the tokenizer's own first."""

    tokenizer: Any
    ends: list[int]

    def told(self, prompt: Any, completion: Any) -> Told:
        """Of plain text, or of turns. A completion of several turns is a conversation that begins and ends with an answer. Raises Problem."""
        if not isinstance(prompt, list):
            answer = self.tokenizer(str(completion), add_special_tokens=False)["input_ids"]
            return Told(self.tokenizer(prompt)["input_ids"], [[*answer, self.tokenizer.eos_token_id]], [])
        turns = prompt + as_messages(completion, "assistant")
        places = [i for i in range(len(prompt), len(turns)) if turns[i]["role"] == "assistant"]
        asked, first = self.turn(turns, places[0])
        found = Told(asked, [first], [])
        for place in places[1:]:
            so_far = found.prompt + found.answer
            asked, answer = self.turn(turns, place)
            require_beginning(asked, so_far)
            found = Told(found.prompt, [*found.answers, answer], [*found.between, asked[len(so_far) :]])
        return found

    def turn(self, turns: list[dict[str, Any]], place: int) -> tuple[list[int], list[int]]:
        """(all before an answer, the answer)"""
        asked = self.tokenizer.apply_chat_template(turns[:place], add_generation_prompt=True, return_dict=True)[
            "input_ids"
        ]
        whole = self.tokenizer.apply_chat_template(turns[: place + 1], return_dict=True)["input_ids"]
        require_beginning(whole, asked)
        return asked, ended(whole[len(asked) :], self.ends)


def require_beginning(whole: list[int], part: list[int]) -> None:
    if whole[: len(part)] != part:
        raise Problem(
            "The model's chat format writes what came before differently once it goes on, so answers cannot be told apart from it.",
            advice="Learn from the last answer of each conversation, turn the chat format off, or choose another model.",
        )


def ended(answer: list[int], ends: list[int]) -> list[int]:
    """Up to its end token: what a format writes after it, such as a new line, is no part of an answer."""
    places = [i for i, one in enumerate(answer) if one in ends]
    return answer[: places[-1] + 1] if places else answer


def upto(written: list[int], ends: list[int]) -> list[int]:
    """Up to the first token that ends an answer, that one too."""
    place = next((i for i, one in enumerate(written) if one in ends), len(written) - 1)
    return written[: place + 1]


def words_of(model: Any, tokenizer: Any) -> Words:
    told = model.generation_config.eos_token_id
    more = told if isinstance(told, list) else [told]
    own = tokenizer.eos_token_id
    return Words(tokenizer, [own, *(one for one in more if one not in (own, None))])
