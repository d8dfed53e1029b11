"""How likely the answer is written in a certain language, from 0 to 1; answers too short to tell are left out."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from pydantic import field_validator

from app.engine.knob import Knobs, knob
from app.engine.rewarding.reward import per_row

TITLE = "Written in a language"


class Params(Knobs):
    language: str = knob("en", "The language, by its two letters: en, de, fr, es, zh and many more.")
    letters: int = knob(20, "Shorter answers are not judged.", low=1, high=10_000, unit="letters")

    @field_validator("language")
    @classmethod
    def it_is_known(cls, value: str) -> str:
        if not (len(value) == 2 and value.isascii() and value.isalpha()):
            raise ValueError("it should be a language's two letters, such as en")
        return value.lower()


def make(params: Params) -> per_row:
    def score(completion: str) -> float | None:
        if len(completion.strip()) < params.letters:
            return None
        return judge().get(params.language, completion)

    return per_row(score)


class Judge:
    """py3langid with probabilities. Its model is a few megabytes and lies in the package."""

    def __init__(self) -> None:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        self.identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    def get(self, language: str, text: str) -> float:
        told: dict[str, Any] = dict(self.identifier.rank(text))
        if language not in told:
            raise ValueError(f"the language “{language}” is not known")
        return float(told[language])


@lru_cache(maxsize=1)
def judge() -> Judge:
    return Judge()
