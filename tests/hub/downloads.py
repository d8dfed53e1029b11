"""Downloads: trees, and the files themselves with the headers clients keep their cache by."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse

from tests.hub.accounts import Refused
from tests.hub.authorization import Readable, base, hub_of, plain, readable
from tests.hub.store import Repo, git_oid

router = APIRouter()


def file_entry(path: str, entry: dict[str, Any]) -> dict[str, Any]:
    told = {"type": "file", "path": path, "size": entry["size"], "oid": entry["oid"]}
    if entry.get("xet"):
        told["xetHash"] = entry["xet"]
    if entry["lfs"]:
        told["lfs"] = {"oid": entry["sha256"], "size": entry["size"], "pointerSize": 134}
    return told


def folder_entry(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "oid": git_oid(path.encode()), "size": 0}


@router.get("/api/{kind}/{namespace}/{name}/tree/{revision}")
@router.get("/api/{kind}/{namespace}/{name}/tree/{revision}/{path:path}")
def tree(repo: Readable, revision: str, path: str = "", recursive: bool = False) -> list[dict[str, Any]]:
    commit, inside = repo.at(plain(revision)), f"{plain(path).strip('/')}/".lstrip("/")
    found: dict[str, dict[str, Any]] = {}
    for name, entry in sorted(commit["files"].items()):
        if not name.startswith(inside):
            continue
        parts = name.removeprefix(inside).split("/")
        for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
            above = inside + "/".join(parts[:depth])
            found.setdefault(above, folder_entry(above))
        if recursive or len(parts) == 1:
            found[name] = file_entry(name, entry)
    if inside and not found:
        raise Refused(404, f"{inside} does not exist", "EntryNotFound", {"X-Repo-Commit": commit["sha"]})
    return list(found.values())


@router.post("/api/{kind}/{namespace}/{name}/paths-info/{revision}")
async def paths(repo: Readable, revision: str, request: Request) -> list[dict[str, Any]]:
    files, found = repo.at(plain(revision))["files"], []
    for path in (await request.form()).getlist("paths"):
        name = str(path).strip("/")
        if name in files:
            found.append(file_entry(name, files[name]))
        elif any(other.startswith(f"{name}/") for other in files):
            found.append(folder_entry(name))
    return found


@router.api_route("/{kind}/{namespace}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
@router.api_route("/{kind}/{namespace}/{name}/raw/{revision}/{path:path}", methods=["GET", "HEAD"])
def other(kind: str, namespace: str, name: str, revision: str, path: str, request: Request) -> FileResponse:
    return resolve(request, readable(request, kind, namespace, name), plain(revision), plain(path))


@router.api_route("/{namespace}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
@router.api_route("/{namespace}/{name}/raw/{revision}/{path:path}", methods=["GET", "HEAD"])
def model(namespace: str, name: str, revision: str, path: str, request: Request) -> FileResponse:
    return resolve(request, readable(request, "models", namespace, name), plain(revision), plain(path))


def require_terms(request: Request, repo: Repo) -> None:
    """Files of a gated repository are its owners' only: nobody else has accepted its terms. What it is everybody sees."""
    if not repo.facts.get("gated") or hub_of(request).accounts.reads(request, repo.namespace):
        return
    status = 403 if hub_of(request).accounts.token(request) else 401
    raise Refused(
        status, f"Access to {repo.kind[:-1]} {repo.name} is restricted. You must have access to it.", "GatedRepo"
    )


def resolve(request: Request, repo: Repo, revision: str, path: str) -> FileResponse:
    """The file, in parts if a Range is asked for. Its ETag is the hash that the client's cache is named by."""
    commit = repo.at(revision)
    require_terms(request, repo)
    entry = commit["files"].get(path)
    headers = {"X-Repo-Commit": commit["sha"]}
    if entry is None:
        raise Refused(404, "Entry not found", "EntryNotFound", headers)
    if request.method == "GET" and path in ("config.json", "adapter_config.json"):
        hub_of(request).downloads[repo.name] += 1
    etag = f'"{entry["sha256"] if entry["lfs"] else entry["oid"]}"'
    headers |= {"ETag": etag, "X-Linked-ETag": etag, "X-Linked-Size": str(entry["size"]), "X-Content-Type-Options": "nosniff"}  # fmt: skip
    if entry.get("xet"):
        refresh = f"{base(request)}/api/{repo.kind}/{repo.name}/xet-read-token/{commit['sha']}"
        headers |= {"X-Xet-Hash": entry["xet"], "X-Xet-Refresh-Route": refresh}
    kind = "application/octet-stream" if entry["lfs"] else "text/plain; charset=utf-8"
    return FileResponse(repo.content(entry), headers=headers, media_type=kind)
