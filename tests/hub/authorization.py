"""Authorization of requests: finds the repository in the path and checks that the caller may read or write it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Request

from tests.hub.accounts import Accounts, HubError
from tests.hub.store import KINDS, Repo, Store

SLASH = "\ue000"  # replaces a %2F inside one path segment, such as refs%2Fpr%2F1


@dataclass
class Hub:
    """State of one local Hub. xet: large files go through the content-addressed store. requests: (method, path, status) of every request, in order.

    delays: {path of a file: seconds until it is sent}, except where a part of it is asked for."""

    store: Store
    accounts: Accounts = field(default_factory=Accounts)
    xet: bool = False
    downloads: Counter[str] = field(default_factory=Counter)
    requests: list[tuple[str, str, int]] = field(default_factory=list)
    delays: dict[str, float] = field(default_factory=dict)


def get_hub(request: Request) -> Hub:
    return request.app.state.hub


def decode_path(text: str) -> str:
    return unquote(text).replace(SLASH, "/")


def base_url(request: Request) -> str:
    return str(request.base_url).rstrip("/")


def repo_page_url(request: Request, repo: Repo) -> str:
    return f"{base_url(request)}/{'' if repo.kind == 'models' else repo.kind + '/'}{repo.name}"


def readable_repo(request: Request, kind: str, namespace: str, name: str) -> Repo:
    """The repository in the path. A private one is reported as not found to callers who may not read it."""
    if kind not in KINDS:
        raise HubError(404, "Not found")
    hub = get_hub(request)
    token = hub.accounts.find_token(request)
    repo = hub.store.repo(kind, f"{namespace}/{name}")
    if not repo.exists or (repo.metadata["private"] and not hub.accounts.can_read_private(request, namespace)):
        raise HubError(404 if token else 401, "Repository not found", "RepoNotFound")
    return repo


def writable_repo(request: Request, kind: str, namespace: str, name: str) -> Repo:
    repo = readable_repo(request, kind, namespace, name)
    get_hub(request).accounts.require_write_token(request, namespace)
    return repo


ReadableRepo = Annotated[Repo, Depends(readable_repo)]
WritableRepo = Annotated[Repo, Depends(writable_repo)]
