"""Word lists of rewards: words or phrases to search in an answer, none of them empty."""

from __future__ import annotations

from typing import Annotated
from unicodedata import normalize

from pydantic import AfterValidator


def _require_no_empty(words: list[str]) -> list[str]:
    if not all(word.strip() for word in words):
        raise ValueError("one of the words is empty, and that occurs in every answer")
    return words


def normalize_text(text: str, ignore_case: bool) -> str:
    """Text in Unicode NFC form, so that equal letters compare equal; lower case with `ignore_case`."""
    normalized = normalize("NFC", text)
    return normalized.lower() if ignore_case else normalized


WordList = Annotated[list[str], AfterValidator(_require_no_empty)]
