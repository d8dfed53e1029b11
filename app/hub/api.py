"""Operations on the Hub: the signed-in user, write access, model search, and publishing of a run.

Everything goes through the client of huggingface_hub, with timeouts of its own; every failure becomes a Problem with
the next step. Tokens are never written anywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from app.core.problems import Problem, shorten
from app.core.scratch import ScratchFolder
from app.core.workspace import local_workspace
from app.data.reading import files
from app.hub import connection, staging
from app.hub.connection import QUERY_TIMEOUT, call_with_timeout, translate_hub_errors
from app.hub.identity import resolve_token, sign_in_advice
from app.hub.staging import AdapterBase
from app.hub.upload import Destination, ProgressCallback, upload_folder
from app.runs import store
from app.runs.store import Run

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

REPO_NAME = re.compile(r"(?!.*(--|\.\.))(?!.*\.git$)[a-zA-Z0-9](?:[\w.-]{0,94}[a-zA-Z0-9_])?", re.ASCII)
_WRITE_ROLES = ("admin", "write", "contributor")  # roles in an organisation
_APP_TAG = "tunesmith"  # tag in the model card of everything that this app publishes
_INITIAL_FILES = {".gitattributes", "README.md"}  # a repository with only these counts as empty


@dataclass(frozen=True)
class HubUser:
    """The user of a token. namespaces: where the user may publish, their own first. can_write: False for a read-only
    token."""

    name: str
    full_name: str
    namespaces: tuple[str, ...]
    can_write: bool


class FoundModel(TypedDict):
    """A model on the Hub. parameters: how many, None where it is not known. gated: it has terms to accept."""

    id: str
    downloads: int
    parameters: int | None
    private: bool
    gated: bool


def signed_in_user(token: str | None = None) -> HubUser | None:
    """The user of the token; None without a token. Raises Problem where the Hub refuses it or cannot be reached."""
    token = resolve_token(token)
    if not token:
        return None
    with translate_hub_errors():
        return _parse_user(call_with_timeout(QUERY_TIMEOUT, lambda: connection.hub_client(token).whoami()))


def _parse_user(whoami: dict[str, Any]) -> HubUser:
    """The user, from the Hub's `whoami` response.

    A fine-grained token may write only in the namespaces of its scopes.
    """
    name, full_name = whoami["name"], whoami.get("fullname") or whoami["name"]
    namespaces = [name, *(org["name"] for org in whoami.get("orgs") or [] if org.get("roleInOrg") in _WRITE_ROLES)]
    access = (whoami.get("auth") or {}).get("accessToken") or {}
    if access.get("role") == "fineGrained":
        scopes = (access.get("fineGrained") or {}).get("scoped") or []
        writable = {scope["entity"].get("name") for scope in scopes if "repo.write" in scope.get("permissions", [])}
        return HubUser(name, full_name, tuple(space for space in namespaces if space in writable), bool(writable))
    return HubUser(name, full_name, tuple(namespaces), access.get("role") != "read")


def writable_namespaces(token: str | None = None) -> list[str]:
    """The namespaces where the token's user may publish; empty without a user."""
    user = signed_in_user(token)
    return list(user.namespaces) if user and user.can_write else []


def search_models(text: str, token: str | None = None, *, limit: int = 10, timeout: float = 4) -> list[FoundModel]:
    """Models that generate text, the most downloaded first.

    timeout: in seconds. Raises Problem where the Hub has not responded by then.
    """

    def query_hub() -> list[ModelInfo]:
        models = connection.hub_client(resolve_token(token)).list_models(
            search=text.strip()[:200],
            pipeline_tag="text-generation",
            sort="downloads",
            limit=limit,
            expand=["downloads", "safetensors", "private", "gated"],
        )
        return list(models)

    with translate_hub_errors():
        models = call_with_timeout(timeout, query_hub)
    return [
        {
            "id": model.id,
            "downloads": model.downloads or 0,
            "parameters": model.safetensors.total if model.safetensors else None,
            "private": bool(model.private),
            "gated": bool(model.gated),
        }
        for model in models
    ]


def make_repo_name(text: str) -> str:
    """A valid repository name, from any text."""
    return connection.slug(text) or "tuned-model"


def nearest_repo_name(text: str) -> str:
    """The text itself where it is a valid repository name, else the valid one that is made from it."""
    return text.strip() if REPO_NAME.fullmatch(text.strip()) else make_repo_name(text)


def split_repo_id(repo: str) -> tuple[str, str]:
    """(owner, name) of `owner/name`. Raises Problem, with a valid name as advice where there is one."""
    owner, slash, name = repo.strip().partition("/")
    if slash and REPO_NAME.fullmatch(owner) and REPO_NAME.fullmatch(name):
        return owner, name
    suggestion = f"{connection.slug(owner)}/{make_repo_name(name)}"
    advice = "Write it as owner/name."
    if slash and "/" not in name and name.strip() and REPO_NAME.fullmatch(owner):
        advice = f"Letters, digits, “-”, “_” and “.” are fine: {suggestion} would do."
    raise Problem(f"“{shorten(repo, 120)}” is not a name on the Hub.", advice=advice, reason="bad_name")


def require_write_access(target: str, token: str | None = None) -> None:
    """Raises Problem where the Hub would refuse to publish to `owner/name`, or to the namespace `owner`."""
    owner, name = (
        split_repo_id(target) if "/" in target or not REPO_NAME.fullmatch(target.strip()) else (target.strip(), "")
    )
    user = signed_in_user(token)
    if user is None:
        raise Problem("You are not signed in to the Hub.", advice=sign_in_advice(), reason="not_signed_in")
    if not user.can_write:
        raise Problem(
            f"You are signed in as {user.name}, but your token may only read.",
            reason="no_rights",
            advice="Make one that may write at https://huggingface.co/settings/tokens, then sign in with it.",
        )
    if name and _is_own_repo(f"{owner}/{name}", user, resolve_token(token)):
        return
    if owner not in user.namespaces:
        choices = ", ".join(user.namespaces) or user.name
        raise Problem(
            f"You are signed in as {user.name} and may not publish as “{owner}”.",
            reason="no_rights",
            advice=f"Publish as one of: {choices}.",
        )


def _is_own_repo(repo: str, user: HubUser, token: str | None) -> bool:
    """Whether the repository exists and may be updated.

    Raises Problem where it exists but is not writable, or holds something that this app has not published.
    """
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    client = connection.hub_client(token)
    advice = f"Choose another name, such as {user.name}/{repo.partition('/')[2]}-2."
    with translate_hub_errors(repo):
        try:
            call_with_timeout(QUERY_TIMEOUT, lambda: client.auth_check(repo, write=True))
        except RepositoryNotFoundError:
            return False
        except HfHubHTTPError as error:  # boundary: the Hub refuses access in several ways
            if connection.http_status(error) != 403:
                raise
            raise Problem(f"{repo} exists and is not yours to write to.", advice=advice, reason="taken") from error
        info = call_with_timeout(QUERY_TIMEOUT, lambda: client.model_info(repo))
    file_names = {file.rfilename for file in info.siblings or []}
    if _APP_TAG not in (info.tags or []) and file_names - _INITIAL_FILES:
        raise Problem(f"{repo} already holds something else.", advice=advice, reason="taken")
    return True


def publish_run(
    run: Run, repo: str, *, private: bool = True, token: str | None = None, progress: ProgressCallback | None = None
) -> str:
    """Publishes the run's result with a model card to `owner/name`, and its base model where only this machine has it.

    A missing repository is created. Returns the URL of its page. Safe to repeat: existing files are not uploaded again.
    The run's folder does not change. Raises Problem for any failure. progress(phase, bytes done, bytes in total) is
    called often.
    """
    repo, report_progress = repo.strip(), progress or (lambda what, done, of: None)
    split_repo_id(repo)
    store.result_folder(run)
    token = resolve_token(token)
    report_progress("Checking your rights", 0, 1)
    require_write_access(repo, token)
    with ScratchFolder(local_workspace()) as folder:
        base = _publish_base(run, repo, private, token, report_progress)
        staging.stage_run(run, folder, repo, base)
        destination = Destination(repo, private, token)
        upload_folder(folder, destination, f"Add {run.spec.title or run.id}", report_progress)
    return f"{connection.hub_endpoint()}/{repo}"


def _publish_base(
    run: Run, repo: str, private: bool, token: str | None, report_progress: ProgressCallback
) -> AdapterBase | None:
    """The base model of the result on the Hub, published there first where it is only on this machine; None for a
    full model."""
    base = staging.find_base_model(run)
    if base is None or base.folder is None:
        return base
    if base.run is not None:  # an adapter on a model that this app trained: that model is published first
        publish_run(base.run, f"{repo}-base", private=private, token=token, progress=report_progress)
        return AdapterBase(f"{repo}-base")
    name = f"{repo.partition('/')[0]}/{staging.PRACTICE_MODELS[base.folder.name][0]}"
    revision = _published_revision(name, base.folder, private, token)
    if revision is None:
        require_write_access(name, token)
        with ScratchFolder(local_workspace()) as folder:
            staging.stage_practice_model(base.folder, folder)
            destination = Destination(name, private, token, may_become_public=True)
            revision = upload_folder(folder, destination, "Add the practice model", report_progress)
    return AdapterBase(name, revision=revision)


def _published_revision(repo: str, folder: Path, private: bool, token: str | None) -> str | None:
    """The revision of `repo` with exactly the weights of `folder`; None where they differ, or where the repository
    is private but the result is not."""
    from huggingface_hub.errors import RepositoryNotFoundError

    with translate_hub_errors(repo):
        try:
            info = call_with_timeout(
                QUERY_TIMEOUT, lambda: connection.hub_client(token).model_info(repo, files_metadata=True)
            )
        except RepositoryNotFoundError:
            return None
    published_hashes = {file.rfilename: file.lfs.sha256 for file in info.siblings or [] if file.lfs}
    is_identical = all(
        published_hashes.get(file.name) == files.file_sha256(file) for file in folder.glob("*.safetensors")
    )
    return info.sha if is_identical and (private or not info.private) else None
