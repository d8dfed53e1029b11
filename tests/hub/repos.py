"""Repos: the account's and the repositories' own routes: whoami, create, settings, info, search, branches, discussions."""

from __future__ import annotations

import json
import re
import struct
from typing import Any

import yaml
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from tests.hub.accounts import Refused, identity, whoami
from tests.hub.authorization import Readable, Writable, hub_of, page_of, plain
from tests.hub.store import KINDS, NAME, Repo, now

router = APIRouter()


@router.get("/api/whoami-v2")
def who(request: Request) -> dict[str, Any]:
    return whoami(hub_of(request).accounts.required(request))


@router.get("/api/agent-harnesses")
def harnesses() -> dict[str, Any]:
    return {"standardEnvVars": [], "harnesses": {}}


@router.post("/api/validate-yaml")
async def validate(request: Request) -> dict[str, Any]:
    """Front matter that is no YAML is refused here, as on the real Hub."""
    try:
        yaml.safe_load(matter((await request.json())["content"]))
    except yaml.YAMLError as error:
        return {"errors": [{"message": str(error)}], "warnings": []}
    return {"errors": [], "warnings": []}


@router.post("/api/repos/create")
async def create(request: Request) -> Any:
    hub, asked = hub_of(request), await request.json()
    repo = named(request, asked)
    token = hub.accounts.writer(request, repo.namespace)
    if not NAME.fullmatch(asked["name"]) or ".." in asked["name"]:
        raise Refused(400, f"Invalid repository name {asked['name']!r}")
    with hub.store.lock:
        if repo.exists:
            said = {"error": "You already created this model repo", "url": page_of(request, repo)}
            return JSONResponse(said, 409)
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        repo.create(token.person, private, sdk=asked.get("sdk"))
    return {"url": page_of(request, repo), "name": repo.name, "id": identity(repo.name)}


@router.delete("/api/repos/delete")
async def delete(request: Request) -> dict[str, Any]:
    repo = named(request, await request.json())
    hub_of(request).accounts.writer(request, repo.namespace)
    repo.facts  # refuses a missing one
    repo.delete()
    return {}


def named(request: Request, asked: dict[str, Any]) -> Repo:
    hub = hub_of(request)
    namespace = asked.get("organization") or hub.accounts.required(request).person
    return hub.store.repo(f"{asked.get('type') or 'model'}s", f"{namespace}/{asked['name']}")


@router.put("/api/{kind}/{namespace}/{name}/settings")
async def settings(repo: Writable, request: Request) -> dict[str, Any]:
    asked = await request.json()
    facts = repo.facts
    if "visibility" in asked or "private" in asked:
        facts["private"] = asked.get("visibility") == "private" or bool(asked.get("private"))
    if "gated" in asked:
        facts["gated"] = asked["gated"]
    repo.keep(facts)
    return {"private": facts["private"]}


@router.get("/api/{kind}/{namespace}/{name}/auth-check")
def may_read(repo: Readable) -> dict[str, Any]:
    return {}


@router.get("/api/{kind}/{namespace}/{name}/auth-check/write")
def may_write(repo: Writable) -> dict[str, Any]:
    return {}


@router.get("/api/{kind}")
def listing(
    kind: str, request: Request, search: str = "", author: str = "", limit: int = 100, pipeline_tag: str = ""
) -> list[dict[str, Any]]:
    """What the caller may see, most downloaded first."""
    if kind not in KINDS:
        raise Refused(404, "Not found")
    hub = hub_of(request)
    found = [repo for repo in hub.store.every(kind) if search.lower() in repo.name.lower() and author in ("", repo.namespace)]  # fmt: skip
    seen = [repo for repo in found if not repo.facts["private"] or hub.accounts.reads(request, repo.namespace)]
    every = [info(request, repo, "main") for repo in seen]
    fitting = [one for one in every if pipeline_tag in ("", one.get("pipeline_tag"))]
    return sorted(fitting, key=lambda one: -one["downloads"])[:limit]


@router.get("/api/{kind}/{namespace}/{name}")
def latest(repo: Readable, request: Request) -> dict[str, Any]:
    return info(request, repo, "main")


@router.get("/api/{kind}/{namespace}/{name}/revision/{revision}")
def at_revision(repo: Readable, revision: str, request: Request) -> dict[str, Any]:
    return info(request, repo, plain(revision))


def info(request: Request, repo: Repo, revision: str) -> dict[str, Any]:
    facts, commit = repo.facts, repo.at(revision)
    card = front_matter(repo, commit)
    tags = [*(card.get("tags") or []), *([f"base_model:{card['base_model']}"] if card.get("base_model") else [])]
    told = {"_id": identity(repo.name), "id": repo.name, "author": repo.namespace, "sha": commit["sha"], "private": facts["private"],
            "gated": facts.get("gated", False), "disabled": False, "downloads": hub_of(request).downloads[repo.name], "likes": 0, "tags": tags, "cardData": card,
            "createdAt": facts["created"], "lastModified": commit["date"],
            "siblings": [sibling(path, entry) for path, entry in sorted(commit["files"].items())]}  # fmt: skip
    return told | model_facts(repo, commit, card) if repo.kind == "models" else told


def sibling(path: str, entry: dict[str, Any]) -> dict[str, Any]:
    told = {"rfilename": path, "size": entry["size"], "blobId": entry["oid"]}
    if entry["lfs"]:
        told["lfs"] = {"sha256": entry["sha256"], "size": entry["size"], "pointerSize": 134}
    return told


def model_facts(repo: Repo, commit: dict[str, Any], card: dict[str, Any]) -> dict[str, Any]:
    """What the Hub finds out by itself: the task, from the architecture if the card is silent, and the number of weights."""
    files = commit["files"]
    config = json.loads(repo.content(files["config.json"]).read_text()) if "config.json" in files else {}
    guess = "text-generation" if any("CausalLM" in name for name in config.get("architectures") or []) else None
    told = {"modelId": repo.name, "library_name": card.get("library_name"), "config": config,
            "pipeline_tag": card.get("pipeline_tag") or guess}  # fmt: skip
    if "model.safetensors" in files:
        total = weights(repo.content(files["model.safetensors"]).open("rb"))
        told["safetensors"] = {"parameters": {"BF16": total}, "total": total}
    return told


def weights(stream: Any) -> int:
    with stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    total = 0
    for name, tensor in header.items():
        size = 1
        for side in tensor["shape"] if name != "__metadata__" else [0]:
            size *= side
        total += size
    return total


def front_matter(repo: Repo, commit: dict[str, Any]) -> dict[str, Any]:
    if "README.md" not in commit["files"]:
        return {}
    try:
        return (
            yaml.safe_load(matter(repo.content(commit["files"]["README.md"]).read_text("utf-8", errors="replace")))
            or {}
        )
    except yaml.YAMLError:
        return {}


def matter(text: str) -> str:
    found = re.match(r"^---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    return found[1] if found else ""


@router.get("/api/{kind}/{namespace}/{name}/refs")
def refs(repo: Readable) -> dict[str, Any]:
    groups: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
    for name, sha in repo.facts["refs"].items():
        prefix, group = next(((p, g) for p, g in (("refs/tags/", "tags"), ("refs/pr/", "pullRequests")) if name.startswith(p)), ("", "branches"))  # fmt: skip
        ref = name if prefix else f"refs/heads/{name}"
        groups[group].append({"name": name.removeprefix(prefix), "ref": ref, "targetCommit": sha})
    return groups


@router.get("/api/{kind}/{namespace}/{name}/commits/{revision}")
def commits(repo: Readable, revision: str) -> list[dict[str, Any]]:
    found, at = [], repo.at(plain(revision))
    while True:
        found.append({"id": at["sha"], "title": at["title"], "message": at["message"], "date": at["date"], "authors": [{"user": at["author"]}]})  # fmt: skip
        if not at["parent"]:
            return found
        at = repo.at(at["parent"])


@router.post("/api/{kind}/{namespace}/{name}/branch/{branch}")
async def branch(repo: Writable, branch: str, request: Request) -> dict[str, Any]:
    asked = await request.json() if await request.body() else {}
    return add_ref(repo, plain(branch), asked.get("startingPoint") or "main")


@router.post("/api/{kind}/{namespace}/{name}/tag/{revision}")
async def tag(repo: Writable, revision: str, request: Request) -> dict[str, Any]:
    return add_ref(repo, f"refs/tags/{(await request.json())['tag']}", plain(revision))


def add_ref(repo: Repo, ref: str, start: str) -> dict[str, Any]:
    facts = repo.facts
    if ref in facts["refs"]:
        raise Refused(409, f"Reference already exists: {ref}")
    facts["refs"][ref] = repo.at(start)["sha"]
    repo.keep(facts)
    return {}


@router.post("/api/{kind}/{namespace}/{name}/discussions")
async def discuss(repo: Writable, request: Request) -> dict[str, Any]:
    """Opens a draft pull request, as the xet path does before it commits to refs/pr/N."""
    asked = await request.json()
    facts = repo.facts
    facts["requests"] += 1
    number = facts["requests"]
    facts["refs"][f"refs/pr/{number}"] = facts["refs"]["main"]
    told = {"num": number, "title": asked["title"], "status": "draft", "isPullRequest": True, "createdAt": now(), "events": [],
            "author": {"name": hub_of(request).accounts.required(request).person}, "repo": {"name": repo.name, "type": repo.kind[:-1]},
            "filesWithConflicts": [], "changes": {"base": "refs/heads/main", "mergeCommitId": None}}  # fmt: skip
    facts["discussions"][str(number)] = told
    repo.keep(facts)
    return told


@router.get("/api/{kind}/{namespace}/{name}/discussions/{number}")
def discussion(repo: Readable, number: str) -> dict[str, Any]:
    return repo.facts["discussions"][number]
