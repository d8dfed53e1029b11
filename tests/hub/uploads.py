"""Upload routes: which files are large, where their contents are sent, and the commit itself."""

from __future__ import annotations

import base64
import datetime
import fnmatch
import hashlib
import json
import os
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from tests.hub import xet
from tests.hub.accounts import HubError
from tests.hub.authorization import Hub, WritableRepo, decode_path, get_hub, readable_repo, repo_page_url, writable_repo
from tests.hub.authorization import base_url as hub_url
from tests.hub.store import LFS_PATTERNS, Files, Repo

router = APIRouter()
MAX_GIT_FILE_BYTES = 10 * 2**20  # larger files are stored with Git LFS


@router.post("/api/{kind}/{namespace}/{name}/preupload/{revision}")
async def preupload(repo: WritableRepo, revision: str, request: Request) -> dict[str, Any]:
    """Which files are large, and the hashes of the files already in the repository: the client skips unchanged files."""
    existing_files = repo.commit_at(decode_path(revision))["files"]
    candidate_files = (await request.json())["files"]
    return {"files": [{"path": file["path"], "uploadMode": "lfs" if is_large(file) else "regular", "shouldIgnore": False,
                       "oid": entry_oid(existing_files.get(file["path"]))} for file in candidate_files]}  # fmt: skip


def is_large(file: dict[str, Any]) -> bool:
    name, sample = file["path"].rpartition("/")[2], base64.b64decode(file.get("sample") or "")
    return (
        file["size"] > MAX_GIT_FILE_BYTES
        or b"\0" in sample
        or any(fnmatch.fnmatch(name, pattern) for pattern in LFS_PATTERNS)
    )


def entry_oid(entry: dict[str, Any] | None) -> str | None:
    return None if entry is None else entry["sha256"] if entry["lfs"] else entry["oid"]


@router.post("/{namespace}/{name}.git/info/lfs/objects/batch")
@router.post("/{kind}/{namespace}/{name}.git/info/lfs/objects/batch")
async def request_lfs_uploads(request: Request, namespace: str, name: str, kind: str = "models") -> JSONResponse:
    writable_repo(request, kind, namespace, name)
    blobs = get_hub(request).store.blobs
    objects = []
    for requested in (await request.json())["objects"]:
        upload_object = {"oid": requested["oid"], "size": requested["size"], "authenticated": True}
        if not (blobs / requested["oid"]).exists():
            upload_object["actions"] = {"upload": {"href": f"{hub_url(request)}/_lfs/{requested['oid']}", "header": {}},
                               "verify": {"href": f"{hub_url(request)}/_lfs/verify", "header": {}}}  # fmt: skip
        objects.append(upload_object)
    return JSONResponse({"transfer": "basic", "objects": objects}, media_type="application/vnd.git-lfs+json")


@router.put("/_lfs/{oid}")
async def receive_lfs_content(oid: str, request: Request) -> Response:
    """Receives the content of a large file. The real URL is a signed one of a storage service, so the client sends no token."""
    store, digest = get_hub(request).store, hashlib.sha256()
    temporary_file = store.temporary_folder / f"{oid}.{os.urandom(4).hex()}"
    with temporary_file.open("wb") as file:
        async for chunk in request.stream():
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != oid:
        temporary_file.unlink()
        raise HubError(400, "The content does not have this hash")
    temporary_file.replace(store.blobs / oid)
    return Response(headers={"ETag": f'"{oid}"'})


@router.post("/_lfs/verify")
async def verify_lfs_upload(request: Request) -> dict[str, Any]:
    uploaded_object = await request.json()
    blob = get_hub(request).store.blobs / uploaded_object["oid"]
    if not blob.exists() or blob.stat().st_size != uploaded_object["size"]:
        raise HubError(404, "Object not found")
    return {"success": True}


@router.get("/api/{kind}/{namespace}/{name}/xet-{mode}-token/{revision}")
def xet_token(kind: str, namespace: str, name: str, mode: str, request: Request) -> JSONResponse:
    """Tells hf_xet where the content-addressed store_url is: a folder that client and server share."""
    (writable_repo if mode == "write" else readable_repo)(request, kind, namespace, name)
    hub = get_hub(request)
    if not hub.xet:
        raise HubError(404, "This Hub runs without xet: set HF_HUB_DISABLE_XET=1")
    expiry_time = int(datetime.datetime.now().timestamp()) + 3600
    store_url = f"local://{xet.xet_folder(hub.store.root)}"
    headers = {"X-Xet-Cas-Url": store_url, "X-Xet-Access-Token": "x", "X-Xet-Token-Expiration": str(expiry_time)}
    return JSONResponse({"casUrl": store_url, "accessToken": "x", "exp": expiry_time}, headers=headers)


@router.post("/api/{kind}/{namespace}/{name}/commit/{revision}")
async def commit(repo: WritableRepo, revision: str, request: Request) -> dict[str, Any]:
    lines = [json.loads(line) for line in (await request.body()).splitlines() if line.strip()]
    hub = get_hub(request)
    with hub.store.lock:
        parent = repo.commit_at(decode_path(revision))
        header = next((line["value"] for line in lines if line["key"] == "header"), {})
        if header.get("parentCommit") not in (None, parent["sha"]):
            raise HubError(412, "A commit has happened since. Please refresh and try again.")
        files = apply_changes(hub, parent["files"], [line for line in lines if line["key"] != "header"])
        ref, number = target_ref(repo, decode_path(revision), bool(request.query_params.get("create_pr")))
        author = hub.accounts.require_token(request).user
        new_commit = repo.commit(
            ref, parent["sha"], files, author, header.get("summary", ""), header.get("description", "")
        )
    page = repo_page_url(request, repo)
    return {"success": True, "commitOid": new_commit["sha"], "commitUrl": f"{page}/commit/{new_commit['sha']}", "hookOutput": "",
            "pullRequestUrl": f"{page}/discussions/{number}" if number else None}  # fmt: skip


def target_ref(repo: Repo, revision: str, create_pr: bool) -> tuple[str, int | None]:
    """(the ref that the commit moves, the number of the new pull request or None)."""
    if not create_pr:
        return revision, None
    metadata = repo.metadata
    metadata["requests"] += 1
    repo.save_metadata(metadata)
    return f"refs/pr/{metadata['requests']}", metadata["requests"]


def apply_changes(hub: Hub, files: Files, lines: list[dict[str, Any]]) -> Files:
    """The files after the changes of a commit, applied in order."""
    files = dict(files)
    for line in lines:
        change = line["value"]
        path = change["path"]
        if path.startswith("/") or ".." in path.split("/"):
            raise HubError(400, f"Bad path {path}")
        if line["key"] == "file":
            files[path] = hub.store.git_file_entry(base64.b64decode(change["content"]))
        elif line["key"] == "lfsFile":
            files[path] = uploaded_lfs_entry(hub, change["oid"], path)
        elif line["key"] == "deletedFile" and files.pop(path, None) is None:
            raise HubError(404, "A file with this name doesn't exist", "EntryNotFound")
        elif line["key"] == "deletedFolder":
            files = {name: entry for name, entry in files.items() if not name.startswith(path.rstrip("/") + "/")}
    return files


def uploaded_lfs_entry(hub: Hub, sha256: str, path: str) -> dict[str, Any]:
    store = hub.store
    if not (store.blobs / sha256).exists() and not (
        hub.xet and xet.fetch_file(store.root, sha256, store.blobs / sha256)
    ):
        raise HubError(400, f"LFS pointer pointed to a file that does not exist: {path}")
    entry = store.lfs_file_entry(sha256)
    return entry | {"xet": xet.find_xet_hash(store.root, sha256)} if hub.xet else entry
