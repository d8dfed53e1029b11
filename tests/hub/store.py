"""Repositories on disk. A commit is an immutable list of files; file contents are stored once, named by their hash."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import re
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hub.accounts import HubError

KINDS = ("models", "datasets", "spaces")
REPO_NAME = re.compile(r"[\w.-]{1,96}", re.ASCII)
Files = dict[str, dict[str, Any]]  # {path: size, oid, sha256, lfs}


def utc_timestamp() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Store:
    """All repositories and their file contents. `lock` is held while a repository changes."""

    def __init__(self, root: Path):
        self.root, self.blobs, self.temporary_folder = root, root / "blobs", root / "drafts"
        self.lock = threading.RLock()
        for folder in (self.blobs, self.temporary_folder):
            folder.mkdir(parents=True, exist_ok=True)

    def put_blob(self, content: bytes) -> str:
        """Stores the bytes and returns their SHA-256."""
        sha256 = hashlib.sha256(content).hexdigest()
        if not (self.blobs / sha256).exists():
            temporary_file = self.temporary_folder / f"{sha256}.{os.urandom(4).hex()}"
            temporary_file.write_bytes(content)
            temporary_file.replace(self.blobs / sha256)
        return sha256

    def git_file_entry(self, content: bytes) -> dict[str, Any]:
        """Stores a small file, as git itself would, and returns its entry in a commit."""
        return {"size": len(content), "oid": git_oid(content), "sha256": self.put_blob(content), "lfs": False}

    def lfs_file_entry(self, sha256: str) -> dict[str, Any]:
        """The entry in a commit of a large file whose content is already stored: git holds only a pointer to it."""
        size = (self.blobs / sha256).stat().st_size
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        return {"size": size, "oid": git_oid(pointer), "sha256": sha256, "lfs": True}

    def repo(self, kind: str, name: str) -> Repo:
        return Repo(self, kind, name)

    def list_repos(self, kind: str) -> list[Repo]:
        metadata_files = sorted((self.root / "repos" / kind).glob("*/*/repo.json"))
        return [self.repo(kind, f"{file.parent.parent.name}/{file.parent.name}") for file in metadata_files]


@dataclass(frozen=True)
class Repo:
    """A repository: repo.json holds its visibility and the commits of its branches and tags."""

    store: Store
    kind: str
    name: str

    @property
    def folder(self) -> Path:
        return self.store.root / "repos" / self.kind / self.name

    @property
    def namespace(self) -> str:
        return self.name.partition("/")[0]

    @property
    def exists(self) -> bool:
        return (self.folder / "repo.json").exists()

    @property
    def metadata(self) -> dict[str, Any]:
        if not self.exists:
            raise HubError(404, "Repository not found", "RepoNotFound")
        return json.loads((self.folder / "repo.json").read_text())

    def save_metadata(self, metadata: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary_file = self.folder / f".repo.{os.urandom(4).hex()}"
        temporary_file.write_text(json.dumps(metadata))
        temporary_file.replace(self.folder / "repo.json")

    def create(self, author: str, private: bool, **metadata: Any) -> None:
        self.save_metadata(
            {"private": private, "created": utc_timestamp(), "refs": {}, "requests": 0, "discussions": {}} | metadata
        )
        attributes = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LFS_PATTERNS).encode()
        self.commit("main", None, {".gitattributes": self.store.git_file_entry(attributes)}, author, "initial commit")

    def delete(self) -> None:
        shutil.rmtree(self.folder)

    def commit_at(self, revision: str) -> dict[str, Any]:
        """The commit that a branch, tag, pull request or (short) hash points to. Raises HubError 404 if there is none."""
        sha = self.metadata["refs"].get(revision) or self.metadata["refs"].get(f"refs/tags/{revision}") or revision
        matching_files = [*self.folder.glob(f"{sha}*.json")] if re.fullmatch(r"[0-9a-f]{7,40}", sha) else []
        if len(matching_files) != 1:
            raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return json.loads(matching_files[0].read_text())

    def commit(
        self, ref: str, parent: str | None, files: Files, author: str, title: str, message: str = ""
    ) -> dict[str, Any]:
        new_commit = {
            "parent": parent,
            "files": files,
            "title": title,
            "message": message,
            "author": author,
            "date": utc_timestamp(),
        }
        new_commit["sha"] = hashlib.sha1(json.dumps(new_commit, sort_keys=True).encode() + os.urandom(8)).hexdigest()
        (self.folder / f"{new_commit['sha']}.json").write_text(json.dumps(new_commit))
        metadata = self.metadata
        metadata["refs"][ref] = new_commit["sha"]
        self.save_metadata(metadata)
        return new_commit

    def content(self, entry: dict[str, Any]) -> Path:
        return self.store.blobs / entry["sha256"]


# File names that the Hub stores with Git LFS by default.
LFS_PATTERNS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf", "*.parquet", "*.arrow", "*.zip", "*.gz", "*.tar", "*.npz", "*.pkl", "*.onnx", "*.h5")  # fmt: skip
