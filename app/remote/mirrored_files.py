"""Which files of a run travel back from another machine, and taking them into its folder here.

What comes from elsewhere is not trusted with names: a path is one of those listed here, or refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

from app.core.json_files import sync_to_disk
from app.core.problems import Problem
from app.runs.checkpoint_files import COMPLETE_MARK

_SINGLE_FILES = ("facts.json", "result.json", "profile.json.gz", "log.txt")
APPENDED = "log.txt"  # grows, so only its end is fetched
_FOLDERS = re.compile(r"samples|adapter|checkpoints/checkpoint-\d+")
_PART = r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,200}"
_ALLOWED_PATH = re.compile(
    rf"(?:{'|'.join(map(re.escape, _SINGLE_FILES))}|samples/{_PART}|(?:adapter|checkpoints/checkpoint-\d+)(?:/{_PART}){{1,4}})"
)
INCOMING = ".incoming"  # folder in a run's folder for what is not complete yet


class ListedFile(TypedDict):
    """size: in bytes. changed: time of change, in nanoseconds; a fetched file has the same."""

    path: str
    size: int
    changed: int


class FileListing(TypedDict):
    """digest: of all files but the log, whose every line would change it."""

    digest: str
    files: list[ListedFile]


def list_files(folder: Path) -> FileListing:
    """The files of a run that travel, of its checkpoints only complete ones."""
    paths = [folder / name for name in _SINGLE_FILES]
    paths += [path for name in ("samples", "adapter") for path in sorted((folder / name).rglob("*"))]
    for checkpoint in sorted((folder / "checkpoints").glob("checkpoint-*")):
        if (checkpoint / COMPLETE_MARK).exists():
            paths += sorted(checkpoint.rglob("*"))
    listed = [entry for path in paths if (entry := _listed(folder, path))]
    described = json.dumps([entry for entry in listed if entry["path"] != APPENDED])
    return {"digest": hashlib.sha256(described.encode()).hexdigest(), "files": listed}


def _listed(folder: Path, path: Path) -> ListedFile | None:
    """None for a folder, a name that would be refused, and a file that has just been deleted."""
    name = str(path.relative_to(folder))
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if not path.is_file() or not _ALLOWED_PATH.fullmatch(name):
        return None
    return {"path": name, "size": status.st_size, "changed": status.st_mtime_ns}


def require_allowed(path: str) -> str:
    """The path. Raises Problem for one that no run has."""
    if not _ALLOWED_PATH.fullmatch(path):
        raise Problem("The machine sent a file that is not part of a run.", advice="Do not use that machine.")
    return path


class IncomingFiles:
    """The files of one run here, compared with their listing there."""

    def __init__(self, folder: Path, replacements: dict[str, str]):
        """replacements: {text there: text here}, such as folders, in the small files that name them."""
        self.folder, self.incoming, self.replacements = folder, folder / INCOMING, replacements
        self.files: list[ListedFile] = []

    def update(self, files: Iterable[ListedFile]) -> None:
        """Takes a new listing. Raises Problem for a path that no run has."""
        self.files = [file for file in files if require_allowed(file["path"])]

    def missing(self) -> list[ListedFile]:
        """What is still to be fetched: samples and small files first."""
        missing = [file for file in self.files if not self._is_here(file)]
        return sorted(
            missing, key=lambda file: ("/" in file["path"], not file["path"].startswith("samples"), file["path"])
        )

    def bytes_left(self) -> int:
        """Of all files that are still to be fetched."""
        return sum(file["size"] - self.offset(file) for file in self.missing())

    def _is_here(self, file: ListedFile) -> bool:
        """Whether it has been fetched, into its place or among the incoming: then it has the time of change from there."""
        if file["path"] == APPENDED:
            return self.offset(file) >= file["size"]
        return any(_changed(folder / file["path"]) == file["changed"] for folder in (self.folder, self.incoming))

    def offset(self, file: ListedFile) -> int:
        """How many bytes of it are here already."""
        path = self.folder / APPENDED if file["path"] == APPENDED else self._part(file)
        return min(path.stat().st_size, file["size"]) if path.exists() else 0

    def _part(self, file: ListedFile) -> Path:
        """Where a file arrives; its name says which version of it."""
        return self.incoming / f"{file['path']}.{file['changed']}.part"

    def append(self, file: ListedFile, content: bytes) -> None:
        """Takes the next bytes of a file. Complete files go to their place, a folder's once all of them are here."""
        if file["path"] == APPENDED:
            with (self.folder / APPENDED).open("ab") as log:
                log.write(content)
            return
        part = self._part(file)
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as target:
            target.write(content)
        if part.stat().st_size >= file["size"]:
            self._complete(file, part)

    def _complete(self, file: ListedFile, part: Path) -> None:
        if Path(file["path"]).name in ("facts.json", "adapter_config.json") and not file["path"].startswith(
            "checkpoints/"
        ):
            self._replace_texts(part)
        sync_to_disk(part)
        os.utime(part, ns=(file["changed"], file["changed"]))
        is_single = not _FOLDERS.match(file["path"]) or file["path"].startswith("samples/")
        target = (self.folder if is_single else self.incoming) / file["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        part.replace(target)

    def _replace_texts(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        for there, here in self.replacements.items():
            text = text.replace(json.dumps(there)[1:-1], json.dumps(here)[1:-1])
        path.write_text(text, encoding="utf-8")

    def install_folders(self) -> None:
        """Puts folders that have arrived completely in their place, and deletes checkpoints that were deleted there."""
        groups: dict[str, list[ListedFile]] = {}
        for file in self.files:
            if (match := _FOLDERS.match(file["path"])) and match[0] != "samples":
                groups.setdefault(match[0], []).append(file)
        for name, files in groups.items():
            if all(map(self._is_here, files)) and (self.incoming / name).exists():
                self._install(name, files)
        if not self.missing():
            self._delete_surplus({*groups})

    def _install(self, name: str, files: list[ListedFile]) -> None:
        """The folder with the files of the listing: those that arrived, and those that were here already."""
        arrived, target = self.incoming / name, self.folder / name
        listed = {self.incoming / file["path"] for file in files}
        for path in [path for path in arrived.rglob("*") if path.is_file() and path not in listed]:
            path.unlink()  # of a version that was replaced there while it was fetched
        for file in files:
            earlier, new = self.folder / file["path"], self.incoming / file["path"]
            if not new.exists():
                new.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(earlier, new)
        hidden = target.with_name(f".{target.name}-earlier")
        shutil.rmtree(hidden, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            target.rename(hidden)
        arrived.rename(target)
        shutil.rmtree(hidden, ignore_errors=True)

    def _delete_surplus(self, present: set[str]) -> None:
        checkpoints = (self.folder / "checkpoints").glob("checkpoint-*")
        if any(name.startswith("checkpoints/") for name in present):
            for path in checkpoints:
                if f"checkpoints/{path.name}" not in present:
                    shutil.rmtree(path)
        shutil.rmtree(self.incoming, ignore_errors=True)


def _changed(path: Path) -> int | None:
    """Time of change in nanoseconds; None where there is no such file."""
    return path.stat().st_mtime_ns if path.is_file() else None
