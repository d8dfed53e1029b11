"""People: who sits at the page, and with what token they speak to the Hub."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from app.core.problems import Problem

PERSON = "tunesmith.person"  # where app/server/local_access.py leaves the Person in a request's scope


@dataclass(frozen=True)
class Person:
    """name: on the Hub; None on one's own machine, where hub.signed_in(token) tells it. The token is never shown."""

    name: str | None
    token: str | None = field(repr=False)


def in_space() -> bool:
    """Whether this page runs as a Hugging Face Space."""
    return os.environ.get("SYSTEM") == "spaces"


def person(request: Any) -> Person:
    """Who sent a request of Gradio's or Starlette's. In a Space it is whoever signed in, never the server itself.

    Raises Problem in a Space when nobody did.
    """
    if not in_space():
        return Person(None, own_token(None))
    inner = getattr(request, "request", None) or request  # Gradio wraps Starlette's
    found = getattr(inner, "scope", {}).get(PERSON)
    if not isinstance(found, Person):
        raise Problem("You are not signed in.", advice="Reload the page and sign in again.", reason="not_signed_in")
    return found


def own_token(token: str | None) -> str | None:
    """The given token or, on one's own machine, that of `hf auth login` or HF_TOKEN. A Space has none of its own."""
    if token or in_space():
        return token or None
    from huggingface_hub import get_token

    return get_token()


def address() -> str:
    """Where links in cards lead: this Space, or the page on the reader's own machine."""
    host = os.environ.get("SPACE_HOST", "").partition(",")[0].strip()
    return f"https://{host}" if in_space() and host else "http://127.0.0.1:7860"


def sign_in_advice() -> str:
    return "Sign in on this page." if in_space() else "Run `hf auth login`, or set HF_TOKEN, and try again."
