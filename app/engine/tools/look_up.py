"""Finds the lines of a text of the row that best match the words asked for."""

from __future__ import annotations

import math
import re
from collections import Counter

TITLE = "A look into a text of the row"

MOST = 3  # lines of one answer
LONGEST = 400  # characters of a line
NOTHING = "Nothing found."


def look_up(text: str, words: str) -> str:
    """
    Finds the lines of a text that best match some words.

    Args:
        words: What to look for.
    """
    lines = lines_of(text)
    wanted = set(words_of(str(words)))
    said = [set(words_of(line)) for line in lines]
    found = Counter(word for line in said for word in line)
    worth = [sum(math.log(1 + len(lines) / found[word]) for word in wanted & line) for line in said]
    best = sorted((place for place, one in enumerate(worth) if one > 0), key=lambda place: -worth[place])[:MOST]
    return "\n".join(lines[place][:LONGEST] for place in best) or NOTHING


def lines_of(text: str) -> list[str]:
    """Its lines; of a text in one piece its sentences."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return re.split(r"(?<=[.!?])\s+", lines[0]) if len(lines) == 1 else lines


def words_of(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())
