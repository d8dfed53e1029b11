"""Routes of accounts and repositories: whoami, create, settings, info, search, branches, discussions."""

from __future__ import annotations

import json
import re
import struct
from typing import Any

import yaml
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from tests.hub.accounts import HubError, hub_id, whoami
from tests.hub.authorization import ReadableRepo, WritableRepo, decode_path, get_hub, repo_page_url
from tests.hub.store import KINDS, REPO_NAME, Repo, utc_timestamp

router = APIRouter()


@router.get("/api/whoami-v2")
def whoami_response(request: Request) -> dict[str, Any]:
    return whoami(get_hub(request).accounts.require_token(request))


@router.get("/api/agent-harnesses")
def agent_harnesses() -> dict[str, Any]:
    return {"standardEnvVars": [], "harnesses": {}}


@router.post("/api/validate-yaml")
async def validate_yaml(request: Request) -> dict[str, Any]:
    """Reports front matter that is not valid YAML, as the real Hub does."""
    try:
        yaml.safe_load(front_matter_text((await request.json())["content"]))
    except yaml.YAMLError as error:
        return {"errors": [{"message": str(error)}], "warnings": []}
    return {"errors": [], "warnings": []}


@router.post("/api/repos/create")
async def create_repo(request: Request) -> Any:
    hub, options = get_hub(request), await request.json()
    repo = requested_repo(request, options)
    token = hub.accounts.require_write_token(request, repo.namespace)
    if not REPO_NAME.fullmatch(options["name"]) or ".." in options["name"]:
        raise HubError(400, f"Invalid repository name {options['name']!r}")
    with hub.store.lock:
        if repo.exists:
            error_body = {"error": "You already created this model repo", "url": repo_page_url(request, repo)}
            return JSONResponse(error_body, 409)
        private = options.get("visibility") == "private" or bool(options.get("private"))
        repo.create(token.user, private, sdk=options.get("sdk"))
    return {"url": repo_page_url(request, repo), "name": repo.name, "id": hub_id(repo.name)}


@router.delete("/api/repos/delete")
async def delete_repo(request: Request) -> dict[str, Any]:
    repo = requested_repo(request, await request.json())
    get_hub(request).accounts.require_write_token(request, repo.namespace)
    repo.metadata  # raises HubError if the repository does not exist
    repo.delete()
    return {}


def requested_repo(request: Request, options: dict[str, Any]) -> Repo:
    hub = get_hub(request)
    namespace = options.get("organization") or hub.accounts.require_token(request).user
    return hub.store.repo(f"{options.get('type') or 'model'}s", f"{namespace}/{options['name']}")


@router.put("/api/{kind}/{namespace}/{name}/settings")
async def change_settings(repo: WritableRepo, request: Request) -> dict[str, Any]:
    changes = await request.json()
    metadata = repo.metadata
    if "visibility" in changes or "private" in changes:
        metadata["private"] = changes.get("visibility") == "private" or bool(changes.get("private"))
    if "gated" in changes:
        metadata["gated"] = changes["gated"]
    repo.save_metadata(metadata)
    return {"private": metadata["private"]}


@router.get("/api/{kind}/{namespace}/{name}/auth-check")
def check_read_access(repo: ReadableRepo) -> dict[str, Any]:
    return {}


@router.get("/api/{kind}/{namespace}/{name}/auth-check/write")
def check_write_access(repo: WritableRepo) -> dict[str, Any]:
    return {}


@router.get("/api/{kind}")
def list_repos(
    kind: str, request: Request, search: str = "", author: str = "", limit: int = 100, pipeline_tag: str = ""
) -> list[dict[str, Any]]:
    """The repositories that the caller may read, most downloaded first."""
    if kind not in KINDS:
        raise HubError(404, "Not found")
    hub = get_hub(request)
    matching_repos = [repo for repo in hub.store.list_repos(kind) if search.lower() in repo.name.lower() and author in ("", repo.namespace)]  # fmt: skip
    visible_repos = [
        repo
        for repo in matching_repos
        if not repo.metadata["private"] or hub.accounts.can_read_private(request, repo.namespace)
    ]
    repo_infos = [build_repo_info(request, repo, "main") for repo in visible_repos]
    matching_infos = [repo_info for repo_info in repo_infos if pipeline_tag in ("", repo_info.get("pipeline_tag"))]
    return sorted(matching_infos, key=lambda repo_info: -repo_info["downloads"])[:limit]


@router.get("/api/{kind}/{namespace}/{name}")
def repo_info_at_main(repo: ReadableRepo, request: Request) -> dict[str, Any]:
    return build_repo_info(request, repo, "main")


@router.get("/api/{kind}/{namespace}/{name}/revision/{revision}")
def repo_info_at_revision(repo: ReadableRepo, revision: str, request: Request) -> dict[str, Any]:
    return build_repo_info(request, repo, decode_path(revision))


def build_repo_info(request: Request, repo: Repo, revision: str) -> dict[str, Any]:
    metadata, commit = repo.metadata, repo.commit_at(revision)
    card = read_model_card(repo, commit)
    tags = [*(card.get("tags") or []), *([f"base_model:{card['base_model']}"] if card.get("base_model") else [])]
    repo_info = {"_id": hub_id(repo.name), "id": repo.name, "author": repo.namespace, "sha": commit["sha"], "private": metadata["private"],
            "gated": metadata.get("gated", False), "disabled": False, "downloads": get_hub(request).downloads[repo.name], "likes": 0, "tags": tags, "cardData": card,
            "createdAt": metadata["created"], "lastModified": commit["date"],
            "siblings": [file_info(path, entry) for path, entry in sorted(commit["files"].items())]}  # fmt: skip
    return repo_info | model_metadata(repo, commit, card) if repo.kind == "models" else repo_info


def file_info(path: str, entry: dict[str, Any]) -> dict[str, Any]:
    fields = {"rfilename": path, "size": entry["size"], "blobId": entry["oid"]}
    if entry["lfs"]:
        fields["lfs"] = {"sha256": entry["sha256"], "size": entry["size"], "pointerSize": 134}
    return fields


def model_metadata(repo: Repo, commit: dict[str, Any], card: dict[str, Any]) -> dict[str, Any]:
    """What the Hub derives from the files: the task, from the architecture if the card names none, and the parameter count."""
    files = commit["files"]
    try:
        config = json.loads(repo.content(files["config.json"]).read_text()) if "config.json" in files else {}
    except ValueError:  # a damaged file tells the Hub nothing
        config = {}
    inferred_task = "text-generation" if any("CausalLM" in name for name in config.get("architectures") or []) else None
    fields = {"modelId": repo.name, "library_name": card.get("library_name"), "config": config,
            "pipeline_tag": card.get("pipeline_tag") or inferred_task}  # fmt: skip
    if "model.safetensors" in files:
        parameter_count = count_parameters(repo.content(files["model.safetensors"]).open("rb"))
        fields["safetensors"] = {"parameters": {"BF16": parameter_count}, "total": parameter_count}
    return fields


def count_parameters(stream: Any) -> int:
    with stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    total = 0
    for name, tensor in header.items():
        size = 1
        for dimension in tensor["shape"] if name != "__metadata__" else [0]:
            size *= dimension
        total += size
    return total


def read_model_card(repo: Repo, commit: dict[str, Any]) -> dict[str, Any]:
    if "README.md" not in commit["files"]:
        return {}
    try:
        return (
            yaml.safe_load(
                front_matter_text(repo.content(commit["files"]["README.md"]).read_text("utf-8", errors="replace"))
            )
            or {}
        )
    except yaml.YAMLError:
        return {}


def front_matter_text(text: str) -> str:
    match = re.match(r"^---\r?\n(.*?)\r?\n---", text, re.DOTALL)
    return match[1] if match else ""


@router.get("/api/{kind}/{namespace}/{name}/refs")
def list_refs(repo: ReadableRepo) -> dict[str, Any]:
    groups: dict[str, list[dict[str, str]]] = {"branches": [], "converts": [], "tags": [], "pullRequests": []}
    for name, sha in repo.metadata["refs"].items():
        prefix, group = next(((prefix, group) for prefix, group in (("refs/tags/", "tags"), ("refs/pr/", "pullRequests")) if name.startswith(prefix)), ("", "branches"))  # fmt: skip
        ref = name if prefix else f"refs/heads/{name}"
        groups[group].append({"name": name.removeprefix(prefix), "ref": ref, "targetCommit": sha})
    return groups


@router.get("/api/{kind}/{namespace}/{name}/commits/{revision}")
def list_commits(repo: ReadableRepo, revision: str) -> list[dict[str, Any]]:
    history, commit = [], repo.commit_at(decode_path(revision))
    while True:
        history.append({"id": commit["sha"], "title": commit["title"], "message": commit["message"], "date": commit["date"], "authors": [{"user": commit["author"]}]})  # fmt: skip
        if not commit["parent"]:
            return history
        commit = repo.commit_at(commit["parent"])


@router.post("/api/{kind}/{namespace}/{name}/branch/{branch}")
async def create_branch(repo: WritableRepo, branch: str, request: Request) -> dict[str, Any]:
    options = await request.json() if await request.body() else {}
    return add_ref(repo, decode_path(branch), options.get("startingPoint") or "main")


@router.post("/api/{kind}/{namespace}/{name}/tag/{revision}")
async def create_tag(repo: WritableRepo, revision: str, request: Request) -> dict[str, Any]:
    return add_ref(repo, f"refs/tags/{(await request.json())['tag']}", decode_path(revision))


def add_ref(repo: Repo, ref: str, start_revision: str) -> dict[str, Any]:
    metadata = repo.metadata
    if ref in metadata["refs"]:
        raise HubError(409, f"Reference already exists: {ref}")
    metadata["refs"][ref] = repo.commit_at(start_revision)["sha"]
    repo.save_metadata(metadata)
    return {}


@router.post("/api/{kind}/{namespace}/{name}/discussions")
async def open_pull_request(repo: WritableRepo, request: Request) -> dict[str, Any]:
    """Opens a draft pull request, as the xet path does before it commits to refs/pr/N."""
    options = await request.json()
    metadata = repo.metadata
    metadata["requests"] += 1
    number = metadata["requests"]
    metadata["refs"][f"refs/pr/{number}"] = metadata["refs"]["main"]
    pull_request = {"num": number, "title": options["title"], "status": "draft", "isPullRequest": True, "createdAt": utc_timestamp(), "events": [],
            "author": {"name": get_hub(request).accounts.require_token(request).user}, "repo": {"name": repo.name, "type": repo.kind[:-1]},
            "filesWithConflicts": [], "changes": {"base": "refs/heads/main", "mergeCommitId": None}}  # fmt: skip
    metadata["discussions"][str(number)] = pull_request
    repo.save_metadata(metadata)
    return pull_request


@router.get("/api/{kind}/{namespace}/{name}/discussions/{number}")
def pull_request_info(repo: ReadableRepo, number: str) -> dict[str, Any]:
    return repo.metadata["discussions"][number]
