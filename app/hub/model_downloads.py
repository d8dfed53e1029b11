"""Downloads of models: how much is missing, whether it fits on the disk, with progress, and what the cache holds."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.problems import Problem, shorten
from app.hub import connection
from app.hub.connection import hub_endpoint
from app.hub.identity import resolve_token
from app.hub.model_facts import file_sizes, licence_of, model_errors, model_info
from app.setup.model_facts import weight_files

if TYPE_CHECKING:
    from huggingface_hub import HFCacheInfo

DownloadProgress = Callable[[int, int], None]  # bytes done, and bytes in all

_SMALL_FILES = (".json", ".jinja", ".txt", ".model", ".tiktoken")
_SPARE_BYTES = 500_000_000  # that stay free on the disk: a run writes beside the model


@dataclass(frozen=True)
class DownloadPlan:
    """What a download of a model would fetch. files: of the model as transformers loads it. missing_bytes: of those that
    are not in the cache. revision: the commit."""

    name: str
    revision: str
    files: tuple[str, ...]
    total_bytes: int
    missing_bytes: int
    free_bytes: int
    licence: str | None = None


@dataclass(frozen=True)
class CachedModel:
    """A model in the cache. size_bytes: on the disk. last_used: seconds since 1970."""

    name: str
    size_bytes: int
    last_used: float


def needed_files(sizes: dict[str, int]) -> list[str]:
    """The files of a repository that transformers reads: those of the main folder, without copies of the weights in
    other formats."""
    small_files = [file for file in sizes if "/" not in file and file.endswith(_SMALL_FILES)]
    return sorted([*small_files, *weight_files(sizes)])


def plan_download(name: str, token: str | None = None, revision: str | None = None) -> DownloadPlan:
    """What is missing of a model. Nothing is fetched but its description. Raises Problem."""
    from huggingface_hub import constants, try_to_load_from_cache

    info = model_info(name, resolve_token(token), revision)
    sizes = file_sizes(info)
    files = needed_files(sizes)
    assert info.sha is not None, "the Hub names the commit of what it describes"
    missing = [file for file in files if not isinstance(try_to_load_from_cache(name, file, revision=info.sha), str)]
    return DownloadPlan(
        name=name,
        revision=info.sha,
        files=tuple(files),
        total_bytes=sum(sizes[file] for file in files),
        missing_bytes=sum(sizes[file] for file in missing),
        free_bytes=_free_bytes(Path(constants.HF_HUB_CACHE)),
        licence=licence_of(info),
    )


def has_room(plan: DownloadPlan) -> bool:
    """Whether the disk of the cache has enough room for what is missing."""
    return not plan.missing_bytes or plan.free_bytes >= plan.missing_bytes + _SPARE_BYTES


def require_space(plan: DownloadPlan) -> None:
    """Raises Problem where the disk of the cache has not enough room for what is missing."""
    needed = plan.missing_bytes + _SPARE_BYTES
    if not has_room(plan):
        raise Problem(
            f"“{plan.name}” needs {needed / 1e9:.1f} GB on the disk, which has {plan.free_bytes / 1e9:.1f} GB free.",
            advice="Remove a model that you no longer need, choose a smaller one, or set HF_HOME to a folder on a larger disk.",
            reason="disk_full",
        )


def download_model(
    name: str, token: str | None = None, revision: str | None = None, progress: DownloadProgress | None = None
) -> Path:
    """Downloads what is missing of a model into the cache of huggingface_hub, and returns its folder.

    What an interrupted download has fetched is kept and used. progress: called often. Raises Problem, for a disk
    without room before anything is fetched.
    """
    from huggingface_hub import snapshot_download

    token = resolve_token(token)
    plan = plan_download(name, token, revision)
    require_space(plan)
    report = progress or (lambda done, of: None)
    report(plan.total_bytes - plan.missing_bytes, plan.total_bytes)
    connection.hub_client(token)  # makes sure that the shared client has its timeouts
    with model_errors(name, plan.licence):
        folder = snapshot_download(
            name,
            # a branch by its name, so that it points to this commit in the cache
            revision=revision or "main",
            allow_patterns=list(plan.files),
            token=token or False,
            endpoint=hub_endpoint(),
            tqdm_class=_progress_class(plan, report),
        )
    report(plan.total_bytes, plan.total_bytes)
    return Path(folder)


def _progress_class(plan: DownloadPlan, report: DownloadProgress) -> Any:
    """A class of progress bars that draw nothing and report the bytes of all files together.

    snapshot_download makes three: the bytes that come over the network, the bytes on the disk, and the files.
    """
    from tqdm.auto import tqdm

    cached_bytes = plan.total_bytes - plan.missing_bytes
    downloaded_bytes = 0

    class DownloadBar(tqdm):
        """Reports what a bar of bytes counts."""

        def __init__(self, *args: Any, **kwargs: Any):
            super().__init__(*args, **{**kwargs, "disable": False, "file": _NoOutput()})

        def update(self, n: float | None = 1) -> bool | None:
            """Counts on, and reports."""
            nonlocal downloaded_bytes
            drawn = super().update(n)
            if self.unit == "B":
                downloaded_bytes = max(downloaded_bytes, int(self.n))
                report(min(cached_bytes + downloaded_bytes, plan.total_bytes), plan.total_bytes)
            return drawn

    return DownloadBar


class _NoOutput:
    """A stream that drops what is written to it."""

    def write(self, text: str) -> int:
        """Drops the text."""
        return len(text)

    def flush(self) -> None:
        """Has nothing to write."""


def _free_bytes(folder: Path) -> int:
    """Free bytes on the disk of a folder that may not exist yet."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free


# -- the cache ----------------------------------------------------------------------------------------------------


def list_cached_models() -> list[CachedModel]:
    """The models in the cache of this machine, the largest first."""
    cache = _scan_cache()
    cached = [
        CachedModel(repo.repo_id, repo.size_on_disk, repo.last_accessed)
        for repo in (cache.repos if cache else ())
        if repo.repo_type == "model"
    ]
    return sorted(cached, key=lambda model: (-model.size_bytes, model.name))


def remove_cached_model(name: str) -> int:
    """Deletes a model from the cache, and returns the bytes that were freed. Raises Problem where it is not there."""
    cache = _scan_cache()
    repos = [repo for repo in (cache.repos if cache else ()) if repo.repo_type == "model" and repo.repo_id == name]
    if cache is None or not repos:
        cached_names = ", ".join(model.name for model in list_cached_models()[:5])
        raise Problem(
            f"“{shorten(name, 120)}” is not in the cache of this machine.",
            advice=f"It holds {cached_names}." if cached_names else "It holds no model.",
            reason="model_not_found",
        )
    strategy = cache.delete_revisions(*(revision.commit_hash for repo in repos for revision in repo.revisions))
    strategy.execute()
    return strategy.expected_freed_size


def _scan_cache() -> HFCacheInfo | None:
    """The cache of huggingface_hub; None where there is none yet."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return scan_cache_dir()
    except CacheNotFound:
        return None
