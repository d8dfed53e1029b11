"""Accounts: who exists on the local Hub, what their tokens may do, and how the Hub says no."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request


class Refused(Exception):
    """An answer with an error's status; code is what clients tell their exceptions by."""

    def __init__(self, status: int, text: str, code: str = "", headers: dict[str, str] | None = None):
        super().__init__(text)
        self.status, self.text, self.code, self.headers = status, text, code, headers or {}


@dataclass(frozen=True)
class Token:
    """One token of a person. role: read or write; kind as whoami says it: access_token or oauth."""

    person: str
    role: str = "write"
    kind: str = "access_token"


# {person: {organisation: their role in it}}
PEOPLE: dict[str, dict[str, str]] = {"alice": {"workshop": "admin"}, "bob": {"workshop": "read"}, "carol": {}}
WRITING = ("admin", "write", "contributor")


class Accounts:
    """Tokens and rights. Nobody is asked for a password: this Hub listens on this machine only."""

    def __init__(self) -> None:
        self.tokens = {
            "hf_alice": Token("alice"),
            "hf_alice_reads": Token("alice", "read"),
            "hf_bob": Token("bob"),
            "hf_carol": Token("carol"),
        }

    def issue(self, person: str, role: str) -> str:
        """A new token, as signing in gives one."""
        name = f"hf_oauth_{secrets.token_hex(12)}"
        self.tokens[name] = Token(person, role, "oauth")
        return name

    def token(self, request: Request) -> Token | None:
        """The caller's token; None for somebody who sent none. Refuses a token nobody was given."""
        said = request.headers.get("authorization", "")
        if not said:
            return None
        known = self.tokens.get(said.removeprefix("Bearer ").strip())
        if known is None:
            raise Refused(401, "Invalid credentials in Authorization header")
        return known

    def required(self, request: Request) -> Token:
        token = self.token(request)
        if token is None:
            raise Refused(401, "Invalid username or password.")
        return token

    def writer(self, request: Request, namespace: str) -> Token:
        """The caller's token, which may write in this namespace."""
        token = self.required(request)
        if token.role != "write":
            raise Refused(403, "Forbidden: you must use a write token to upload to a repository.")
        if namespace not in self.writes_in(token.person):
            raise Refused(403, f'You don\'t have the rights to create a model under the namespace "{namespace}"')
        return token

    def reads(self, request: Request, namespace: str) -> bool:
        """Whether private things of this namespace may be seen."""
        token = self.token(request)
        return token is not None and namespace in (token.person, *PEOPLE[token.person])

    @staticmethod
    def writes_in(person: str) -> list[str]:
        return [person, *(name for name, role in PEOPLE[person].items() if role in WRITING)]


def whoami(token: Token) -> dict[str, Any]:
    """The Hub's answer to who a token belongs to."""
    person = token.person
    orgs = [{"type": "org", "id": name, "name": name, "fullname": name.title(), "roleInOrg": role} for name, role in PEOPLE[person].items()]  # fmt: skip
    auth: dict[str, Any] = {"type": token.kind}
    if token.kind == "access_token":
        auth["accessToken"] = {
            "displayName": "local",
            "role": token.role,
            "createdAt": "2026-01-01T00:00:00.000Z",
        }
    return {"type": "user", "id": identity(person), "name": person, "fullname": person.title(), "email": f"{person}@local", "isPro": False,
            "canPay": False, "avatarUrl": "", "orgs": orgs, "auth": auth}  # fmt: skip


def identity(person: str) -> str:
    """24 hex digits, as the Hub's ids have."""
    return person.encode().hex().ljust(24, "0")[:24]
