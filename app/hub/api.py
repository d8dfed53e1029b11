"""Hub: who is signed in, where they may publish, which models there are, and the publishing itself.

Everything goes through huggingface_hub's own client, within deadlines of ours; every failure is one sentence with the
next step. Tokens are never written anywhere.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.problems import Problem, shorten
from app.hub import connection, staging
from app.hub.connection import border, within
from app.hub.identity import own_token, sign_in_advice
from app.hub.staging import Base
from app.runs import store
from app.runs.store import Run

Progress = Callable[[str, int, int], None]
NAME = re.compile(r"(?!.*(--|\.\.))(?!.*\.git$)[a-zA-Z0-9](?:[\w.-]{0,94}[a-zA-Z0-9_])?", re.ASCII)
WRITING = ("admin", "write", "contributor")  # roles in an organisation
ASKING, CHANGING = 8.0, 30.0  # seconds for a small question, and for making or opening a repository
FROM_HERE = "tunesmith"  # the tag of everything published by this app
UNTOUCHED = {".gitattributes", "README.md"}  # a repository with nothing else is still empty


@dataclass(frozen=True)
class Who:
    """Somebody who is signed in. namespaces: where they may publish, their own first. writes: False if their token only reads."""

    name: str
    full_name: str
    namespaces: tuple[str, ...]
    writes: bool


def signed_in(token: str | None = None) -> Who | None:
    """Whom the token belongs to; None without a token. Raises Problem when the Hub refuses it or cannot be asked."""
    token = own_token(token)
    if not token:
        return None
    with border():
        return who_of(within(ASKING, lambda: connection.api(token).whoami()))


def who_of(told: dict[str, Any]) -> Who:
    """Who, from the Hub's own words. A fine-grained token writes only where it says so."""
    name = told["name"]
    mine = [name, *(org["name"] for org in told.get("orgs") or [] if org.get("roleInOrg") in WRITING)]
    access = (told.get("auth") or {}).get("accessToken") or {}
    if access.get("role") == "fineGrained":
        scopes = (access.get("fineGrained") or {}).get("scoped") or []
        written = {scope["entity"].get("name") for scope in scopes if "repo.write" in scope.get("permissions", [])}
        return Who(
            name, told.get("fullname") or name, tuple(space for space in mine if space in written), bool(written)
        )
    return Who(name, told.get("fullname") or name, tuple(mine), access.get("role") != "read")


def namespaces(token: str | None = None) -> list[str]:
    """Where the token's person may publish; nothing when nobody is signed in."""
    who = signed_in(token)
    return list(who.namespaces) if who and who.writes else []


def search_models(text: str, token: str | None = None, *, limit: int = 10, seconds: float = 4) -> list[dict[str, Any]]:
    """Models that write text and fit the words, most downloaded first: id, downloads, parameters, private, gated.

    Raises Problem when the Hub has not answered within `seconds`.
    """
    wanted = ["downloads", "safetensors", "private", "gated"]

    def ask() -> list[Any]:
        found = connection.api(own_token(token)).list_models(
            search=text.strip()[:200], pipeline_tag="text-generation", sort="downloads", limit=limit, expand=wanted
        )
        return list(found)

    with border():
        found = within(seconds, ask)
    return [{"id": one.id, "downloads": one.downloads or 0, "parameters": one.safetensors.total if one.safetensors else None,
             "private": bool(one.private), "gated": bool(one.gated)} for one in found]  # fmt: skip


def repo_name(text: str) -> str:
    """A name the Hub takes, from any text."""
    return connection.slug(text) or "tuned-model"


def split_name(repo: str) -> tuple[str, str]:
    """(owner, name) of `owner/name`. Raises Problem, with a name that would do when there is one."""
    owner, slash, name = repo.strip().partition("/")
    if slash and NAME.fullmatch(owner) and NAME.fullmatch(name):
        return owner, name
    fixed = f"{connection.slug(owner)}/{repo_name(name)}"
    advice = "Write it as owner/name."
    if slash and "/" not in name and name.strip() and NAME.fullmatch(owner):
        advice = f"Letters, digits, “-”, “_” and “.” are fine: {fixed} would do."
    raise Problem(f"“{shorten(repo, 120)}” is not a name on the Hub.", advice=advice, reason="bad_name")


def require_write(where: str, token: str | None = None) -> None:
    """Raises Problem when publishing to `owner/name`, or anywhere in the namespace `owner`, would be refused."""
    owner, name = split_name(where) if "/" in where or not NAME.fullmatch(where.strip()) else (where.strip(), "")
    who = signed_in(token)
    if who is None:
        raise Problem("You are not signed in to the Hub.", advice=sign_in_advice(), reason="not_signed_in")
    if not who.writes:
        raise Problem(f"You are signed in as {who.name}, but your token may only read.", reason="no_rights",
                      advice="Make one that may write at https://huggingface.co/settings/tokens, then sign in with it.")  # fmt: skip
    if name and exists(f"{owner}/{name}", who, own_token(token)):
        return
    if owner not in who.namespaces:
        choices = ", ".join(who.namespaces) or who.name
        raise Problem(f"You are signed in as {who.name} and may not publish as “{owner}”.", reason="no_rights",
                      advice=f"Publish as one of: {choices}.")  # fmt: skip


def exists(repo: str, who: Who, token: str | None) -> bool:
    """Whether it is there and ours to go on with. Raises Problem when it is there and is not."""
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    api = connection.api(token)
    other = f"Choose another name, such as {who.name}/{repo.partition('/')[2]}-2."
    with border(repo):
        try:
            within(ASKING, lambda: api.auth_check(repo, write=True))
        except RepositoryNotFoundError:
            return False
        except HfHubHTTPError as error:  # a border: the Hub says no in many words
            if connection.status(error) != 403:
                raise
            raise Problem(f"{repo} exists and is not yours to write to.", advice=other, reason="taken") from error
        info = within(ASKING, lambda: api.model_info(repo))
    files = {file.rfilename for file in info.siblings or []}
    if FROM_HERE not in (info.tags or []) and files - UNTOUCHED:
        raise Problem(f"{repo} already holds something else.", advice=other, reason="taken")
    return True


def push(
    run: Run, repo: str, *, private: bool = True, token: str | None = None, progress: Progress | None = None
) -> str:
    """Publishes the run's result with its card to `owner/name`, made if missing, and the base if only this machine has it.

    Returns the address of the repository's page. Safe to repeat: what is there already is not sent again. The run's
    folder stays as it is. Raises Problem, whatever goes wrong. progress(what, bytes done, of bytes) is called on the way.
    """
    repo, tell = repo.strip(), progress or (lambda what, done, of: None)
    split_name(repo)
    store.result(run)
    token = own_token(token)
    tell("Checking your rights", 0, 1)
    require_write(repo, token)
    with tempfile.TemporaryDirectory(prefix="tunesmith-publish-") as place:
        base = push_base(run, repo, private, token, tell)
        staging.stage(run, Path(place), repo, base)
        upload(Path(place), repo, private, token, f"Add {run.spec.title or run.id}", tell)
    return f"{connection.endpoint()}/{repo}"


def push_base(run: Run, repo: str, private: bool, token: str | None, tell: Progress) -> Base | None:
    """Where the result's base stands on the Hub, published there first when it only lies on this machine."""
    base = staging.base_of(run)
    if base is None or base.folder is None:
        return base
    if (
        base.run is not None
    ):  # an adapter on a model that this app trained: that result goes first, under a name of its own
        return (
            Base(f"{repo}-base")
            if push(base.run, f"{repo}-base", private=private, token=token, progress=tell)
            else None
        )
    name = f"{repo.partition('/')[0]}/{staging.PRACTICE[base.folder.name][0]}"
    revision = published(name, base.folder, private, token)
    if revision is None:
        require_write(name, token)
        with tempfile.TemporaryDirectory(prefix="tunesmith-publish-") as place:
            staging.stage_practice(base.folder, Path(place))
            revision = upload(Path(place), name, private, token, "Add the practice model", tell, opens=True)
    return Base(name, revision=revision)


def published(repo: str, folder: Path, private: bool, token: str | None) -> str | None:
    """The revision at which the very weights of `folder` stand in `repo`, visible enough for who may see the result."""
    from huggingface_hub.errors import RepositoryNotFoundError

    with border(repo):
        try:
            info = within(ASKING, lambda: connection.api(token).model_info(repo, files_metadata=True))
        except RepositoryNotFoundError:
            return None
    there = {file.rfilename: file.lfs.sha256 for file in info.siblings or [] if file.lfs}
    same = all(there.get(file.name) == staging.sha256(file) for file in folder.glob("*.safetensors"))
    return info.sha if same and (private or not info.private) else None


def upload(
    folder: Path, repo: str, private: bool, token: str | None, message: str, tell: Progress, opens: bool = False
) -> str:
    """Makes `repo` hold exactly what `folder` holds, in one commit. Returns the commit. Large files go first, one by one."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    api = connection.api(token)
    with border(repo):
        within(CHANGING, lambda: api.create_repo(repo, private=private, exist_ok=True))
        show_as_asked(api, repo, private, opens)
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        sizes = {file: file.stat().st_size for file in files}
        operations: list[Any] = []
        for done, file in enumerate(files):
            name = str(file.relative_to(folder))
            tell(f"Sending {name} to {repo}", sum(sizes[f] for f in files[:done]), sum(sizes.values()))
            operations.append(CommitOperationAdd(name, file))
            api.preupload_lfs_files(repo, operations[-1:])
        old = set(api.list_repo_files(repo)) - {operation.path_in_repo for operation in operations} - {".gitattributes"}
        operations += [CommitOperationDelete(name) for name in sorted(old)]
        made = api.create_commit(repo, operations, commit_message=shorten(message, 100))
        tell(f"Published {repo}", sum(sizes.values()), sum(sizes.values()))
        return made.oid


def show_as_asked(api: Any, repo: str, private: bool, opens: bool) -> None:
    """A public repository never takes what should be private; a private one holds earlier results, and is opened by hand.

    opens: there is nothing in it that anybody would mind.
    """
    open_now = not within(ASKING, lambda: api.model_info(repo)).private
    if private and open_now:
        raise Problem(f"{repo} is public, and this result should be private.", reason="taken",
                      advice="Choose another name, or publish it for everybody.")  # fmt: skip
    if not private and not open_now and not opens:
        raise Problem(f"{repo} is private, and what was published there before would be open to everybody.", reason="taken",
                      advice="Choose another name, or open it yourself in its settings on the Hub.")  # fmt: skip
    if not private and not open_now:
        within(CHANGING, lambda: api.update_repo_settings(repo, private=False))
