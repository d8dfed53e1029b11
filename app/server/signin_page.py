"""Doorway: the calm page in front of a Space: sign in, or whom this Space serves."""

from __future__ import annotations

import html
from urllib.parse import urlencode


def doorway(space: str, name: str | None, rest: dict[str, str], problem: str = "") -> str:
    """A whole HTML page. name: somebody who is signed in and is not the owner; rest: what the address carries along."""
    owner = html.escape(space.partition("/")[0])
    login = html.escape("/login" + (f"?{urlencode(rest)}" if rest else ""))
    copy = html.escape(f"https://huggingface.co/spaces/{space}?duplicate=true")
    if name is None:
        said = f"Fine-tune a language model by clicking. This Space serves its owner, {owner}, only: sign in if that is you."
        button = "Sign in with Hugging Face"
    else:
        said = f"You are signed in as {html.escape(name)}. This Space serves its owner, {owner}, only."
        button = "Sign in as somebody else"
    alert = f'<p role="alert" class="wrong">{html.escape(problem)}</p>' if problem else ""
    return DOORWAY.format(said=said, button=button, login=login, copy=copy, alert=alert)


DOORWAY = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tunesmith</title>
<style>
  :root {{ color-scheme: light dark; --page: #FBFAF7; --card: #FFFFFF; --ink: #1F2428; --quiet: #5B6570; --line: #8A929B; --wrong: #B91C1C }}
  @media (prefers-color-scheme: dark) {{ :root {{ --page: #14171A; --card: #1C2024; --ink: #ECEFF1; --quiet: #9AA5B1; --line: #6B7580;
         --wrong: #F87171 }} }}
  body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--page); color: var(--ink);
         font: 15px/1.5 system-ui, sans-serif }}
  main {{ box-sizing: border-box; width: min(100% - 32px, 440px); padding: 24px; background: var(--card);
         border: 1px solid color-mix(in srgb, var(--line) 40%, transparent); border-radius: 10px }}
  h1 {{ font-size: 24px; margin: 0 0 8px }} p {{ margin: 0 0 16px; color: var(--quiet) }} p.wrong {{ color: var(--wrong) }}
  a {{ color: inherit }} p:last-child {{ margin: 16px 0 0; font-size: 13px }}
  a.act {{ display: block; padding: 8px 12px; border-radius: 10px; background: var(--ink); color: var(--card); text-align: center;
         text-decoration: none }}
  :focus-visible {{ outline: 2px solid var(--ink); outline-offset: 2px }}
  .framed {{ display: none }}
</style>
<main><h1>Tunesmith</h1>
{alert}<p>{said}</p>
<a class="act" href="{login}">{button}</a>
<p class="framed">Signing in opens a tab of its own; go on there.</p>
<p>You can have one of your own: <a href="{copy}" target="_blank" rel="noopener">copy this Space</a>, or run Tunesmith on your own machine.</p>
</main>
<script>
  if (window.top !== window) {{  // the sign-in page of Hugging Face shows itself in no frame
    document.querySelector('a.act').target = '_blank'
    document.querySelector('.framed').style.display = 'block'
  }}
</script></html>
"""
