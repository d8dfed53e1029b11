"""Access: who may talk to the page on this machine: a browser that was given the key, asking for this very address."""

from __future__ import annotations

import html
import secrets
from urllib.parse import parse_qsl, urlencode

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


# The page needs nothing from elsewhere, and the browser sees to it: what a hostile row smuggled in could not call home.
# Gradio builds its templates and inline styles at run time, hence the two `unsafe-` words.
def headers_for(frames: str) -> dict[str, str]:
    """frames: whose pages may show this one in a frame."""
    return {
        "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
        f"base-uri 'self'; form-action 'self'; frame-ancestors {frames}",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }


HEADERS = headers_for("'none'")


class Access:
    """ASGI around the page. `key` opens it once per browser, which then holds a cookie for as long as this server runs.

    Host is checked because a name that somebody else owns can be pointed at 127.0.0.1 (DNS rebinding), Origin because any
    page may send a form here. Cookies know no ports, so the name says which one.
    """

    def __init__(self, app: ASGIApp, port: int, key: str | None = None):
        self.app = app
        self.key = key or secrets.token_urlsafe(16)
        self.cookie = f"tunesmith-{port}"
        self.pass_ = secrets.token_urlsafe(32)
        self.hosts = (f"127.0.0.1:{port}", f"localhost:{port}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        answer = self.answer(HTTPConnection(scope))
        if answer is None:
            await self.app(scope, receive, with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await answer(scope, receive, with_headers(send))

    def answer(self, request: HTTPConnection) -> Response | None:
        """What to say instead of the page; None lets the request in."""
        host = request.headers.get("host", "")
        if host not in self.hosts:
            return PlainTextResponse(f"Open this page as http://{self.hosts[0]}/.", 421)
        if self.from_elsewhere(request, host):
            return PlainTextResponse("Another site may not use this page.", 403)
        given = request.query_params.get("key")
        if given is not None and same(given, self.key):
            return self.welcome(request, host)
        if same(request.cookies.get(self.cookie, ""), self.pass_):
            return None
        if request.headers.get("sec-fetch-site") == "cross-site":
            return HTMLResponse(AGAIN)  # a link from elsewhere: browsers withhold a strict cookie on its first request
        return HTMLResponse(key_page(request, wrong=given is not None), 401)

    def from_elsewhere(self, request: HTTPConnection, host: str) -> bool:
        """Sent by another site's page; following a link from there is fine, that is a person's doing."""
        if any(origin != f"http://{host}" for origin in request.headers.getlist("origin")):
            return True
        if request.headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
            return False  # same-site is another port of this machine, which may be another person's
        link = request.scope.get("method") == "GET" and request.headers.get("sec-fetch-dest") == "document"
        return not link

    def welcome(self, request: HTTPConnection, host: str) -> Response:
        """The same address without the key, so that it stays out of the history, and the cookie."""
        rest = [(name, value) for name, value in parse_qsl(request.url.query) if name != "key"]
        query = f"?{urlencode(rest)}" if rest else ""
        response = RedirectResponse(f"http://{host}{request.url.path}{query}", 303)
        response.set_cookie(self.cookie, self.pass_, httponly=True, samesite="strict", path="/")
        return response


def same(given: str, secret: str) -> bool:
    return secrets.compare_digest(given.encode(), secret.encode())


def with_headers(send: Send, headers: dict[str, str] = HEADERS) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            extra = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
            message = message | {"headers": [*message.get("headers", []), *extra]}
        await send(message)

    return sending


AGAIN = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0"><title>Tunesmith</title>'


def key_page(request: HTTPConnection, wrong: bool) -> str:
    """Asks for the key and keeps what else the address said, such as a shared setup."""
    rest = [(name, value) for name, value in parse_qsl(request.url.query) if name != "key"]
    hidden = "".join(f'<input type="hidden" name="{html.escape(n)}" value="{html.escape(v)}">' for n, v in rest)
    said = "That is not the key of this start." if wrong else "This page belongs to whoever started it."
    return KEY_PAGE.format(said=said, hidden=hidden)


KEY_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tunesmith: the key, please</title>
<style>
  :root {{ color-scheme: light dark; --page: #FBFAF7; --card: #FFFFFF; --ink: #1F2428; --quiet: #5B6570; --line: #8A929B }}
  @media (prefers-color-scheme: dark) {{ :root {{ --page: #14171A; --card: #1C2024; --ink: #ECEFF1; --quiet: #9AA5B1; --line: #6B7580 }} }}
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
<p>{said} Its key stands in the terminal, in the address that was printed at the start.</p>
{hidden}<label for="key">Key</label><input id="key" name="key" autocomplete="off" autofocus required>
<button>Open the page</button></form></html>
"""
