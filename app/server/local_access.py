"""Access control of the page on this machine: a browser must present the key once, and use exactly this address."""

from __future__ import annotations

import html
import secrets
from urllib.parse import parse_qsl, urlencode

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


# The page loads nothing from other hosts, and the browser enforces it: code injected by a hostile dataset row could not
# send data out. Gradio compiles templates and inline styles at run time, hence the two `unsafe-` sources.
def security_headers(frame_ancestors: str) -> dict[str, str]:
    """Security headers of every response. frame_ancestors: origins that may show the page in a frame (CSP syntax)."""
    return {
        "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
        f"base-uri 'self'; form-action 'self'; frame-ancestors {frame_ancestors}",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }


_HEADERS = security_headers("'none'")


class LocalAccess:
    """ASGI middleware around the page. `key` signs in a browser, which then has a session cookie until the server ends.

    Host is checked because anybody can point a domain name at 127.0.0.1 (DNS rebinding), Origin because any site may
    send a form here. Cookies are shared by all ports of a host, so the port is in the cookie's name.
    """

    def __init__(self, app: ASGIApp, port: int, key: str | None = None):
        self.app = app
        self.key = key or secrets.token_urlsafe(16)
        self.cookie_name = f"tunesmith-{port}"
        self.session_token = secrets.token_urlsafe(32)
        self.allowed_hosts = (f"127.0.0.1:{port}", f"localhost:{port}")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        response = self._intercept(HTTPConnection(scope))
        if response is None:
            await self.app(scope, receive, add_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await response(scope, receive, add_headers(send))

    def _intercept(self, request: HTTPConnection) -> Response | None:
        """The response to send instead of the page; None lets the request through."""
        host = request.headers.get("host", "")
        if host not in self.allowed_hosts:
            return PlainTextResponse(f"Open this page as http://{self.allowed_hosts[0]}/.", 421)
        if self._is_cross_site(request, host):
            return PlainTextResponse("Another site may not use this page.", 403)
        query_key = request.query_params.get("key")
        if query_key is not None and _is_same_secret(query_key, self.key):
            return self._set_session_cookie(request, host)
        if _is_same_secret(request.cookies.get(self.cookie_name, ""), self.session_token):
            return None
        if request.headers.get("sec-fetch-site") == "cross-site":
            # Browsers withhold a SameSite=Strict cookie on the first request of a link from another site: reload.
            return HTMLResponse(_RELOAD_PAGE)
        return HTMLResponse(_render_key_page(request, is_wrong_key=query_key is not None), 401)

    def _is_cross_site(self, request: HTTPConnection, host: str) -> bool:
        """True when another site's page sent the request. Following a link from there is allowed: a person did that."""
        if any(origin != f"http://{host}" for origin in request.headers.getlist("origin")):
            return True
        if request.headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
            return False  # same-site is another port of this machine, which may be another person's
        is_link = request.scope.get("method") == "GET" and request.headers.get("sec-fetch-dest") == "document"
        return not is_link

    def _set_session_cookie(self, request: HTTPConnection, host: str) -> Response:
        """Sets the session cookie and redirects to the address without the key, which stays out of the history."""
        other_parameters = [(name, text) for name, text in parse_qsl(request.url.query) if name != "key"]
        query = f"?{urlencode(other_parameters)}" if other_parameters else ""
        response = RedirectResponse(f"http://{host}{request.url.path}{query}", 303)
        response.set_cookie(self.cookie_name, self.session_token, httponly=True, samesite="strict", path="/")
        return response


def _is_same_secret(candidate: str, secret: str) -> bool:
    return secrets.compare_digest(candidate.encode(), secret.encode())


def add_headers(send: Send, headers: dict[str, str] = _HEADERS) -> Send:
    """Wraps an ASGI `send` so that the response carries these headers."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            encoded_headers = [(name.lower().encode(), text.encode()) for name, text in headers.items()]
            message = {**message, "headers": [*message.get("headers", []), *encoded_headers]}
        await send(message)

    return send_with_headers


_RELOAD_PAGE = '<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0"><title>Tunesmith</title>'


def _render_key_page(request: HTTPConnection, is_wrong_key: bool) -> str:
    """The form that asks for the key. Other query parameters, such as a shared setup, are kept as hidden inputs."""
    other_parameters = [(name, text) for name, text in parse_qsl(request.url.query) if name != "key"]
    hidden_inputs = "".join(
        f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(text)}">'
        for name, text in other_parameters
    )
    explanation = "That is not the key of this start." if is_wrong_key else "This page belongs to whoever started it."
    return _KEY_PAGE_TEMPLATE.format(explanation=explanation, hidden_inputs=hidden_inputs)


_KEY_PAGE_TEMPLATE = """<!doctype html>
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
<p>{explanation} Its key stands in the terminal, in the address that was printed at the start.</p>
{hidden_inputs}<label for="key">Key</label><input id="key" name="key" autocomplete="off" autofocus required>
<button>Open the page</button></form></html>
"""
