"""Files that arrive on a machine, by the SHA-256 of their content, and giving them their names there."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import TypedDict

from app.core.problems import Problem
from app.core.workspace import Workspace


class PresentFiles(TypedDict):
    """complete: hashes of files that are here. partial: {hash: bytes that are here} of those that are still arriving."""

    complete: list[str]
    partial: dict[str, int]


class ReceivedPart(TypedDict):
    """size: how many bytes of the file are here. complete: all of them, and they have the hash."""

    size: int
    complete: bool


def _blobs(workspace: Workspace) -> Path:
    """Folder of files by their SHA-256. One that is still arriving ends with `.part`."""
    return workspace.folder("received")


def present_files(workspace: Workspace, hashes: list[str]) -> PresentFiles:
    """Which files are here, and how many bytes of those that are still arriving."""
    folder = _blobs(workspace)
    complete = [name for name in map(_checked_hash, hashes) if (folder / name).exists()]
    parts = {name: folder / f"{name}.part" for name in hashes if name not in complete}
    return {
        "complete": complete,
        "partial": {name: path.stat().st_size for name, path in parts.items() if path.exists()},
    }


def receive_part(workspace: Workspace, file_hash: str, offset: int, size: int, payload: bytes) -> ReceivedPart:
    """Takes a part of a file. size: of the whole file. Answers how many bytes are here. Raises Problem where the content
    is another than announced."""
    complete = _blobs(workspace) / _checked_hash(file_hash)
    part = complete.with_name(f"{complete.name}.part")
    with part.open("ab") as file:
        if file.tell() > offset:
            file.truncate(offset)
        if file.tell() == offset:
            file.write(payload)
        present = file.tell()
    if present < size:
        return {"size": present, "complete": False}
    with part.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    if digest != file_hash:
        part.unlink()
        raise Problem("A file was changed on its way to the machine.", advice="Start the run again: it is sent anew.")
    part.rename(complete)
    return {"size": present, "complete": True}


def _checked_hash(name: str) -> str:
    if len(name) != 64 or set(name) - set("0123456789abcdef"):
        raise Problem("A file was announced without its hash.")
    return name


def place_file(workspace: Workspace, file: dict[str, str]) -> None:
    """Gives a received file its name, below the workspace. Its content is shared, where the disk can."""
    received = _blobs(workspace) / _checked_hash(file["hash"])
    path = Path(file["path"])
    if path.is_absolute() or ".." in path.parts:
        raise Problem("A file was to be put outside its folder.")
    target = workspace.path / path
    if target.exists() and target.stat().st_size == received.stat().st_size and "runs" not in path.parts[:1]:
        return  # named by its hash
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if path.parts[0] == "runs":  # an engine appends to some of them
        shutil.copyfile(received, target)
    else:
        os.link(received, target)
