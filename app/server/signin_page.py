"""The sign-in page of a Space: a sign-in button, and who the Space's owner is."""

from __future__ import annotations

import html
from urllib.parse import urlencode


def render_signin_page(space: str, signed_in_name: str | None, parameters: dict[str, str], error_text: str = "") -> str:
    """Renders the complete HTML page.

    signed_in_name: a person who is signed in but is not the owner. parameters: query parameters that must survive the
    sign-in, such as a shared setup.
    """
    owner = html.escape(space.partition("/")[0])
    login_url = html.escape("/login" + (f"?{urlencode(parameters)}" if parameters else ""))
    duplicate_url = html.escape(f"https://huggingface.co/spaces/{space}?duplicate=true")
    if signed_in_name is None:
        explanation = f"Fine-tune a language model by clicking. This Space serves its owner, {owner}, only: sign in if that is you."
        button = "Sign in with Hugging Face"
    else:
        explanation = f"You are signed in as {html.escape(signed_in_name)}. This Space serves its owner, {owner}, only."
        button = "Sign in as somebody else"
    alert_html = f'<p role="alert" class="wrong">{html.escape(error_text)}</p>' if error_text else ""
    return _SIGNIN_PAGE_TEMPLATE.format(
        explanation=explanation, button=button, login_url=login_url, duplicate_url=duplicate_url, alert_html=alert_html
    )


_SIGNIN_PAGE_TEMPLATE = """<!doctype html>
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
{alert_html}<p>{explanation}</p>
<a class="act" href="{login_url}">{button}</a>
<p class="framed">Signing in opens a tab of its own; go on there.</p>
<p>You can have one of your own: <a href="{duplicate_url}" target="_blank" rel="noopener">copy this Space</a>, or run Tunesmith on your own machine.</p>
</main>
<script>
  if (window.top !== window) {{  // the sign-in page of Hugging Face shows itself in no frame
    document.querySelector('a.act').target = '_blank'
    document.querySelector('.framed').style.display = 'block'
  }}
</script></html>
"""
