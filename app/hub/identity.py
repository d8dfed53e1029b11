"""Identity of the person who uses the page, and the token for their requests to the Hub."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from app.core import platform
from app.core.problems import Problem

IDENTITY_SCOPE_KEY = "tunesmith.person"  # where app/server/space_access.py puts the Identity in a request's scope


@dataclass(frozen=True)
class Identity:
    """A person and their token.

    name: on the Hub; None on a local machine, where api.signed_in_user(token) gives it. token: never shown in a repr.
    """

    name: str | None
    token: str | None = field(repr=False)


def identity_of_request(request: Any) -> Identity:
    """The identity behind a request of Gradio or Starlette.

    In a Space it is the person who signed in, never the server itself.

    Raises Problem in a Space where nobody is signed in.
    """
    if not platform.is_space():
        return Identity(None, resolve_token(None))
    starlette_request = getattr(request, "request", None) or request  # Gradio wraps Starlette's request
    identity = getattr(starlette_request, "scope", {}).get(IDENTITY_SCOPE_KEY)
    if not isinstance(identity, Identity):
        raise Problem("You are not signed in.", advice="Reload the page and sign in again.", reason="not_signed_in")
    return identity


def resolve_token(token: str | None) -> str | None:
    """The given token or, on a local machine, that of `hf auth login` or HF_TOKEN.

    A Space never uses a token of its own.
    """
    if token or platform.is_space():
        return token or None
    from huggingface_hub import get_token

    return get_token()


def page_url() -> str:
    """The URL for links in model cards: this Space, or the page on the reader's own machine."""
    host = os.environ.get("SPACE_HOST", "").partition(",")[0].strip()
    return f"https://{host}" if platform.is_space() and host else "http://127.0.0.1:7860"


def sign_in_advice() -> str:
    """The advice of a Problem for somebody who is not signed in."""
    return "Sign in on this page." if platform.is_space() else "Run `hf auth login`, or set HF_TOKEN, and try again."
