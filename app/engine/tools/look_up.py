"""Finds the lines of a text of the row that best match the words asked for."""

from __future__ import annotations

import math
import re
from collections import Counter

from app.engine.contracts import Tool

_MAX_LINES = 3  # lines of one reply
_MAX_LINE_LENGTH = 400  # characters of a line
NOT_FOUND = "Nothing found."


def look_up(text: str, words: str) -> str:
    """
    Finds the lines of a text that best match some words.

    Args:
        words: What to look for.
    """
    lines = _split_lines(text)
    query_words = set(_split_words(str(words)))
    line_words = [set(_split_words(line)) for line in lines]
    document_frequency = Counter(word for line in line_words for word in line)
    line_scores = [
        sum(math.log(1 + len(lines) / document_frequency[word]) for word in query_words & line) for line in line_words
    ]
    best_lines = sorted(
        (index for index, score in enumerate(line_scores) if score > 0), key=lambda index: -line_scores[index]
    )[:_MAX_LINES]
    return "\n".join(lines[index][:_MAX_LINE_LENGTH] for index in best_lines) or NOT_FOUND


def _split_lines(text: str) -> list[str]:
    """The non-empty lines; of a single line its sentences."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.split(r"(?<=[.!?])\s+", lines[0]) if len(lines) == 1 else lines


def _split_words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


TOOL = Tool(title="A look into a text of the row", sentence=__doc__, function=look_up)
