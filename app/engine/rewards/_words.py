"""Words: what rewards look for in an answer, one or more words or phrases, of which none is empty."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def none_empty(words: list[str]) -> list[str]:
    if not all(word.strip() for word in words):
        raise ValueError("one of the words is empty, and that occurs in every answer")
    return words


Words = Annotated[list[str], AfterValidator(none_empty)]
