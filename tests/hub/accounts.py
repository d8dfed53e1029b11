"""Users of the local Hub, the permissions of their tokens, and the error that refuses a request."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request


class HubError(Exception):
    """An HTTP error response. code: the X-Error-Code header, from which clients choose the exception they raise."""

    def __init__(self, status: int, text: str, code: str = "", headers: dict[str, str] | None = None):
        super().__init__(text)
        self.status, self.text, self.code, self.headers = status, text, code, headers or {}


@dataclass(frozen=True)
class Token:
    """An access token of a user. role: read or write. kind: as in the whoami response, access_token or oauth."""

    user: str
    role: str = "write"
    kind: str = "access_token"


# {user: {organization: the user's role in it}}
USERS: dict[str, dict[str, str]] = {"alice": {"workshop": "admin"}, "bob": {"workshop": "read"}, "carol": {}}
WRITE_ROLES = ("admin", "write", "contributor")


class Accounts:
    """Tokens and permissions. There are no passwords: this Hub listens on the local machine only."""

    def __init__(self) -> None:
        self.tokens = {
            "hf_alice": Token("alice"),
            "hf_alice_reads": Token("alice", "read"),
            "hf_bob": Token("bob"),
            "hf_carol": Token("carol"),
        }

    def issue(self, user: str, role: str) -> str:
        """Creates an OAuth token, as a sign-in does."""
        token = f"hf_oauth_{secrets.token_hex(12)}"
        self.tokens[token] = Token(user, role, "oauth")
        return token

    def find_token(self, request: Request) -> Token | None:
        """The caller's token; None if the request has none. Raises HubError 401 for an unknown token."""
        authorization = request.headers.get("authorization", "")
        if not authorization:
            return None
        token = self.tokens.get(authorization.removeprefix("Bearer ").strip())
        if token is None:
            raise HubError(401, "Invalid credentials in Authorization header")
        return token

    def require_token(self, request: Request) -> Token:
        token = self.find_token(request)
        if token is None:
            raise HubError(401, "Invalid username or password.")
        return token

    def require_write_token(self, request: Request, namespace: str) -> Token:
        """The caller's token. Raises HubError 401 or 403 unless it may write in this namespace."""
        token = self.require_token(request)
        if token.role != "write":
            raise HubError(403, "Forbidden: you must use a write token to upload to a repository.")
        if namespace not in self.writable_namespaces(token.user):
            raise HubError(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
        return token

    def can_read_private(self, request: Request, namespace: str) -> bool:
        """Whether the caller may see the private repositories of this namespace."""
        token = self.find_token(request)
        return token is not None and namespace in (token.user, *USERS[token.user])

    @staticmethod
    def writable_namespaces(user: str) -> list[str]:
        return [user, *(name for name, role in USERS[user].items() if role in WRITE_ROLES)]


def whoami(token: Token) -> dict[str, Any]:
    """The response of /api/whoami-v2."""
    user = token.user
    orgs = [{"type": "org", "id": name, "name": name, "fullname": name.title(), "roleInOrg": role} for name, role in USERS[user].items()]  # fmt: skip
    auth: dict[str, Any] = {"type": token.kind}
    if token.kind == "access_token":
        auth["accessToken"] = {
            "displayName": "local",
            "role": token.role,
            "createdAt": "2026-01-01T00:00:00.000Z",
        }
    return {"type": "user", "id": hub_id(user), "name": user, "fullname": user.title(), "email": f"{user}@local", "isPro": False,
            "canPay": False, "avatarUrl": "", "orgs": orgs, "auth": auth}  # fmt: skip


def hub_id(name: str) -> str:
    """An id of 24 hexadecimal digits, as the real Hub uses, derived from the name."""
    return name.encode().hex().ljust(24, "0")[:24]
