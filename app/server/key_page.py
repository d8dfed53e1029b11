"""The page that asks for the access key, and the one that loads itself again."""

from __future__ import annotations

import html
import json
from urllib.parse import parse_qsl

from starlette.requests import HTTPConnection

FORGET = "forget"  # the parameter of an address that says: the remembered host was wrong
_HEAD = '<!doctype html><meta charset="utf-8"><title>Tunesmith</title>'
RELOAD_PAGE = f'{_HEAD}<meta http-equiv="refresh" content="0">'
_REMEMBER_HOST = (
    "<script>localStorage.page = {origin}; location.replace({origin} + location.pathname + location.search)</script>"
)
_GO_TO_HOST = """<script>
  if (new URLSearchParams(location.search).has('forget')) localStorage.removeItem('page')
  else if (localStorage.page) location.replace(localStorage.page + location.pathname + location.search + location.hash)
</script>"""


def redirect_page(address: str) -> str:
    """A page that leads to this address."""
    return f'{_HEAD}<meta http-equiv="refresh" content="0; url={html.escape(address)}">'


def render_entry(origin: str) -> str:
    """A page that lets the browser remember where the page is, and leads there. origin: such as http://host:7860."""
    return _HEAD + _REMEMBER_HOST.format(origin=json.dumps(origin))


def render_key_page(request: HTTPConnection, is_entry: bool, warns_of_plain_http: bool = False) -> str:
    """The form that asks for the key. Other query parameters, such as a shared setup, are kept as hidden inputs.

    is_entry: at the host where links lead to; from there, a browser that was signed in goes on to the page.
    warns_of_plain_http: for a page that other machines reach; a browser that has come by https takes the warning away.
    """
    parameters = parse_qsl(request.url.query)
    hidden_inputs = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(text)}">'
        for name, text in parameters
        if name not in ("key", FORGET)
    )
    is_wrong_key = any(name == "key" for name, _ in parameters)
    explanation = (
        "This key was used already, or is another start's."
        if is_wrong_key
        else "This page belongs to whoever started it."
    )
    script = _GO_TO_HOST if is_entry and not is_wrong_key else ""
    warning = _PLAIN_HTTP_WARNING if warns_of_plain_http else ""
    return _KEY_PAGE_TEMPLATE.format(explanation=explanation, hidden_inputs=hidden_inputs, warning=warning) + script


PLAIN_HTTP_SENTENCE = (
    "Over plain HTTP, whoever is on the way between a browser and this page can read the key and all that follows: use "
    "https or an SSH tunnel where you do not trust the network."
)
_PLAIN_HTTP_WARNING = f"""<p id="plain-http" style="color: var(--careful)">{PLAIN_HTTP_SENTENCE}</p>
<script>if (isSecureContext) document.getElementById('plain-http').remove()</script>"""
_KEY_PAGE_TEMPLATE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tunesmith: the key, please</title>
<style>
  :root {{ color-scheme: light dark; --page: #FBFAF7; --card: #FFFFFF; --ink: #1F2428; --quiet: #5B6570; --line: #8A929B; --careful: #B45309 }}
  @media (prefers-color-scheme: dark) {{ :root {{ --page: #14171A; --card: #1C2024; --ink: #ECEFF1; --quiet: #9AA5B1; --line: #6B7580; --careful: #F5B14C }} }}
  body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--page); color: var(--ink);
         font: 15px/1.5 system-ui, sans-serif }}
  form {{ box-sizing: border-box; width: min(100% - 32px, 440px); padding: 24px; background: var(--card);
         border: 1px solid color-mix(in srgb, var(--line) 40%, transparent); border-radius: 10px }}
  h1 {{ font-size: 24px; margin: 0 0 8px }} p {{ margin: 0 0 16px; color: var(--quiet) }} label {{ display: block; margin-bottom: 4px }}
  input, button {{ font: inherit; box-sizing: border-box; width: 100%; padding: 8px 12px; border-radius: 10px; border: 1px solid var(--line);
         background: transparent; color: inherit }}
  button {{ margin-top: 16px; background: var(--ink); color: var(--card); border-color: var(--ink); cursor: pointer }}
  :focus-visible {{ outline: 2px solid var(--ink); outline-offset: 2px }}
</style>
<form method="get" action="/"><h1>Tunesmith</h1>
<p>{explanation} A key signs in one browser. The newest stands in the terminal, at the end of the address that was printed last; a browser
that is signed in gives you another: <em>Open in another browser</em>, beside the list of runs.</p>
{warning}{hidden_inputs}<label for="key">Key</label><input id="key" name="key" autocomplete="off" autofocus required>
<button>Open the page</button></form></html>
"""
