"""Talk: what the base and the tuned model say to the same prompt, side by side, and prompts to begin with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from components.theme import alone, page, safe

SIDES = {"base": "Base, as it was", "tuned": "Tuned, as it is now"}
# A prompt of the list is asked by a hidden button, which takes it from here.
JS = """element.addEventListener('click', event => {
  const chip = event.target.closest('[data-prompt]');
  if (!chip || !document.querySelector('#talk-stop').disabled) return;  // one answer at a time
  tunesmith.prompt = chip.textContent;
  document.querySelector('#talk-chip').click();
});"""
# The prompt of the list that was clicked, else the one that was typed.
ASKED = """(_, prompt, temperature) => {
  const asked = tunesmith.prompt ?? prompt;
  tunesmith.prompt = null;
  return [tunesmith.run, asked, temperature];
}"""
# Goes on from this very result, at the place where examples are chosen.
TEACH = """() => {
  document.dispatchEvent(new CustomEvent('tunesmith:teach', { detail: tunesmith.run }));
  tunesmith.go('choose');
  return [];
}"""
START = '<a class="button" href="#start">Start with something small</a>'
NO_RUN = (
    '<div class="empty"><p>Here you ask the model before and after training the same question. Open a run from the list, or train a '
    f"first model: it takes about a minute.</p><p>{START}</p></div>"
)


@dataclass(frozen=True)
class Asked:
    """What was asked. goes_on: it is the beginning of a text, which the answers continue."""

    prompt: str = ""
    goes_on: bool = False


def pair(texts: dict[str, str], ended: dict[str, dict[str, Any]] | None = None, asked: Asked = Asked()) -> str:
    """Both answers under their question. texts: by side, as far as they are written; ended: {"tokens", "seconds", "why"} by side."""
    begun = f'<span class="begun">{safe(asked.prompt)}</span>' if asked.goes_on else ""
    sides = "".join(side(who, begun, texts.get(who, ""), (ended or {}).get(who)) for who in SIDES)
    return f'<p class="question">{safe(asked.prompt)}</p><div class="talk">{sides}</div>'


def side(who: str, begun: str, text: str, ended: dict[str, Any] | None) -> str:
    said = begun + (safe(text) if text or not ended else '<span class="silent">(nothing)</span>')
    writing = "" if ended else " writing"
    return (f'<section class="said-by {who}" aria-label="{SIDES[who]}"><h2>{SIDES[who]}</h2><p class="words-said{writing}">{said}</p>'
            f"<small>{pace(ended) if ended else ''}</small></section>")  # fmt: skip


def pace(ended: dict[str, Any]) -> str:
    """12 tokens in 0.4 s, and whether the answer was cut."""
    cut = ", cut there: it would go on" if ended["why"] == "longest" else ""
    return f"{ended['tokens']:,} token{'' if ended['tokens'] == 1 else 's'} in {ended['seconds']:.1f} s{cut}"


def empty_pair() -> str:
    """The two answers' places, at their final size."""
    return pair({}, {}).replace("writing", "soon")


def prompts(found: list[str]) -> str:
    """Prompts to ask with one click."""
    chips = "".join(f'<li><button type="button" data-prompt title="{safe(one)}">{safe(one)}</button></li>' for one in found)  # fmt: skip
    return f'<p class="hint">Or ask one of these:</p><ul class="chips">{chips}</ul>' if found else ""


def score(title: str, name: str, before: str, after: str) -> str:
    """What the run is called and how it does on held-out examples. name: what they measure, in words."""
    what = "loss on examples it never saw (lower is better)" if name == "loss" else f"“{name}” on examples it never saw"
    numbers = (f'<p class="score"><span class="before">{safe(before)}</span><span aria-label="to"> → </span>'
               f'<strong>{safe(after)}</strong><small>{safe(what)}, before and after</small></p>')  # fmt: skip
    return f'<div class="tried"><p class="run-title">{safe(title)}</p>{numbers if before else ""}</div>'


def no_result(title: str, going: bool) -> str:
    """Why there is nothing to ask yet, and where to go."""
    why = ("is still learning. Its result comes at the end, or when you stop it: stopping saves." if going
           else "has no result. If it was saved on the way, you can go on from there.")  # fmt: skip
    return f'<div class="empty"><p>“{safe(title)}” {why}</p><p><a class="button" href="#watch">Watch it</a></p></div>'


def example() -> None:
    page(score("First tune", "correct", "0 %", "94 %"))
    page(prompts(["Hello, this is Nora. I forgot my password.", "What <b>colour</b> is the sky?"]), js_on_load=JS)
    ended = {"base": {"tokens": 9, "seconds": 0.4, "why": "finished"}}
    page(pair({"base": "Hello, Nora.", "tuned": '{"team": "acc'}, ended, Asked("What <b>colour</b> is the sky?")))


if __name__ == "__main__":
    alone(example)
