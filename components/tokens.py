"""Tokens: one example as the model will see it, with what is learned underlined as well as coloured."""

from __future__ import annotations

from typing import Any

from components.look import alone, page, safe

SHOWN = 4_000  # tokens of one example; a browser lays out no more at once without a pause

LEGEND = """<p class="legend"><span><span class="token trained">learned</span> what the model is trained to say</span>
<span><span class="token">read only</span> what it reads and is not trained on</span>
<span><span class="token special">special</span> marks that begin and end a turn</span></p>"""

WAITING = '<div class="tokens" aria-busy="true">Reading the examples. The first look takes a few seconds.</div>'

# The arrow keys turn the page while the example has the focus.
KEYS = """element.addEventListener('keydown', event => {
  const name = {ArrowLeft: 'previous', ArrowRight: 'next'}[event.key];
  if (name) document.querySelector(`#${name}`)?.click();
});"""


def example_html(row: dict[str, Any]) -> str:
    """A row of tokens, {"text", "trained", "special"}, every text escaped."""
    tokens = "".join(token_html(token) for token in row["tokens"][:SHOWN])
    rest = row["length"] - SHOWN
    more = f"\n… and {rest:,} more tokens." if rest > 0 else ""
    return f'<div class="tokens" tabindex="0" role="group" aria-label="The example’s tokens">{tokens}{more}</div>'


def token_html(token: dict[str, Any]) -> str:
    """Line ends are shown, and a piece of a character that has no text of its own is a dot."""
    kinds = [kind for kind in ("trained", "special") if token[kind]]
    text = safe(token["text"]).replace("\n", "⏎\n") or "·"
    return f'<span class="{" ".join(["token", *kinds])}" title="{title(token)}">{text}</span>'


def title(token: dict[str, Any]) -> str:
    return f"token {int(token['id'])}, {'learned' if token['trained'] else 'read only'}"


def count_html(rows: list[dict[str, Any]], at: int) -> str:
    """Which example this is, and how much of it and of all shown is learned."""
    here, all_learned = learned(rows[at]), sum(map(learned, rows))
    length = max(1, sum(len(row["tokens"]) for row in rows))
    return (
        f'<p class="count">Example {at + 1} of {len(rows)}: {here:,} of {rows[at]["length"]:,} tokens are learned'
        f"<small>Of all {len(rows)} shown, {all_learned / length:.0%} is learned; the longest has "
        f"{max(row['length'] for row in rows):,} tokens.</small></p>"
    )


def learned(row: dict[str, Any]) -> int:
    return sum(token["trained"] for token in row["tokens"])


def example() -> None:
    words = [("<user>", 0, 1), ("What is ", 0, 0), ("<b>2 + 2</b>?", 0, 0), ("\n", 0, 0), ("It is ", 1, 0), ("4", 1, 0), ("<end>", 1, 1)]  # fmt: skip
    row = {"tokens": [{"text": t, "id": i, "trained": bool(a), "special": bool(b)} for i, (t, a, b) in enumerate(words)], "length": 7}  # fmt: skip
    page(count_html([row], 0))
    page(example_html(row), js_on_load=KEYS)
    page(LEGEND)


if __name__ == "__main__":
    alone(example)
