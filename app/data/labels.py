"""Labels: what a verdict on an answer or a step means, from standard words and from a person's choices."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache

from app.data.fields import Cell, as_text
from app.setup.sources import LabelChoice

MAX_LISTED_NUMBERS = 12  # more distinct numbers are divided into bands
_BINARY_NUMBERS = ({0.0, 1.0}, {-1.0, 1.0})  # sets of numbers that mean bad and good
_GOOD_SHARE, _BAD_SHARE = 0.6, 0.4  # of the range of numbers: above is good, below is bad, between is left out
_MIN_DIGITS, _MAX_DIGITS = 2, 17  # of the bound of a band: short where that suffices, else all that a number has


def _words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


_GOOD_WORDS = _words(
    "true yes y good up 1 + +1 👍 ✓ ✔ ✅ like liked likes upvote upvoted desirable desired accept accepted approve "
    "approved helpful harmless safe correct right positive pos chosen preferred better ok okay pass passed satisfied "
    "useful valid great excellent"
) | {"thumbs up", "thumb up", "very good"}
_BAD_WORDS = _words(
    "false no n bad down 0 - -1 👎 ✗ ✘ ❌ dislike disliked dislikes downvote downvoted undesirable undesired reject "
    "rejected disapprove disapproved unhelpful harmful unsafe incorrect wrong negative neg worse fail failed "
    "unsatisfied dissatisfied useless invalid poor terrible"
) | {"thumbs down", "thumb down", "very bad", "not good", "not helpful", "not ok", "not okay"}
_COMPARISON = re.compile(r"(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?)")
_STARS = re.compile(r"[★⭐*]+[☆✩]*|[1-9]\d?\s*(?:stars?|/\s*(?:5|10))", re.IGNORECASE)


def parse_label(label: Cell) -> LabelChoice | None:
    """What a verdict means by the standard words: good, bad, or left out; None where it is none of these.

    A single number says little: 1 is good only where the whole column holds two numbers, see `undecided_numbers`.
    """
    if isinstance(label, bool):
        return "good" if label else "bad"
    words = _normalize(as_text(label))
    if words == "left out":
        return "left_out"
    return "good" if words in _GOOD_WORDS else "bad" if words in _BAD_WORDS else None


def as_flag(label: Cell) -> bool | None:
    """A yes/no mark as a bool; None where it is neither."""
    return {"good": True, "bad": False}.get(parse_label(label) or "")


def apply_choices(label: Cell, choices: Mapping[str, LabelChoice]) -> Cell:
    """The label, or the elements of a list of labels, with each one that a person decided on replaced by the choice."""
    if not choices:
        return label
    if isinstance(label, list):
        return [apply_choices(element, choices) for element in label]
    return choose(label, choices) or label


def choose(label: Cell, choices: Mapping[str, LabelChoice]) -> LabelChoice | None:
    """A person's choice for a label: by its text, whatever its case, else by the nearest comparison such as `>=0.7`."""
    text = label_text(label)
    choice = choices.get(text) or _choices_by_lower_text(tuple(choices.items())).get(text.lower())
    number = label_number(label)
    if choice or number is None:
        return choice
    comparison = nearest_comparison(number, choices)
    return choices[comparison] if comparison is not None else None


@lru_cache(maxsize=64)
def _choices_by_lower_text(choices: tuple[tuple[str, LabelChoice], ...]) -> dict[str, LabelChoice]:
    """Choices by the texts of their labels, in lower case. Kept, as each label of a file is looked up among them."""
    return {label_text(key).lower(): choice for key, choice in choices}


def nearest_comparison(number: float, keys: Iterable[str]) -> str | None:
    """The comparison that the number meets whose bound is nearest to it; None where it meets none."""
    bounds = [(abs(bound - number), key) for key in keys if (bound := _bound(key, number)) is not None]
    return min(bounds)[1] if bounds else None


def label_text(label: Cell) -> str:
    """A label as the text under which a person decides on it: `4` for 4, 4.0 and " 4 "."""
    text = ("true" if label else "false") if isinstance(label, bool) else as_text(label).strip()
    return text.removesuffix(".0")


def label_number(label: Cell) -> float | None:
    """The number that a label is, also as text in a table; None for anything else."""
    if isinstance(label, bool) or not isinstance(label, int | float | str):
        return None
    try:
        number = float(label)
    except (ValueError, OverflowError):  # boundary: a person's file
        return None
    return number if math.isfinite(number) else None


def undecided_numbers(
    labels: Iterable[Cell], choices: Mapping[str, LabelChoice], is_binary: bool = True
) -> list[float]:
    """The numbers, also of stars, ascending, whose meaning only a person knows: those without a choice.

    is_binary: where these are all, 0 and 1, or -1 and 1, are bad and good.
    """
    numbers: dict[float, LabelChoice | None] = {}
    for label in labels:
        if (number := label_rank(label)) is not None:
            numbers[number] = choose(label, choices)
            is_binary = is_binary and label_number(label) is not None  # one star is not a yes
    if is_binary and any(numbers.keys() <= binary for binary in _BINARY_NUMBERS):
        return []
    return sorted(number for number, choice in numbers.items() if choice is None)


def is_verdict_like(label: Cell) -> bool:
    """Whether a cell may be a verdict: a yes/no label, a number, or stars."""
    if parse_label(label) is not None or label_number(label) is not None:
        return True
    return isinstance(label, str) and bool(_STARS.fullmatch(label.strip()))


def is_verdict_word(label: Cell) -> bool:
    """Whether a cell is a word, a sign or stars that tell good from bad; numbers and true or false alone may mean
    anything."""
    if not isinstance(label, str) or label_number(label) is not None or _normalize(label) in ("true", "false"):
        return False
    return is_verdict_like(label)


def suggest_choices(labels: Iterable[Cell], is_reversed: bool = False) -> dict[str, LabelChoice]:
    """The likely meaning of numbers or stars: high ones are good, low ones bad, those between are left out.

    is_reversed: high ones are bad, as of a toxicity. Empty where there are not two different numbers.
    """
    by_text = {label_text(label): number for label in labels if (number := label_rank(label)) is not None}
    numbers = sorted({*by_text.values()})
    if len(numbers) < 2:
        return {}
    high, low = ("bad", "good") if is_reversed else ("good", "bad")
    lowest, span = numbers[0], numbers[-1] - numbers[0]
    if len(numbers) > MAX_LISTED_NUMBERS or not all(number.is_integer() or number % 0.5 == 0 for number in numbers):
        lower, upper = _band_bounds(lowest, numbers[-1])
        return {f">={upper}": high, f">={lower}": "left_out", f"<{lower}": low}  # type: ignore[dict-item]
    are_integers = all(label_number(text) is not None and number.is_integer() for text, number in by_text.items())
    if are_integers and span < MAX_LISTED_NUMBERS:  # later rows may hold the numbers between
        by_text = {str(number): float(number) for number in range(int(lowest), int(numbers[-1]) + 1)}
    shares = {text: (number - lowest) / span for text, number in sorted(by_text.items(), key=lambda pair: -pair[1])}
    return {
        text: high if share > _GOOD_SHARE else low if share < _BAD_SHARE else "left_out"  # type: ignore[misc]
        for text, share in shares.items()
    }


def _band_bounds(lowest: float, highest: float) -> tuple[str, str]:
    """The bounds between low, middle and high numbers, with as few digits as leave numbers on both sides of each."""
    exact_bounds = [lowest + share * (highest - lowest) for share in (_BAD_SHARE, _GOOD_SHARE)]
    for num_digits in range(_MIN_DIGITS, _MAX_DIGITS + 1):
        lower, upper = (Decimal(f"{bound:.{num_digits}g}") for bound in exact_bounds)
        if lowest < lower < upper <= highest:
            break
    return f"{lower:f}", f"{upper:f}"  # without an exponent, as comparisons are written


def label_rank(label: Cell) -> float | None:
    """The number that a label is, or that of its stars; None for words."""
    number = label_number(label)
    if number is not None or not isinstance(label, str) or not _STARS.fullmatch(label.strip()):
        return number
    digits = re.match(r"\d+", label.strip())
    return float(digits[0]) if digits else float(sum(label.count(star) for star in "★⭐*"))


def _normalize(text: str) -> str:
    """A word in lower case, its parts separated by blanks."""
    text = text.strip().lower().removesuffix(".0")
    return re.sub(r"[_\s-]+", " ", text).strip() if any(map(str.isalpha, text)) else text


def _bound(key: str, number: float) -> float | None:
    """The bound of a comparison such as `>=0.7` that the number meets; None where it does not, or there is none."""
    comparison = _parse_comparison(key)
    if not comparison:
        return None
    sign, bound = comparison
    is_met = {">=": number >= bound, "<=": number <= bound, ">": number > bound, "<": number < bound}[sign]
    return bound if is_met else None


@lru_cache(maxsize=1024)
def _parse_comparison(key: str) -> tuple[str, float] | None:
    """The sign and the bound of a comparison; None for any other text."""
    comparison = _COMPARISON.fullmatch(key.strip())
    return (comparison[1], float(comparison[2])) if comparison else None
