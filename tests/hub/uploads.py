"""Uploads: what goes into a commit: which files are large, where their bytes go, and the commit itself."""

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
from tests.hub.accounts import Refused
from tests.hub.authorization import Hub, Writable, hub_of, page_of, plain, readable, writable
from tests.hub.authorization import base as address
from tests.hub.store import LARGE, Files, Repo

router = APIRouter()
LARGEST_TEXT = 10 * 2**20  # bytes that git itself still keeps


@router.post("/api/{kind}/{namespace}/{name}/preupload/{revision}")
async def preupload(repo: Writable, revision: str, request: Request) -> dict[str, Any]:
    """Which files are large, and the hash of those already here: the client leaves unchanged ones out."""
    here = repo.at(plain(revision))["files"]
    asked = (await request.json())["files"]
    return {"files": [{"path": file["path"], "uploadMode": "lfs" if is_large(file) else "regular", "shouldIgnore": False,
                       "oid": known(here.get(file["path"]))} for file in asked]}  # fmt: skip


def is_large(file: dict[str, Any]) -> bool:
    name, sample = file["path"].rpartition("/")[2], base64.b64decode(file.get("sample") or "")
    return file["size"] > LARGEST_TEXT or b"\0" in sample or any(fnmatch.fnmatch(name, pattern) for pattern in LARGE)


def known(entry: dict[str, Any] | None) -> str | None:
    return None if entry is None else entry["sha256"] if entry["lfs"] else entry["oid"]


@router.post("/{namespace}/{name}.git/info/lfs/objects/batch")
@router.post("/{kind}/{namespace}/{name}.git/info/lfs/objects/batch")
async def batch(request: Request, namespace: str, name: str, kind: str = "models") -> JSONResponse:
    writable(request, kind, namespace, name)
    here = hub_of(request).store.blobs
    objects = []
    for asked in (await request.json())["objects"]:
        told = {"oid": asked["oid"], "size": asked["size"], "authenticated": True}
        if not (here / asked["oid"]).exists():
            told["actions"] = {"upload": {"href": f"{address(request)}/_lfs/{asked['oid']}", "header": {}},
                               "verify": {"href": f"{address(request)}/_lfs/verify", "header": {}}}  # fmt: skip
        objects.append(told)
    return JSONResponse({"transfer": "basic", "objects": objects}, media_type="application/vnd.git-lfs+json")


@router.put("/_lfs/{oid}")
async def receive(oid: str, request: Request) -> Response:
    """The real address is signed and stands at a storage service: the client sends no token here."""
    store, digest = hub_of(request).store, hashlib.sha256()
    draft = store.drafts / f"{oid}.{os.urandom(4).hex()}"
    with draft.open("wb") as file:
        async for chunk in request.stream():
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != oid:
        draft.unlink()
        raise Refused(400, "The content does not have this hash")
    draft.replace(store.blobs / oid)
    return Response(headers={"ETag": f'"{oid}"'})


@router.post("/_lfs/verify")
async def verify(request: Request) -> dict[str, Any]:
    asked = await request.json()
    blob = hub_of(request).store.blobs / asked["oid"]
    if not blob.exists() or blob.stat().st_size != asked["size"]:
        raise Refused(404, "Object not found")
    return {"success": True}


@router.get("/api/{kind}/{namespace}/{name}/xet-{mode}-token/{revision}")
def xet_token(kind: str, namespace: str, name: str, mode: str, request: Request) -> JSONResponse:
    """Where hf_xet finds the content-addressed store: a folder that client and server share."""
    (writable if mode == "write" else readable)(request, kind, namespace, name)
    hub = hub_of(request)
    if not hub.xet:
        raise Refused(404, "This Hub runs without xet: set HF_HUB_DISABLE_XET=1")
    expires = int(datetime.datetime.now().timestamp()) + 3600
    store = f"local://{xet.folder(hub.store.root)}"
    headers = {"X-Xet-Cas-Url": store, "X-Xet-Access-Token": "x", "X-Xet-Token-Expiration": str(expires)}
    return JSONResponse({"casUrl": store, "accessToken": "x", "exp": expires}, headers=headers)


@router.post("/api/{kind}/{namespace}/{name}/commit/{revision}")
async def commit(repo: Writable, revision: str, request: Request) -> dict[str, Any]:
    lines = [json.loads(line) for line in (await request.body()).splitlines() if line.strip()]
    hub = hub_of(request)
    with hub.store.lock:
        parent = repo.at(plain(revision))
        head = next((line["value"] for line in lines if line["key"] == "header"), {})
        if head.get("parentCommit") not in (None, parent["sha"]):
            raise Refused(412, "A commit has happened since. Please refresh and try again.")
        files = changed(hub, parent["files"], [line for line in lines if line["key"] != "header"])
        ref, number = target(repo, plain(revision), bool(request.query_params.get("create_pr")))
        author = hub.accounts.required(request).person
        made = repo.commit(ref, parent["sha"], files, author, head.get("summary", ""), head.get("description", ""))
    page = page_of(request, repo)
    return {"success": True, "commitOid": made["sha"], "commitUrl": f"{page}/commit/{made['sha']}", "hookOutput": "",
            "pullRequestUrl": f"{page}/discussions/{number}" if number else None}  # fmt: skip


def target(repo: Repo, revision: str, as_request: bool) -> tuple[str, int | None]:
    """The branch to move, and the pull request's number when one is asked for."""
    if not as_request:
        return revision, None
    facts = repo.facts
    facts["requests"] += 1
    repo.keep(facts)
    return f"refs/pr/{facts['requests']}", facts["requests"]


def changed(hub: Hub, files: Files, lines: list[dict[str, Any]]) -> Files:
    """The files after each change of a commit, in order."""
    files = dict(files)
    for line in lines:
        value = line["value"]
        path = value["path"]
        if path.startswith("/") or ".." in path.split("/"):
            raise Refused(400, f"Bad path {path}")
        if line["key"] == "file":
            files[path] = hub.store.file(base64.b64decode(value["content"]))
        elif line["key"] == "lfsFile":
            files[path] = large(hub, value["oid"], path)
        elif line["key"] == "deletedFile" and files.pop(path, None) is None:
            raise Refused(404, "A file with this name doesn't exist", "EntryNotFound")
        elif line["key"] == "deletedFolder":
            files = {name: entry for name, entry in files.items() if not name.startswith(path.rstrip("/") + "/")}
    return files


def large(hub: Hub, sha256: str, path: str) -> dict[str, Any]:
    store = hub.store
    if not (store.blobs / sha256).exists() and not (hub.xet and xet.fetch(store.root, sha256, store.blobs / sha256)):
        raise Refused(400, f"LFS pointer pointed to a file that does not exist: {path}")
    entry = store.large(sha256)
    return entry | {"xet": xet.name_of(store.root, sha256)} if hub.xet else entry
