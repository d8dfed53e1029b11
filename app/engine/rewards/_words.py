"""Words: what rewards look for in an answer, one or more words or phrases, of which none is empty."""

from __future__ import annotations

from typing import Annotated
from unicodedata import normalize

from pydantic import AfterValidator


def none_empty(words: list[str]) -> list[str]:
    if not all(word.strip() for word in words):
        raise ValueError("one of the words is empty, and that occurs in every answer")
    return words


def looked_for(text: str, ignore_case: bool) -> str:
    """As it is compared: one letter is one sign, however it was typed."""
    whole = normalize("NFC", text)
    return whole.lower() if ignore_case else whole


Words = Annotated[list[str], AfterValidator(none_empty)]
