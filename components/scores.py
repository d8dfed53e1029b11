"""Opinion: what a model that scores says of answers, or of each step of a solution, in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from components.theme import alone, page, safe

NAMES = ("The first answer", "The second answer")
ALIKE = 0.55  # of 1: below this both are called about as good


def scores(answers: Sequence[str], found: Sequence[float]) -> str:
    """One or two answers with their scores, and what these mean."""
    best = max(range(len(found)), key=lambda i: found[i])
    names = NAMES if len(answers) > 1 else ("The answer",)
    cards = "".join(
        card(name, answer, score, len(found) > 1 and i == best)
        for i, (name, answer, score) in enumerate(zip(names, answers, found, strict=True))
    )
    return f'<p class="judged-so" role="status">{safe(verdict(found))}</p><div class="talk">{cards}</div>'


def card(name: str, answer: str, score: float, best: bool) -> str:
    return (f'<section class="said-by {"tuned" if best else "base"}" aria-label="{name}"><h2>{name}</h2>'
            f'<p class="words-said">{safe(answer)}</p><p class="its-score">{f"{score:+.2f}".replace("-", "−")}</p></section>')  # fmt: skip


def verdict(found: Sequence[float]) -> str:
    """A difference of scores is read as in training: as how often the higher one would be preferred (Bradley-Terry)."""
    if len(found) < 2:
        return "A score has no scale of its own. Give it a second answer, and it says which of the two it finds better."
    sure = 1 / (1 + math.exp(-min(50, abs(found[0] - found[1]))))
    if sure < ALIKE:
        return "It finds both about as good."
    name = NAMES[found[1] > found[0]]
    return f"{name} is better: by these scores it would be preferred {min(99, round(100 * sure))} times in 100."


def steps(told: Sequence[str], chances: Sequence[float]) -> str:
    """Each step with its judgement; the first that looks wrong is named, as all after it may only follow from it."""
    wrong = next((number for number, chance in enumerate(chances, 1) if chance < 0.5), None)
    said = "Every step looks right." if wrong is None else f"Step {wrong} is the first that looks wrong."
    items = "".join(step(text, chance) for text, chance in zip(told, chances, strict=True))
    return f'<p class="judged-so" role="status">{said}</p><ol class="judged">{items}</ol>'


def step(text: str, chance: float) -> str:
    right = chance >= 0.5
    mark, word, share = ("✓", "right", chance) if right else ("✗", "wrong", 1 - chance)
    return (f'<li class="{word}"><span class="step-said">{safe(text)}</span>'
            f'<small><span aria-hidden="true">{mark}</span> {word}, {min(99, round(100 * share))} % sure</small></li>')  # fmt: skip


def example() -> None:
    page(scores(["Gladly. It is croak.", "<b>Croak.</b>"], [2.31, -1.2]))
    page(scores(["Gladly. It is croak."], [2.31]))
    page(steps(["First I add 37 and 6. That is 43.", "Then I add 8. That is 52."], [0.97, 0.08]))


if __name__ == "__main__":
    alone(example)
