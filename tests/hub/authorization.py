"""Desk: what every route asks first: which repository is meant, and may this caller read or write it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Request

from tests.hub.accounts import Accounts, Refused
from tests.hub.store import KINDS, Repo, Store

SLASH = "\ue000"  # stands for a %2F inside one part of a path, such as refs%2Fpr%2F1


@dataclass
class Hub:
    """One local Hub. xet: large files go through the content-addressed store. seen: every request, in order."""

    store: Store
    accounts: Accounts = field(default_factory=Accounts)
    xet: bool = False
    downloads: Counter[str] = field(default_factory=Counter)
    seen: list[tuple[str, str, int]] = field(default_factory=list)


def hub_of(request: Request) -> Hub:
    return request.app.state.hub


def plain(text: str) -> str:
    return unquote(text).replace(SLASH, "/")


def base(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def page_of(request: Request, repo: Repo) -> str:
    return f"{base(request)}/{'' if repo.kind == 'models' else repo.kind + '/'}{repo.name}"


def readable(request: Request, kind: str, namespace: str, name: str) -> Repo:
    """The repository in the path. A private one is missing to everybody who may not see it."""
    if kind not in KINDS:
        raise Refused(404, "Not found")
    hub = hub_of(request)
    token = hub.accounts.token(request)
    repo = hub.store.repo(kind, f"{namespace}/{name}")
    if not repo.exists or (repo.facts["private"] and not hub.accounts.reads(request, namespace)):
        raise Refused(404 if token else 401, "Repository not found", "RepoNotFound")
    return repo


def writable(request: Request, kind: str, namespace: str, name: str) -> Repo:
    repo = readable(request, kind, namespace, name)
    hub_of(request).accounts.writer(request, namespace)
    return repo


Readable = Annotated[Repo, Depends(readable)]
Writable = Annotated[Repo, Depends(writable)]
