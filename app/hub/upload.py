"""Upload of a folder to a repository on the Hub, in one commit, as private as it is meant to be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.problems import Problem, shorten
from app.hub.connection import QUERY_TIMEOUT, call_with_timeout, hub_client, translate_hub_errors

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

ProgressCallback = Callable[[str, int, int], None]  # (what is done, bytes done, bytes in total)
_CHANGE_TIMEOUT = 30.0  # seconds for creating or changing a repository


@dataclass(frozen=True)
class Destination:
    """A repository `owner/name` on the Hub, and who writes to it. A missing one is created.

    may_become_public: nothing in it is private, so it may be made public.
    """

    repo: str
    private: bool
    token: str | None = field(repr=False)
    may_become_public: bool = False


def upload_folder(folder: Path, destination: Destination, message: str, report_progress: ProgressCallback) -> str:
    """Replaces the content of the repository by that of `folder`, in one commit. Returns its hash.

    Large files are uploaded first. Raises Problem.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    repo, client = destination.repo, hub_client(destination.token)
    with translate_hub_errors(repo):
        call_with_timeout(_CHANGE_TIMEOUT, lambda: client.create_repo(repo, private=destination.private, exist_ok=True))
        _set_visibility(client, destination)
        local_files = sorted(file for file in folder.rglob("*") if file.is_file())
        sizes = {file: file.stat().st_size for file in local_files}
        total = sum(sizes.values())
        additions: list[CommitOperationAdd] = []
        num_sent = 0  # bytes
        for file in local_files:
            name = str(file.relative_to(folder))
            report_progress(f"Sending {name} to {repo}", num_sent, total)
            additions.append(CommitOperationAdd(name, file))
            client.preupload_lfs_files(repo, additions[-1:])
            num_sent += sizes[file]
        new_files = {addition.path_in_repo for addition in additions}
        obsolete_files = set(client.list_repo_files(repo)) - new_files - {".gitattributes"}
        deletions = [CommitOperationDelete(name) for name in sorted(obsolete_files)]
        commit = client.create_commit(repo, [*additions, *deletions], commit_message=shorten(message, 100))
        report_progress(f"Published {repo}", total, total)
        return commit.oid


def _set_visibility(client: HfApi, destination: Destination) -> None:
    """Makes the repository public where wanted.

    Raises Problem for a private result in a public repository, and for a public result in a private one, because that
    may hold earlier private results.
    """
    repo = destination.repo
    is_public = not call_with_timeout(QUERY_TIMEOUT, lambda: client.model_info(repo)).private
    if destination.private and is_public:
        raise Problem(
            f"{repo} is public, and this result should be private.",
            reason="taken",
            advice="Choose another name, or publish it for everybody.",
        )
    if destination.private or is_public:
        return
    if not destination.may_become_public:
        raise Problem(
            f"{repo} is private, and what was published there before would be open to everybody.",
            reason="taken",
            advice="Choose another name, or open it yourself in its settings on the Hub.",
        )
    call_with_timeout(_CHANGE_TIMEOUT, lambda: client.update_repo_settings(repo, private=False))
