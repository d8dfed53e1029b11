"""Store: repositories on disk. A commit is an immutable list of files; content lies once, under its hash."""

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

from tests.hub.accounts import Refused

KINDS = ("models", "datasets", "spaces")
NAME = re.compile(r"[\w.-]{1,96}", re.ASCII)
Files = dict[str, dict[str, Any]]  # {path: size, oid, sha256, lfs}


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class Store:
    """All repositories and their content. `lock` is held while a repository changes."""

    def __init__(self, root: Path):
        self.root, self.blobs, self.drafts = root, root / "blobs", root / "drafts"
        self.lock = threading.RLock()
        for folder in (self.blobs, self.drafts):
            folder.mkdir(parents=True, exist_ok=True)

    def put(self, content: bytes) -> str:
        """Keeps the bytes; returns their SHA-256."""
        name = hashlib.sha256(content).hexdigest()
        if not (self.blobs / name).exists():
            draft = self.drafts / f"{name}.{os.urandom(4).hex()}"
            draft.write_bytes(content)
            draft.replace(self.blobs / name)
        return name

    def file(self, content: bytes) -> dict[str, Any]:
        """The entry of a small file that git itself would keep."""
        return {"size": len(content), "oid": git_oid(content), "sha256": self.put(content), "lfs": False}

    def large(self, sha256: str) -> dict[str, Any]:
        """The entry of a large file whose content is already here: git keeps a pointer to it."""
        size = (self.blobs / sha256).stat().st_size
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        return {"size": size, "oid": git_oid(pointer), "sha256": sha256, "lfs": True}

    def repo(self, kind: str, name: str) -> Repo:
        return Repo(self, kind, name)

    def every(self, kind: str) -> list[Repo]:
        found = sorted((self.root / "repos" / kind).glob("*/*/repo.json"))
        return [self.repo(kind, f"{file.parent.parent.name}/{file.parent.name}") for file in found]


@dataclass(frozen=True)
class Repo:
    """One repository: repo.json says who sees it and where its branches stand."""

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
    def facts(self) -> dict[str, Any]:
        if not self.exists:
            raise Refused(404, "Repository not found", "RepoNotFound")
        return json.loads((self.folder / "repo.json").read_text())

    def keep(self, facts: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.folder / f".repo.{os.urandom(4).hex()}"
        draft.write_text(json.dumps(facts))
        draft.replace(self.folder / "repo.json")

    def create(self, author: str, private: bool, **facts: Any) -> None:
        self.keep({"private": private, "created": now(), "refs": {}, "requests": 0, "discussions": {}} | facts)
        attributes = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LARGE).encode()
        self.commit("main", None, {".gitattributes": self.store.file(attributes)}, author, "initial commit")

    def delete(self) -> None:
        shutil.rmtree(self.folder)

    def at(self, revision: str) -> dict[str, Any]:
        """The commit a branch, tag, pull request or (short) hash names."""
        sha = self.facts["refs"].get(revision) or self.facts["refs"].get(f"refs/tags/{revision}") or revision
        fits = [*self.folder.glob(f"{sha}*.json")] if re.fullmatch(r"[0-9a-f]{7,40}", sha) else []
        if len(fits) != 1:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return json.loads(fits[0].read_text())

    def commit(
        self, ref: str, parent: str | None, files: Files, author: str, title: str, message: str = ""
    ) -> dict[str, Any]:
        made = {"parent": parent, "files": files, "title": title, "message": message, "author": author, "date": now()}
        made["sha"] = hashlib.sha1(json.dumps(made, sort_keys=True).encode() + os.urandom(8)).hexdigest()
        (self.folder / f"{made['sha']}.json").write_text(json.dumps(made))
        facts = self.facts
        facts["refs"][ref] = made["sha"]
        self.keep(facts)
        return made

    def content(self, entry: dict[str, Any]) -> Path:
        return self.store.blobs / entry["sha256"]


# Names of files the Hub keeps beside git from the start.
LARGE = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf", "*.parquet", "*.arrow", "*.zip", "*.gz", "*.tar", "*.npz", "*.pkl", "*.onnx", "*.h5")  # fmt: skip
