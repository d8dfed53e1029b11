"""Space: who may open the page where it runs as a Hugging Face Space: its owner, once signed in. Others are told so.

Until people are kept apart everywhere, one Space serves one person. What signing in brings stays in this process: the
browser holds a number that means nothing elsewhere, and the token stands in no address, file, log or cookie.
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.problems import Problem
from app.hub.identity import PERSON, Person
from app.server.local_access import headers_for, with_headers
from app.server.signin_page import doorway
from app.setup.links import LONGEST, PARAMETER

COOKIE = "tunesmith"
WAITING = 600.0  # seconds to come back from signing in
MOST = 1_000  # browsers of others remembered at once; the oldest is forgotten first
NEEDED = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OPENID_PROVIDER_URL", "SPACE_ID", "SPACE_HOST")
FRAMES = "https://huggingface.co"  # whose page shows Spaces in a frame


@dataclass
class Visit:
    """One browser. state: what the sign-in under way must bring back; person: who came back, with a token if they own this."""

    until: float
    state: dict[str, Any] = field(default_factory=dict)
    target: str = "/"
    person: Person | None = None
    owner: bool = False


class SpaceAccess:
    """ASGI around the page of a Space. Raises Problem when the Space was made without signing in."""

    def __init__(self, app: ASGIApp):
        missing = [name for name in NEEDED if not os.environ.get(name)]
        if missing:
            raise Problem(f"This Space cannot sign anybody in: {missing[0]} is not set.",
                          advice="Write `hf_oauth: true` into the front matter of its README.md.")  # fmt: skip
        self.app = app
        self.hosts = [host.strip() for host in os.environ["SPACE_HOST"].split(",")]
        self.space = os.environ["SPACE_ID"]
        self.visits: dict[str, Visit] = {}
        self.provider = provider()
        self.headers = headers_for(FRAMES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        refusal = self.refusal(request)
        visit = self.visit(request)
        if refusal is None and visit and visit.owner and not self.of_signing(request):
            await self.app(scope | {PERSON: visit.person}, receive, with_headers(send, self.headers))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            answer = refusal or await self.answer(Request(scope, receive), visit)
            await answer(scope, receive, with_headers(send, self.headers))

    def refusal(self, request: HTTPConnection) -> Response | None:
        """Another name for this server, or another site's page, gets nothing; only a person's navigation comes from there."""
        host = request.headers.get("host", "")
        if host not in self.hosts:
            return PlainTextResponse(f"Open this page as {origin(self.hosts[0])}/.", 421)
        if any(given != origin(host) for given in request.headers.getlist("origin")):
            return PlainTextResponse("Another site may not use this page.", 403)
        shown = request.scope.get("method") == "GET" and request.headers.get("sec-fetch-dest") in ("document", "iframe")
        if request.headers.get("sec-fetch-site") in ("cross-site", "same-site") and not shown:
            return PlainTextResponse("Another site may not use this page.", 403)
        return None

    def visit(self, request: HTTPConnection) -> Visit | None:
        found = self.visits.get(request.cookies.get(COOKIE, ""))
        return found if found and found.until > time.time() else None

    @staticmethod
    def of_signing(request: HTTPConnection) -> bool:
        return request.url.path in ("/login", "/login/callback", "/logout")

    async def answer(self, request: Request, visit: Visit | None) -> Response:
        path = request.url.path
        if path == "/login" and request.method == "GET":
            return await self.start(request)
        if path == "/login/callback" and request.method == "GET":
            return await self.finish(request, visit)
        if path == "/logout":
            self.visits.pop(request.cookies.get(COOKIE, ""), None)
            return RedirectResponse("/", 303)
        if path == "/" and request.method in ("GET", "HEAD"):
            return HTMLResponse(self.page(request, visit))
        return PlainTextResponse("Sign in first.", 401)

    def page(self, request: Request, visit: Visit | None, problem: str = "") -> str:
        setup = request.query_params.get(PARAMETER)
        person = visit.person if visit else None
        return doorway(self.space, person.name if person else None, {PARAMETER: setup} if setup else {}, problem)

    async def start(self, request: Request) -> Response:
        """Off to the provider; the state that comes back must be the one that this browser left with."""
        from huggingface_hub.utils import httpx

        setup = request.query_params.get(PARAMETER, "")[:LONGEST]
        visit = Visit(time.time() + WAITING, target=f"/?{urlencode({PARAMETER: setup})}" if setup else "/")
        callback = f"{origin(request.headers['host'])}/login/callback"
        request.scope["session"] = visit.state
        try:
            response = await self.provider.authorize_redirect(request, callback)
        except httpx.HTTPError:  # a border: another company's machines
            return HTMLResponse(
                self.page(request, None, "Hugging Face could not be reached. Try again in a minute."), 502
            )
        self.remember(visit, response)
        return response

    async def finish(self, request: Request, visit: Visit | None) -> Response:
        """Back from the provider. Whoever came gets a new cookie; the token of somebody else is dropped at once."""
        from authlib.common.errors import AuthlibBaseError
        from huggingface_hub.utils import httpx
        from joserfc.errors import JoseError

        request.scope["session"] = visit.state if visit else {}
        try:
            if visit is None:
                raise AuthlibBaseError("expired")
            told = await self.provider.authorize_access_token(request)
            info = told["userinfo"]
        except (AuthlibBaseError, httpx.HTTPError, JoseError, KeyError):  # a border: refused, forged, late, broken
            return HTMLResponse(self.page(request, None, "Signing in did not work. Try it again."), 400)
        owner = owns(info, self.space)
        person = Person(info["preferred_username"], told["access_token"] if owner else None)
        self.visits.pop(request.cookies.get(COOKIE, ""), None)
        response = RedirectResponse(visit.target, 303)
        until = float(told.get("expires_at") or time.time() + WAITING)
        self.remember(Visit(until, person=person, owner=owner), response)
        return response

    def remember(self, visit: Visit, response: Response) -> None:
        name = secrets.token_urlsafe(32)
        now = time.time()
        living = [(key, one) for key, one in self.visits.items() if one.until > now]
        strangers = [(key, one) for key, one in living if not one.owner][-MOST:]  # they may not push the owner out
        self.visits = dict(strangers) | {key: one for key, one in living if one.owner} | {name: visit}
        # In the frame on huggingface.co this page is a third party there: only SameSite=None lets it keep its cookie.
        response.set_cookie(COOKIE, name, httponly=True, secure=True, samesite="none", path="/")


def provider() -> Any:
    """The OpenID provider a Space is given by its environment; tokens it signs are checked by authlib."""
    from authlib.integrations.starlette_client import OAuth

    scopes = {"openid": None, "profile": None} | dict.fromkeys(os.environ.get("OAUTH_SCOPES", "").split())
    known = OAuth()
    known.register(
        "provider",
        client_id=os.environ["OAUTH_CLIENT_ID"],
        client_secret=os.environ["OAUTH_CLIENT_SECRET"],
        server_metadata_url=os.environ["OPENID_PROVIDER_URL"].rstrip("/") + "/.well-known/openid-configuration",
        client_kwargs={"scope": " ".join(scopes), "timeout": 10, "code_challenge_method": "S256"},
    )
    return known.provider


def owns(info: dict[str, Any], space: str) -> bool:
    """A person's Space is theirs; an organisation's is its maker's, for as long as they belong to it."""
    namespace = space.partition("/")[0]
    if info["preferred_username"] == namespace:
        return True
    belongs = any(org.get("preferred_username") == namespace for org in info.get("orgs") or [])
    maker = os.environ.get("SPACE_CREATOR_USER_ID")
    return belongs and bool(maker) and info["sub"] == maker


def origin(host: str) -> str:
    """Spaces are served over https; a test on this machine is not."""
    return f"{'http' if host.startswith('127.0.0.1:') else 'https'}://{host}"
