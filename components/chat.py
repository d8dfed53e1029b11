"""Chat with the base and the tuned model side by side: answers, suggested prompts, and the score before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from components import scripts
from components.theme import escape, html_block, launch_demo

if TYPE_CHECKING:
    from app.engine.generation.chat import ChatCompletion

MODEL_TITLES = {"base": "Base, as it was", "tuned": "Tuned, as it is now"}
# Makes an event `select` of the suggestion that is clicked, with `prompt`, its text.
JS = scripts.on_load("chat")
# Opens Choose with this run's result as the model to continue from.
TEACH_MORE_JS = scripts.call("chat", "continueFromResult")
START_LINK = '<a class="button" href="#start">Start with something small</a>'
NO_RUN_HTML = (
    '<div class="empty"><p>Here you ask the model before and after training the same question. Open a run from the list, or train a '
    f"first model: it takes about a minute.</p><p>{START_LINK}</p></div>"
)


@dataclass(frozen=True)
class ChatPrompt:
    """A prompt sent to both models. is_continuation: the models continue this text instead of answering it."""

    text: str = ""
    is_continuation: bool = False


def render_answer_pair(
    texts: dict[str, str], stats_by_model: dict[str, ChatCompletion] | None = None, prompt: ChatPrompt = ChatPrompt()
) -> str:
    """HTML of both answers below their prompt. Both arguments are keyed by "base" and "tuned".

    texts: the answers as far as they are generated. stats_by_model: {"tokens", "seconds", "why"} of finished answers.
    """
    prefix_html = f'<span class="begun">{escape(prompt.text)}</span>' if prompt.is_continuation else ""
    answers_html = "".join(
        _render_answer(model_key, prefix_html, texts.get(model_key, ""), (stats_by_model or {}).get(model_key))
        for model_key in MODEL_TITLES
    )
    return f'<p class="question">{escape(prompt.text)}</p><div class="talk">{answers_html}</div>'


def _render_answer(model_key: str, prefix_html: str, text: str, stats: ChatCompletion | None) -> str:
    answer_html = prefix_html + (escape(text) if text or not stats else '<span class="silent">(nothing)</span>')
    writing_class = "" if stats else " writing"
    return (
        f'<section class="said-by {model_key}" aria-label="{MODEL_TITLES[model_key]}"><h2>{MODEL_TITLES[model_key]}</h2><p class="words-said{writing_class}">{answer_html}</p>'
        f"<small>{_generation_stats(stats) if stats else ''}</small></section>"
    )


def _generation_stats(stats: ChatCompletion) -> str:
    """Such as "12 tokens in 0.4 s", and whether the answer was cut at the token limit."""
    cut_text = ", cut there: it would go on" if stats["why"] == "longest" else ""
    return f"{stats['tokens']:,} token{'' if stats['tokens'] == 1 else 's'} in {stats['seconds']:.1f} s{cut_text}"


def render_empty_pair() -> str:
    """HTML of two empty answers, at their final size."""
    return render_answer_pair({}, {}).replace("writing", "soon")


def render_prompt_suggestions(suggestions: list[str]) -> str:
    """HTML of suggested prompts, each sent with one click."""
    chips = "".join(
        f'<li><button type="button" data-prompt title="{escape(suggestion)}">{escape(suggestion)}</button></li>'
        for suggestion in suggestions
    )
    return f'<p class="hint">Or ask one of these:</p><ul class="chips">{chips}</ul>' if suggestions else ""


def render_score_change(title: str, metric: str, before: str, after: str, result_words: str = "") -> str:
    """HTML of a run's title and its held-out score before and after training. metric: the metric's label, or "loss".
    result_words: from which step the result is."""
    description = (
        "loss on examples it never saw (lower is better)"
        if metric == "loss"
        else f"“{metric}” on examples it never saw"
    )
    score_html = (
        f'<p class="score"><span class="before">{escape(before)}</span><span aria-label="to"> → </span>'
        f"<strong>{escape(after)}</strong><small>{escape(description)}, before and after</small></p>"
    )
    words_html = f'<p class="result-step">{escape(result_words)}</p>' if result_words else ""
    title_html = f'<p class="run-title">{escape(title)}</p>'
    return f'<div class="tried">{title_html}{score_html if before else ""}{words_html}</div>'


def render_no_result(title: str, is_running: bool) -> str:
    """HTML that says why a run has no result to chat with yet, and links to Watch."""
    reason = (
        "is still learning. Its result comes at the end, or when you stop it: stopping saves."
        if is_running
        else "has no result. If it was saved on the way, you can go on from there."
    )
    return (
        f'<div class="empty"><p>“{escape(title)}” {reason}</p><p><a class="button" href="#watch">Watch it</a></p></div>'
    )


def _demo() -> None:
    html_block(render_score_change("First tune", "correct", "0 %", "94 %"))
    html_block(
        render_prompt_suggestions(["Hello, this is Nora. I forgot my password.", "What <b>colour</b> is the sky?"]),
        js_on_load=JS,
    )
    stats: dict[str, ChatCompletion] = {
        "base": {"text": "Hello, Nora.", "tokens": 9, "seconds": 0.4, "why": "finished"}
    }
    html_block(
        render_answer_pair(
            {"base": "Hello, Nora.", "tuned": '{"team": "acc'}, stats, ChatPrompt("What <b>colour</b> is the sky?")
        )
    )


if __name__ == "__main__":
    launch_demo(_demo)
