"""Scores that a reward model gives to answers, and judgements of a process reward model, in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from components.theme import escape, html_block, launch_demo

_ANSWER_NAMES = ("The first answer", "The second answer")
_TIE_THRESHOLD = 0.55  # preference probability (0.5 to 1) below which two answers count as equally good


def render_scores(answers: Sequence[str], scores: Sequence[float]) -> str:
    """HTML of one or two answers with their scores, and what the scores mean."""
    best_index = max(range(len(scores)), key=lambda index: scores[index])
    names = _ANSWER_NAMES if len(answers) > 1 else ("The answer",)
    cards_html = "".join(
        _render_score_card(name, answer, score, len(scores) > 1 and index == best_index)
        for index, (name, answer, score) in enumerate(zip(names, answers, scores, strict=True))
    )
    return (
        f'<p class="judged-so" role="status">{escape(describe_scores(scores))}</p><div class="talk">{cards_html}</div>'
    )


def _render_score_card(name: str, answer: str, score: float, is_best: bool) -> str:
    return (
        f'<section class="said-by {"tuned" if is_best else "base"}" aria-label="{name}"><h2>{name}</h2>'
        f'<p class="words-said">{escape(answer)}</p><p class="its-score">{f"{score:+.2f}".replace("-", "−")}</p></section>'
    )


def describe_scores(scores: Sequence[float]) -> str:
    """Sentence about the scores. As in training, sigmoid(difference) is the preference probability (Bradley-Terry)."""
    if len(scores) < 2:
        return "A score has no scale of its own. Give it a second answer, and it says which of the two it finds better."
    probability = 1 / (1 + math.exp(-min(50, abs(scores[0] - scores[1]))))
    if probability < _TIE_THRESHOLD:
        return "It finds both about as good."
    name = _ANSWER_NAMES[scores[1] > scores[0]]
    return f"{name} is better: by these scores it would be preferred {min(99, round(100 * probability))} times in 100."


def render_step_judgements(steps: Sequence[str], probabilities: Sequence[float]) -> str:
    """HTML of each step with its judgement. The first wrong step is named, as later errors may only follow from it.

    probabilities: of each step being right.
    """
    first_wrong_step = next((number for number, probability in enumerate(probabilities, 1) if probability < 0.5), None)
    summary = (
        "Every step looks right."
        if first_wrong_step is None
        else f"Step {first_wrong_step} is the first that looks wrong."
    )
    items_html = "".join(
        _render_step(text, probability) for text, probability in zip(steps, probabilities, strict=True)
    )
    return f'<p class="judged-so" role="status">{summary}</p><ol class="judged">{items_html}</ol>'


def _render_step(text: str, probability: float) -> str:
    is_right = probability >= 0.5
    symbol, label, confidence = ("✓", "right", probability) if is_right else ("✗", "wrong", 1 - probability)
    return (
        f'<li class="{label}"><span class="step-said">{escape(text)}</span>'
        f'<small><span aria-hidden="true">{symbol}</span> {label}, {min(99, round(100 * confidence))} % sure</small></li>'
    )


def _demo() -> None:
    html_block(render_scores(["Gladly. It is croak.", "<b>Croak.</b>"], [2.31, -1.2]))
    html_block(render_scores(["Gladly. It is croak."], [2.31]))
    html_block(render_step_judgements(["First I add 37 and 6. That is 43.", "Then I add 8. That is 52."], [0.97, 0.08]))


if __name__ == "__main__":
    launch_demo(_demo)
