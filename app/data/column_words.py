"""Names of columns as words, and whether the cells of a column can be what a name promises."""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.data.conversations.messages import ROLE_ALIASES
from app.data.fields import Cell

_WORD_BORDER = re.compile(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[a-z])(?=\d)")


def _words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


_SPEAKERS = {
    role: frozenset(name for name, alias in ROLE_ALIASES.items() if alias == role) for role in ("user", "assistant")
}
QUESTION_WORDS = _SPEAKERS["user"] | {"prompt", "question", "instruction", "query", "ask", "problem"}
ANSWER_WORDS = _SPEAKERS["assistant"] | {"answer", "response", "reply", "output", "completion", "solution"}
REASONING_WORDS = frozenset({"reasoning", "cot", "thinking", "thought", "thoughts", "rationale", "scratchpad"})
REJECTED_WORDS = frozenset({"rejected", "reject", "dispreferred", "refused", "worse", "worst", "loser", "losing"})
CHOSEN_WORDS = frozenset({"chosen", "preferred", "better", "best", "winner", "winning", "accepted", "reference"})
# Words of names of verdicts on an answer; of the second set, more is worse.
_GOOD_VERDICT_WORDS = _words(
    "label liked thumb thumbs vote votes upvotes feedback rating ratings stars star score scores grade verdict "
    "judgement judgment good helpful helpfulness harmless safe safety correct correctness quality preference "
    "preferred winner accepted approved kto desirable satisfaction csat reward coherence usefulness truthfulness "
    "honesty accuracy valid"
)
NEGATIVE_VERDICT_WORDS = _words(
    "bad toxic toxicity harmful harm unsafe wrong incorrect flagged spam disliked downvotes hallucination "
    "hallucinated undesirable jailbreak jailbreaking invalid failed"
)
VERDICT_WORDS = _GOOD_VERDICT_WORDS | NEGATIVE_VERDICT_WORDS
MEDIA_WORDS = _words("audio audios wav mp3 video videos mp4")
# Words of names of columns that say something about a row and are no text for a model, whatever the cells hold.
_ABOUT_ROW_WORDS = _words(
    "id ids uuid guid date time timestamp created updated url link links email hash sha sha1 sha256 md5 author labeler "
    "labeller annotator reviewer worker language lang locale license version split index idx category type tag "
    "tags name names file filename path"
)
# Words of names that are about an answer, or of another answer than the one to learn.
_NO_ROLE_WORDS = (
    (VERDICT_WORDS | REASONING_WORDS | REJECTED_WORDS | CHOSEN_WORDS | MEDIA_WORDS)
    - {"correct", "good", "helpful", "accepted", "valid", "best", "reference"}
)  # fmt: skip
TURN_KEYS = frozenset({"from", "value", "role", "content"})  # names of the fields of a turn

_NO_TEXT = (
    re.compile(r"\S*\d\S*"),  # an id, a hash, a number: one word with a digit
    re.compile(r"[0-9a-fA-F-]{8,}"),
    re.compile(r"(?:https?://|www\.)\S+"),
    re.compile(r"\S+@\S+\.\w+"),
    re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}(?:[T ].*)?"),  # a date
    re.compile(r"\d{1,2}:\d{2}(?::\d{2})?.*"),
    re.compile(r"[+-]?[\d.,]+\s*\S{0,3}"),
)
_PERSON = re.compile(r"(?:(?:Dr|Mr|Mrs|Ms|Prof)\.? )?[A-ZÀ-Þ][\w'’-]+(?: [A-ZÀ-Þ]\.)?(?: [A-ZÀ-Þ][\w'’-]+){1,2}")
_MIN_PROSE_WORDS = 3  # on average, of cells that are sentences
_MIN_SHARE = 0.7  # of the cells must be text
_MIN_DISTINCT_SHARE = 0.3  # of the cells differ, where they are text rather than names of kinds


def name_words(name: str) -> list[str]:
    """The words of a column's name in lower case, also of one written like `userPrompt`."""
    return [word.lower() for word in _WORD_BORDER.split(name) if word]


def has_word(name: str, words: frozenset[str]) -> bool:
    """Whether a part of the name is one of these words, also in the plural."""
    return any(word in words or word.removesuffix("s") in words for word in name_words(name))


def describes_row(name: str) -> bool:
    """Whether a name says that the column is an id, a date, a person or the like."""
    return has_word(name, _ABOUT_ROW_WORDS)


def names_role(name: str, words: frozenset[str]) -> bool:
    """Whether a name with one of these words promises a question or an answer, and not a verdict, a reasoning or a fact
    about one, such as `answer_score` or `customer_id`."""
    return has_word(name, words) and not describes_row(name) and not has_word(name, _NO_ROLE_WORDS - words)


def is_text_column(cells: Sequence[Cell]) -> bool:
    """Whether most cells are text for a model: no ids, dates, addresses or names of people."""
    texts = [cell.strip() for cell in cells if isinstance(cell, str) and cell.strip()]
    if not texts or len(texts) < _MIN_SHARE * len(cells):
        return False
    plain_texts = [text for text in texts if not any(pattern.fullmatch(text) for pattern in _NO_TEXT)]
    if len(plain_texts) < _MIN_SHARE * len(texts):
        return False
    return not all(_PERSON.fullmatch(text) for text in plain_texts)


def is_prose_column(cells: Sequence[Cell]) -> bool:
    """Whether most cells are sentences that differ from one another, or text as structured as JSON."""
    if not is_text_column(cells):
        return False
    texts = [cell for cell in cells if isinstance(cell, str) and cell.strip()]
    if len({*texts}) < max(min(2, len(texts)), _MIN_DISTINCT_SHARE * len(texts)):
        return False
    num_words = sum(len(text.split()) for text in texts) / len(texts)
    num_sentences = sum(text.rstrip().endswith((".", "?", "!", "。", "？", "！", "”", "}", "]")) for text in texts)
    return num_words >= _MIN_PROSE_WORDS or num_sentences > len(texts) / 2
