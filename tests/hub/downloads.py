"""Download routes: file listings, and files with the headers that client caches depend on."""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse

from tests.hub.accounts import HubError
from tests.hub.authorization import ReadableRepo, base_url, decode_path, get_hub, readable_repo
from tests.hub.store import Repo, git_oid

router = APIRouter()


def file_entry(path: str, entry: dict[str, Any]) -> dict[str, Any]:
    tree_entry = {"type": "file", "path": path, "size": entry["size"], "oid": entry["oid"]}
    if entry.get("xet"):
        tree_entry["xetHash"] = entry["xet"]
    if entry["lfs"]:
        tree_entry["lfs"] = {"oid": entry["sha256"], "size": entry["size"], "pointerSize": 134}
    return tree_entry


def folder_entry(path: str) -> dict[str, Any]:
    return {"type": "directory", "path": path, "oid": git_oid(path.encode()), "size": 0}


@router.get("/api/{kind}/{namespace}/{name}/tree/{revision}")
@router.get("/api/{kind}/{namespace}/{name}/tree/{revision}/{path:path}")
def list_tree(repo: ReadableRepo, revision: str, path: str = "", recursive: bool = False) -> list[dict[str, Any]]:
    commit, prefix = repo.commit_at(decode_path(revision)), f"{decode_path(path).strip('/')}/".lstrip("/")
    entries: dict[str, dict[str, Any]] = {}
    for name, entry in sorted(commit["files"].items()):
        if not name.startswith(prefix):
            continue
        parts = name.removeprefix(prefix).split("/")
        for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
            parent_folder = prefix + "/".join(parts[:depth])
            entries.setdefault(parent_folder, folder_entry(parent_folder))
        if recursive or len(parts) == 1:
            entries[name] = file_entry(name, entry)
    if prefix and not entries:
        raise HubError(404, f"{prefix} does not exist", "EntryNotFound", {"X-Repo-Commit": commit["sha"]})
    return list(entries.values())


@router.post("/api/{kind}/{namespace}/{name}/paths-info/{revision}")
async def list_paths_info(repo: ReadableRepo, revision: str, request: Request) -> list[dict[str, Any]]:
    files, entries = repo.commit_at(decode_path(revision))["files"], []
    for path in (await request.form()).getlist("paths"):
        name = str(path).strip("/")
        if name in files:
            entries.append(file_entry(name, files[name]))
        elif any(file_name.startswith(f"{name}/") for file_name in files):
            entries.append(folder_entry(name))
    return entries


@router.api_route("/{kind}/{namespace}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
@router.api_route("/{kind}/{namespace}/{name}/raw/{revision}/{path:path}", methods=["GET", "HEAD"])
def download_from_typed_repo(
    kind: str, namespace: str, name: str, revision: str, path: str, request: Request
) -> FileResponse:
    return file_response(
        request, readable_repo(request, kind, namespace, name), decode_path(revision), decode_path(path)
    )


@router.api_route("/{namespace}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
@router.api_route("/{namespace}/{name}/raw/{revision}/{path:path}", methods=["GET", "HEAD"])
def download_from_model_repo(namespace: str, name: str, revision: str, path: str, request: Request) -> FileResponse:
    return file_response(
        request, readable_repo(request, "models", namespace, name), decode_path(revision), decode_path(path)
    )


def require_terms(request: Request, repo: Repo) -> None:
    """Raises HubError unless the caller owns a gated repository: nobody else has accepted its terms. Its metadata is public."""
    if not repo.metadata.get("gated") or get_hub(request).accounts.can_read_private(request, repo.namespace):
        return
    status = 403 if get_hub(request).accounts.find_token(request) else 401
    raise HubError(
        status, f"Access to {repo.kind[:-1]} {repo.name} is restricted. You must have access to it.", "GatedRepo"
    )


def file_response(request: Request, repo: Repo, revision: str, path: str) -> FileResponse:
    """The file, or a part of it for a Range request. Its ETag is the hash under which clients cache it."""
    commit = repo.commit_at(revision)
    require_terms(request, repo)
    entry = commit["files"].get(path)
    headers = {"X-Repo-Commit": commit["sha"]}
    if entry is None:
        raise HubError(404, "Entry not found", "EntryNotFound", headers)
    if request.method == "GET" and path in ("config.json", "adapter_config.json"):
        get_hub(request).downloads[repo.name] += 1
    if request.method == "GET" and "range" not in request.headers:
        time.sleep(get_hub(request).delays.get(path, 0))
    etag = f'"{entry["sha256"] if entry["lfs"] else entry["oid"]}"'
    headers |= {"ETag": etag, "X-Linked-ETag": etag, "X-Linked-Size": str(entry["size"]), "X-Content-Type-Options": "nosniff"}  # fmt: skip
    if entry.get("xet"):
        refresh = f"{base_url(request)}/api/{repo.kind}/{repo.name}/xet-read-token/{commit['sha']}"
        headers |= {"X-Xet-Hash": entry["xet"], "X-Xet-Refresh-Route": refresh}
    kind = "application/octet-stream" if entry["lfs"] else "text/plain; charset=utf-8"
    return FileResponse(repo.content(entry), headers=headers, media_type=kind)
