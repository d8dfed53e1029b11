"""The engine's code at this version, as an archive: what runs on another machine is what runs here."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import tarfile
from functools import cache
from pathlib import Path

from app.core.paths import ROOT

_FOLDERS = ("app", "backends", "presets")
_REQUIREMENTS = "requirements.txt"
# Packages of the page alone, which no engine imports.
_PAGE_PACKAGES = ("gradio", "spaces", "fastapi", "uvicorn", "authlib", "plotly")
_PACKAGE = re.compile(r"[A-Za-z0-9_.-]+")


@cache
def code_files() -> list[Path]:
    """All files of the engine, in order."""
    files = [path for folder in _FOLDERS for path in sorted((ROOT / folder).rglob("*")) if _belongs(path)]
    return [*files, ROOT / _REQUIREMENTS]


def _belongs(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    return path.is_file() and "__pycache__" not in parts and not any(part.startswith(".") for part in parts)


@cache
def code_version() -> str:
    """Identifies the code by its content."""
    digest = hashlib.sha256()
    for path in code_files():
        digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


def code_archive() -> bytes:
    """The files as a .tar.gz, the same bytes for the same files."""
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as zipped, tarfile.open(fileobj=zipped, mode="w") as archive:
        for path in code_files():
            info = tarfile.TarInfo(str(path.relative_to(ROOT)))
            info.size, info.mode = path.stat().st_size, 0o644
            with path.open("rb") as file:
                archive.addfile(info, file)
    return buffer.getvalue()


def engine_requirements() -> list[str]:
    """The lines of requirements.txt that an engine needs, without comments."""
    lines = [line.partition("#")[0].strip() for line in (ROOT / _REQUIREMENTS).read_text().splitlines()]
    return [line for line in lines if line and _package_of(line) not in _PAGE_PACKAGES]


def pinned_versions() -> dict[str, str]:
    """{package: version} of the packages that decide what a run learns."""
    deciding = ("torch", "trl", "transformers", "peft", "accelerate", "datasets")
    pins = dict(line.partition(";")[0].strip().split("==") for line in engine_requirements())
    return {name: pins[name] for name in deciding}


def requirements_version() -> str:
    """Identifies the packages."""
    return hashlib.sha256("\n".join(engine_requirements()).encode()).hexdigest()[:12]


def _package_of(line: str) -> str:
    match = _PACKAGE.match(line)
    return match[0].lower() if match else ""
