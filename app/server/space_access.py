"""Access control of a Hugging Face Space: only its owner may open the page, after signing in with Hugging Face (OAuth).

One Space serves one person, because runs and uploads are not yet separated by person everywhere. The access token stays
in this process: the browser holds only a random session id, and the token is in no URL, file, log or cookie.
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.core.problems import Problem
from app.hub.identity import IDENTITY_SCOPE_KEY, Identity
from app.planning.links import MAX_LINK_LENGTH, QUERY_PARAMETER
from app.server.local_access import add_headers, security_headers
from app.server.signin_page import render_signin_page

if TYPE_CHECKING:
    from authlib.integrations.starlette_client import StarletteOAuth2App

COOKIE_NAME = "tunesmith"
_SIGNIN_TIMEOUT = 600.0  # seconds in which a sign-in must be completed
_MAX_VISITOR_SESSIONS = 1_000  # sessions of people other than the owner; the oldest are dropped first
_REQUIRED_VARIABLES = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OPENID_PROVIDER_URL", "SPACE_ID", "SPACE_HOST")
_FRAME_ANCESTOR = "https://huggingface.co"  # the site that embeds Spaces in a frame


@dataclass
class Session:
    """Session of one browser.

    expires_at: seconds since the epoch. oauth_state: what authlib stores between the redirect to the provider and the
    callback. person: who signed in; only the owner's access token is kept.
    """

    expires_at: float
    oauth_state: dict[str, Any] = field(default_factory=dict)
    redirect_target: str = "/"
    person: Identity | None = None
    is_owner: bool = False


class SpaceAccess:
    """ASGI middleware around the page of a Space. Raises Problem when the Space has no OAuth configuration."""

    def __init__(self, app: ASGIApp):
        missing = [name for name in _REQUIRED_VARIABLES if not os.environ.get(name)]
        if missing:
            raise Problem(
                f"This Space cannot sign anybody in: {missing[0]} is not set.",
                advice="Write `hf_oauth: true` into the front matter of its README.md.",
            )
        self.app = app
        self.allowed_hosts = [host.strip() for host in os.environ["SPACE_HOST"].split(",")]
        self.space_id = os.environ["SPACE_ID"]
        self.sessions: dict[str, Session] = {}
        self.oauth_provider = _register_oauth_provider()
        self.response_headers = security_headers(_FRAME_ANCESTOR)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        refusal = self._refuse_foreign_request(request)
        session = self._find_session(request)
        if refusal is None and session and session.is_owner and not self._is_signin_path(request):
            await self.app(
                {**scope, IDENTITY_SCOPE_KEY: session.person}, receive, add_headers(send, self.response_headers)
            )
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            response = refusal or await self._signin_response(Request(scope, receive), session)
            await response(scope, receive, add_headers(send, self.response_headers))

    def _refuse_foreign_request(self, request: HTTPConnection) -> Response | None:
        """Refuses an unknown Host, and requests from another site's page except navigation by a person; else None."""
        host = request.headers.get("host", "")
        if host not in self.allowed_hosts:
            return PlainTextResponse(f"Open this page as {_origin(self.allowed_hosts[0])}/.", 421)
        if any(origin_header != _origin(host) for origin_header in request.headers.getlist("origin")):
            return PlainTextResponse("Another site may not use this page.", 403)
        is_navigation = request.scope.get("method") == "GET" and request.headers.get("sec-fetch-dest") in (
            "document",
            "iframe",
        )
        if request.headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
            return None
        if not is_navigation:
            return PlainTextResponse("Another site may not use this page.", 403)
        if request.url.path in ("/login", "/logout"):  # nobody is signed in or out by a link elsewhere
            return RedirectResponse("/", 303)
        return None

    def _find_session(self, request: HTTPConnection) -> Session | None:
        session = self.sessions.get(request.cookies.get(COOKIE_NAME, ""))
        return session if session and session.expires_at > time.time() else None

    @staticmethod
    def _is_signin_path(request: HTTPConnection) -> bool:
        return request.url.path in ("/login", "/login/callback", "/logout")

    async def _signin_response(self, request: Request, session: Session | None) -> Response:
        path = request.url.path
        if path == "/login" and request.method == "GET":
            return await self._start_signin(request)
        if path == "/login/callback" and request.method == "GET":
            return await self._finish_signin(request, session)
        if path == "/logout":
            self.sessions.pop(request.cookies.get(COOKIE_NAME, ""), None)
            return RedirectResponse("/", 303)
        if path == "/" and request.method in ("GET", "HEAD"):
            return HTMLResponse(self._render_signin_page(request, session))
        return PlainTextResponse("Sign in first.", 401)

    def _render_signin_page(self, request: Request, session: Session | None, error_text: str = "") -> str:
        setup = request.query_params.get(QUERY_PARAMETER)
        person = session.person if session else None
        return render_signin_page(
            self.space_id, person.name if person else None, {QUERY_PARAMETER: setup} if setup else {}, error_text
        )

    async def _start_signin(self, request: Request) -> Response:
        """Redirects to the OAuth provider. Its callback must bring back the state stored in this browser's session."""
        from huggingface_hub.utils import httpx

        setup = request.query_params.get(QUERY_PARAMETER, "")[:MAX_LINK_LENGTH]
        session = Session(
            time.time() + _SIGNIN_TIMEOUT, redirect_target=f"/?{urlencode({QUERY_PARAMETER: setup})}" if setup else "/"
        )
        callback = f"{_origin(request.headers['host'])}/login/callback"
        request.scope["session"] = session.oauth_state
        try:
            response = await self.oauth_provider.authorize_redirect(request, callback)
        except httpx.HTTPError:  # boundary: the network
            return HTMLResponse(
                self._render_signin_page(request, None, "Hugging Face could not be reached. Try again in a minute."),
                502,
            )
        self._remember_session(session, response)
        return response

    async def _finish_signin(self, request: Request, session: Session | None) -> Response:
        """Handles the provider's callback: a new session id and cookie. Only the owner's access token is kept."""
        from authlib.common.errors import AuthlibBaseError
        from huggingface_hub.utils import httpx
        from joserfc.errors import JoseError

        request.scope["session"] = session.oauth_state if session else {}
        try:
            if session is None:
                raise AuthlibBaseError("expired")
            token_response = await self.oauth_provider.authorize_access_token(request)
            user_info = token_response["userinfo"]
        except (AuthlibBaseError, httpx.HTTPError, JoseError, KeyError):  # refused, forged, too late, or broken
            return HTMLResponse(self._render_signin_page(request, None, "Signing in did not work. Try it again."), 400)
        is_owner = _is_space_owner(user_info, self.space_id)
        person = Identity(user_info["preferred_username"], token_response["access_token"] if is_owner else None)
        self.sessions.pop(request.cookies.get(COOKIE_NAME, ""), None)
        response = RedirectResponse(session.redirect_target, 303)
        expires_at = float(token_response.get("expires_at") or time.time() + _SIGNIN_TIMEOUT)
        self._remember_session(Session(expires_at, person=person, is_owner=is_owner), response)
        return response

    def _remember_session(self, new_session: Session, response: Response) -> None:
        session_id = secrets.token_urlsafe(32)
        now = time.time()
        active_sessions = [(old_id, session) for old_id, session in self.sessions.items() if session.expires_at > now]
        visitor_sessions = [(old_id, session) for old_id, session in active_sessions if not session.is_owner][
            -_MAX_VISITOR_SESSIONS:
        ]  # never displaces the owner's session
        self.sessions = (
            dict(visitor_sessions)
            | {old_id: session for old_id, session in active_sessions if session.is_owner}
            | {session_id: new_session}
        )
        # In a frame on huggingface.co the page is a third party: only SameSite=None lets the browser keep the cookie.
        response.set_cookie(COOKIE_NAME, session_id, httponly=True, secure=True, samesite="none", path="/")


def _register_oauth_provider() -> StarletteOAuth2App:
    """The OpenID provider configured in the Space's environment. authlib verifies the signatures of its tokens."""
    from authlib.integrations.starlette_client import OAuth

    scopes = {"openid": None, "profile": None} | dict.fromkeys(os.environ.get("OAUTH_SCOPES", "").split())
    oauth = OAuth()
    oauth.register(
        "provider",
        client_id=os.environ["OAUTH_CLIENT_ID"],
        client_secret=os.environ["OAUTH_CLIENT_SECRET"],
        server_metadata_url=os.environ["OPENID_PROVIDER_URL"].rstrip("/") + "/.well-known/openid-configuration",
        client_kwargs={"scope": " ".join(scopes), "timeout": 10, "code_challenge_method": "S256"},
    )
    return oauth.provider


def _is_space_owner(user_info: dict[str, Any], space_id: str) -> bool:
    """True for the person whose namespace holds the Space, or, in an organisation, its creator while still a member."""
    namespace = space_id.partition("/")[0]
    if user_info["preferred_username"] == namespace:
        return True
    is_member = any(org.get("preferred_username") == namespace for org in user_info.get("orgs") or [])
    creator_id = os.environ.get("SPACE_CREATOR_USER_ID")
    return is_member and bool(creator_id) and user_info["sub"] == creator_id


def _origin(host: str) -> str:
    """Origin of a host. Spaces are served over https; only a test on this machine uses http."""
    return f"{'http' if host.startswith('127.0.0.1:') else 'https'}://{host}"
