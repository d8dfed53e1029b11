"""Village: the words the samples and the practice model share, and the rule that keeps test rows back."""

import tomllib
from pathlib import Path
from random import Random
from zlib import crc32

WORDS = tomllib.loads((Path(__file__).parent / "words" / "village.toml").read_text(encoding="utf-8"))
FOODS = WORDS["counted"] + WORDS["uncounted"]
NAMES = WORDS["children"] + [person["name"] for person in WORDS["people"]]
LARGEST = 49  # both numbers of a sum stay below fifty, so a result has at most two digits


def kept_back(text: str) -> bool:
    """Whether this text belongs to the held-out side: about one in six, the same ones always."""
    return crc32(text.encode()) % 6 == 0


def held_out(a: int, b: int) -> bool:
    """Whether this sum, in either order, is kept for the test."""
    return kept_back(f"{min(a, b)} and {max(a, b)}")


def pick_sum(random: Random, lowest: int = 0, largest: int = LARGEST) -> tuple[int, int]:
    """Two numbers whose sum may be shown in training."""
    while True:
        a, b = random.randint(lowest, largest), random.randint(lowest, largest)
        if not held_out(a, b):
            return a, b


def in_words(number: int) -> str:
    """The number from 0 to 99 in words: 42 is 'forty-two'."""
    if number < 20:
        return WORDS["ones"][number]
    tens, ones = divmod(number, 10)
    return WORDS["tens"][tens] + (f"-{WORDS['ones'][ones]}" if ones else "")


def sentence(text: str) -> str:
    """The text with a capital first letter and a full stop."""
    return text[0].upper() + text[1:] + "."


def ticket(random: Random) -> tuple[str, str, bool]:
    """A support message, the team that should answer it, and whether it is urgent."""
    team, urgent = random.choice(list(WORDS["troubles"])), random.random() < 0.5
    trouble = random.choice(WORDS["troubles"][team])
    mood = random.choice(WORDS["moods"]["urgent" if urgent else "calm"])
    body = [sentence(trouble), sentence(mood)]
    if random.random() < 0.3:
        body.reverse()
    text = " ".join([f"{random.choice(WORDS['greetings'])}, this is {random.choice(NAMES)}.", *body])
    return text.format(product=random.choice(WORDS["products"]), city=random.choice(WORDS["cities"])), team, urgent
