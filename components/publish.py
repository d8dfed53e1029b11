"""Publish: who is signed in, how far a push is, and how to load what was published."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from components.theme import alone, page, safe

SIGN_IN = (
    "Run <code>hf auth login</code> in a terminal, or start this page with <code>HF_TOKEN</code> set. Then look again."
)
TOKENS = "https://huggingface.co/settings/tokens"
# A copy button takes the text of the piece it names.
JS = """element.addEventListener('click', async event => {
  const button = event.target.closest('[data-copy]');
  if (!button) return;
  try {
    await navigator.clipboard.writeText(element.querySelector(button.dataset.copy).textContent);
    button.textContent = 'Copied';
  } catch {  // a page without https may not write there
    getSelection().selectAllChildren(element.querySelector(button.dataset.copy));
    button.textContent = 'Selected: press Ctrl C';
  }
});"""


def nobody(folder: Path | str, looked: str = "") -> str:
    """looked: when somebody asked whether that has changed."""
    still = (
        f"You are still not signed in to the Hub ({safe(looked)})." if looked else "You are not signed in to the Hub."
    )
    return (f'<p class="who"><strong role="status">{still}</strong> The Hub, huggingface.co, is where people keep and share models; an account is free. {SIGN_IN}</p>'
            f'<p class="who">Without one nothing is lost: the result lies in <code>{safe(folder)}</code> on this machine.</p>')  # fmt: skip


def somebody(name: str, writes: bool, in_space: bool) -> str:
    """Who a push would be from, and whether it may."""
    out = ' <a href="/logout">Sign out</a>' if in_space else ""
    if writes:
        return f'<p class="who">Signed in to the Hub as <strong>{safe(name)}</strong>.{out}</p>'
    return (f'<p class="who careful">Signed in to the Hub as <strong>{safe(name)}</strong>, with a token that can only read. '
            f'Make one that can write at <a href="{TOKENS}" target="_blank" rel="noopener">{TOKENS.removeprefix("https://")}</a> and sign in with it.{out}</p>')  # fmt: skip


def bar(what: str, done: int, of: int) -> str:
    """How far a push is, in words and as a bar."""
    share = done / of if of else 0
    sizes = f" {done / 1e6:.1f} of {of / 1e6:.1f} MB" if of > 100_000 else ""
    return (f'<div class="progress"><div class="track" role="progressbar" aria-label="Publishing" aria-valuemin="0" aria-valuemax="100" '
            f'aria-valuenow="{share * 100:.0f}"><i style="width: {share:.1%}"></i></div>'
            f'<p class="told"><strong role="status">{safe(what)}</strong><span>{sizes}</span></p></div>')  # fmt: skip


def published(kept: dict[str, Any], snippet: str) -> str:
    """Where it is, and the lines that load it."""
    who = "only you and whom you let in can see it" if kept["private"] else "everybody can see it"
    when = time.strftime("%d %b %Y, %H:%M", time.localtime(kept["time"])).lstrip("0")
    newer = '<p class="careful">The run has a newer result since. Publish again to replace it there.</p>' if kept["newer"] else ""  # fmt: skip
    return (f'<div class="published"><p><strong>Published</strong> at <a href="{safe(kept["address"])}" target="_blank" rel="noopener">{safe(kept["repo"])}</a> '
            f"on {when}; {who}.</p>{newer}<p>Load it anywhere:</p><pre>{safe(snippet)}</pre>"
            f'<button type="button" class="button" data-copy="pre">Copy these lines</button></div>')  # fmt: skip


def example() -> None:
    page(nobody("/home/alice/.tunesmith/runs/first-tune/adapter", "14:31"))
    page(somebody("alice", False, False))
    page(bar("Sending the weights", 3_100_000, 8_000_000))
    kept = {"repo": "alice/first-tune", "address": "https://huggingface.co/alice/first-tune", "private": True, "time": 1.8e9, "newer": True}  # fmt: skip
    page(published(kept, 'model = AutoPeftModelForCausalLM.from_pretrained("alice/first-tune")'), js_on_load=JS)


if __name__ == "__main__":
    alone(example)
