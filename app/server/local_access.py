"""Access control of the page on this machine: a browser must present a key once, and use exactly this address."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.server import key_page
from app.server.access_keys import AccessKeys, is_same_secret

SIGN_IN_ADDRESS_ROUTE = "/sign-in-address"  # POST: an address that signs in a further browser
HANDED_OUT_SECONDS = 600.0


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
    """ASGI middleware around the page. An access key signs in one browser, which then has a session cookie until the
    server ends; each key is good for one.

    Host is checked because anybody can point a domain name at 127.0.0.1 (DNS rebinding), Origin because any site may
    send a form here. A cookie reaches all ports of its host, of which others may belong to other people of this machine.
    So the page has a host of its own, whose name they do not know. At 127.0.0.1, where links lead to, a page asks for the
    key; a browser that was signed in there remembers the page's host, in a storage that other ports do not reach.
    """

    def __init__(self, app: ASGIApp, port: int, name: str = "127.0.0.1", announce: Callable[[str], None] | None = None):
        """name: the page's host without the port. announce: shows an address with a fresh key to whoever started the
        server, when a browser that is not signed in asks for the page and the last such key was used."""
        self.app = app
        self.host, self.entry_host, self.other_entry_host = f"{name}:{port}", f"127.0.0.1:{port}", f"localhost:{port}"
        self.keys = AccessKeys()
        self.cookie_name = f"tunesmith-{port}"
        self.session_tokens: set[str] = set()
        self._announce, self._announced_key = announce, ""

    def sign_in_address(self, seconds: float = math.inf) -> str:
        """An address that signs in one browser. seconds: how long it is good for."""
        return self._address_with(self.keys.issue(seconds))

    def announced_address(self) -> str:
        """A `sign_in_address` to show to whoever started the server; a later one is announced once this was used."""
        self._announced_key = self.keys.issue()
        return self._address_with(self._announced_key)

    def _address_with(self, key: str) -> str:
        return f"http://{self.entry_host}/?key={key}"

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
        host, key = request.headers.get("host", ""), request.query_params.get("key")
        if not self._is_known(host):
            return self._refuse_host(request, host)
        if self._is_cross_site(request, host):
            return PlainTextResponse("Another site may not use this page.", 403)
        if request.scope.get("method") == "GET" and key is not None and self.keys.is_valid(key):
            return self._sign_in(request, key, host)
        if self._is_page_host(host) and self._is_signed_in(request):
            return self._hand_out_address(request)
        if self._is_page_host(host) and request.headers.get("sec-fetch-site") == "cross-site":
            # Browsers withhold a SameSite=Strict cookie on the first request of a link from another site: reload.
            return HTMLResponse(key_page.RELOAD_PAGE)
        self._announce_key(request)
        return HTMLResponse(self._key_page(request, host), 401)

    # -- what app/server/host_access.py does otherwise ------------------------------------------------------------------

    def _is_known(self, host: str) -> bool:
        """Whether requests to this host, with its port, are answered at all."""
        return host in (self.host, self.entry_host)

    def _is_page_host(self, host: str) -> bool:
        """Whether the page itself is at this known host, and not only the way to it."""
        return host == self.host

    def _origins(self, request: HTTPConnection, host: str) -> tuple[str, ...]:
        """The origins that the page's own requests have; addresses are made with the first."""
        return (f"http://{host}",)

    def _key_page(self, request: HTTPConnection, host: str) -> str:
        return key_page.render_key_page(request, is_entry=not self._is_page_host(host))

    def _refuse_host(self, request: HTTPConnection, host: str) -> Response:
        """The response at a host that is not ours: a name that a browser remembers from another home's page leads on."""
        is_page_name = host.partition(":")[0].endswith(".localhost")
        if request.scope.get("method") != "GET" or not (is_page_name or host == self.other_entry_host):
            return PlainTextResponse(f"Open this page as http://{self.entry_host}/.", 421)
        query = urlencode(
            [*_parameters(request, but=key_page.FORGET), *([(key_page.FORGET, "1")] if is_page_name else [])]
        )
        return RedirectResponse(f"http://{self.entry_host}{request.url.path}" + (f"?{query}" if query else ""), 303)

    def _hand_out_address(self, request: HTTPConnection) -> Response | None:
        if request.scope.get("method") == "POST" and request.url.path == SIGN_IN_ADDRESS_ROUTE:
            return PlainTextResponse(self._address_to_hand_out(request))
        return None

    def _address_to_hand_out(self, request: HTTPConnection) -> str:
        return self.sign_in_address(HANDED_OUT_SECONDS)

    def _is_signed_in(self, request: HTTPConnection) -> bool:
        cookie = request.cookies.get(self.cookie_name, "")
        return any(is_same_secret(cookie, token) for token in self.session_tokens)

    def _is_cross_site(self, request: HTTPConnection, host: str) -> bool:
        """True when another site's page sent the request. Following a link from there is allowed: a person did that."""
        if any(origin not in self._origins(request, host) for origin in request.headers.getlist("origin")):
            return True
        if request.headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
            return False  # same-site is another port of this machine, which may be another person's
        is_link = request.scope.get("method") == "GET" and request.headers.get("sec-fetch-dest") == "document"
        return not is_link

    def _sign_in(self, request: HTTPConnection, key: str, host: str) -> Response:
        """Leads to the page's own host; there, uses up the key, sets the session cookie and leads to the address without
        the key, which stays out of the history."""
        if not self._is_page_host(host):
            # by a page: a browser that sends a form follows no redirect to another host (form-action)
            return HTMLResponse(key_page.render_entry(f"http://{self.host}"))
        self.keys.use_up(key)
        query = urlencode(_parameters(request, but="key"))
        origin = self._origins(request, host)[0]
        response = RedirectResponse(f"{origin}{request.url.path}" + (f"?{query}" if query else ""), 303)
        token = secrets.token_urlsafe(32)
        self.session_tokens.add(token)
        is_secure = origin.startswith("https:")
        response.set_cookie(self.cookie_name, token, httponly=True, secure=is_secure, samesite="strict", path="/")
        return response

    def _announce_key(self, request: HTTPConnection) -> None:
        is_visit = request.headers.get("sec-fetch-dest", "document") == "document"
        if self._announce and is_visit and not self.keys.is_valid(self._announced_key):
            self._announce(self.announced_address())


def _parameters(request: HTTPConnection, but: str) -> list[tuple[str, str]]:
    """The parameters of the request's query without one of them."""
    return [(name, text) for name, text in parse_qsl(request.url.query) if name != but]


def add_headers(send: Send, headers: dict[str, str] = _HEADERS) -> Send:
    """Wraps an ASGI `send` so that the response carries these headers."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            encoded_headers = [(name.lower().encode(), text.encode()) for name, text in headers.items()]
            message = {**message, "headers": [*message.get("headers", []), *encoded_headers]}
        await send(message)

    return send_with_headers
