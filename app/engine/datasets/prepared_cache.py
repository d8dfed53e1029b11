"""Disk cache of rows as a trainer prepared them, keyed by all that they were made of, so that audit, plan and run prepare once.

A run trains on exactly the same rows with and without it: an entry is the trainer's own output, and the key covers its
input.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from app.core import cache, platform
from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.engine.rank import is_main_process
from app.setup.knob import settings_without_effect

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from app.engine.job import Job

_CACHE_NAME = "prepared"
MIN_SECONDS = 1.0  # what is prepared faster is not cached
_MAX_BYTES = 10 * 2**30  # of all entries; the least recently used is evicted first
_MAX_DRAFT_SECONDS = 60  # age after which a draft that no process holds is deleted
_DRAFT_LOCK = ".lock"  # file in a draft that its process holds locked
_LIBRARIES = ("trl", "transformers", "tokenizers", "datasets", "pyarrow", "jinja2")


@dataclass(frozen=True)
class PreparedData:
    """train: the rows that the trainer trains on. uncut_rows: the rows before truncation and packing, where these are done ahead
    of the batches. dropped: rows left out for their tokens, by reason."""

    train: Dataset
    uncut_rows: Dataset | None = None
    dropped: dict[str, int] = field(default_factory=dict)


# -- the key ------------------------------------------------------------------------------------------------------


def cache_key(job: Job, table: Dataset) -> str:
    """Hash of the rows, the settings that matter, the tokenizer, the libraries and our code."""
    ignored = settings_without_effect(job.method.knobs, {"rows"})
    model = job.spec.model
    ingredients = {
        "rows": _table_hash(table),
        "method": job.spec.method,
        "knobs": {name: value for name, value in job.spec.knobs.items() if name not in ignored},
        "drop": sorted(job.spec.drop),
        "model": [model.id, model.revision, model.start_from],
        "seed": job.spec.seed,
        "words": tokenizer_hash(job.trainers_tokenizer),
        "libraries": library_versions(),
        "code": cache.CODE_HASH,
    }
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True, default=str).encode()).hexdigest()[:40]


def _table_hash(table: Dataset) -> str:
    """Hash of all rows, whatever file and column mapping they came from."""
    import pyarrow

    table = table if table._indices is None else table.flatten_indices()
    file = _HashingFile()
    arrow_table = table.data.table.replace_schema_metadata(None)
    with pyarrow.ipc.new_stream(pyarrow.PythonFile(file, mode="w"), arrow_table.schema) as stream:
        stream.write_table(arrow_table, max_chunksize=10_000)
    return f"{file.hash.hexdigest()} {table.features}"


class _HashingFile:
    """A writable file that stores nothing but a hash of what was written."""

    closed = False

    def __init__(self) -> None:
        self.hash = hashlib.blake2b(digest_size=20)

    def write(self, chunk: bytes) -> int:
        self.hash.update(chunk)
        return len(chunk)

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        self.closed = True


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Hash of all that decides how text becomes tokens."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    vocabulary = backend.to_str() if backend is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    # Before the added tokens are the latest truncation and padding, which are no property of the tokenizer.
    vocabulary = vocabulary[vocabulary.find('"added_tokens"') :]
    ingredients = [type(tokenizer).__name__, vocabulary, tokenizer.chat_template, tokenizer.special_tokens_map]
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True, default=str).encode()).hexdigest()


@functools.cache
def library_versions() -> dict[str, str]:
    """{library: version} of those that take part in preparing rows."""
    return {name: version(name) for name in _LIBRARIES}


# -- entries ------------------------------------------------------------------------------------------------------


def find_prepared(key: str) -> PreparedData | None:
    """The entry under the key; None where there is none, and where it is damaged: then the main process deletes it."""
    all_entries = cache_folder()
    if all_entries is None or not (all_entries / key).is_dir():
        return None
    folder = all_entries / key
    try:
        expected_hashes = json.loads((folder / "seal.json").read_text(encoding="utf-8"))
        prepared = _load_entry(folder) if expected_hashes == _file_hashes(folder) else None
    except (OSError, ValueError):  # a boundary: the disk
        prepared = None
    if not prepared:
        if is_main_process():
            shutil.rmtree(folder, ignore_errors=True)
        return None
    if is_main_process():
        with contextlib.suppress(OSError):  # a boundary: the disk
            os.utime(folder)  # marks it as used now
    return prepared


def _load_entry(folder: Path) -> PreparedData:
    tables = {name: _load_table(folder / name) for name in ("train", "whole") if (folder / name).is_dir()}
    train = tables["train"]
    metadata = json.loads((folder / "told.json").read_text(encoding="utf-8"))
    return PreparedData(train, train if metadata["uncut"] else tables.get("whole"), metadata["dropped"])


def _load_table(folder: Path) -> Dataset:
    """The table, read from the disk only where it is needed. It counts as a table in memory, because `datasets` would otherwise
    write what it derives from it beside the entry's files."""
    from datasets import Dataset, load_from_disk
    from datasets.table import InMemoryTable

    stored = load_from_disk(str(folder))
    table = InMemoryTable(stored.data.table)
    return Dataset(table, info=stored.info, split=stored.split, fingerprint=stored._fingerprint)


def _file_hashes(folder: Path) -> dict[str, str]:
    """{file: hash} of all files of an entry."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "seal.json":
            with path.open("rb") as file:
                hashes[str(path.relative_to(folder))] = hashlib.file_digest(file, "blake2b").hexdigest()
    return hashes


def store_prepared(key: str, prepared: PreparedData) -> PreparedData | None:
    """Stores an entry and returns it as read from the disk; None where nothing is cached: in a process that is not the
    main one, and where the disk is full or not writable."""
    folder = cache_folder()
    if folder is None or not is_main_process():
        return None
    try:
        with draft_folder(folder) as draft:
            entry = draft / "entry"
            _write_entry(entry, prepared)
            evict_entries(folder, sum(path.stat().st_size for path in entry.rglob("*")))
            shutil.rmtree(folder / key, ignore_errors=True)
            entry.rename(folder / key)
        return _load_entry(folder / key)
    except OSError:  # a boundary: the disk
        return None


def _write_entry(folder: Path, prepared: PreparedData) -> None:
    prepared.train.save_to_disk(str(folder / "train"))
    is_uncut = prepared.uncut_rows is prepared.train
    if prepared.uncut_rows is not None and not is_uncut:
        prepared.uncut_rows.save_to_disk(str(folder / "whole"))
    metadata = {"uncut": is_uncut, "dropped": prepared.dropped}
    (folder / "told.json").write_text(json.dumps(metadata), encoding="utf-8")
    (folder / "seal.json").write_text(json.dumps(_file_hashes(folder)), encoding="utf-8")


@contextlib.contextmanager
def draft_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder beside the entries, which is deleted afterwards. No other process evicts it meanwhile."""
    with (
        TemporaryDirectory(prefix=".", dir=folder, ignore_cleanup_errors=True) as path,
        Path(path, _DRAFT_LOCK).open("w") as lock,
    ):
        platform.lock_file(lock)
        yield Path(path)


def cache_folder() -> Path | None:
    """The folder of all entries; None where the home is not writable."""
    try:
        return local_workspace().cache(_CACHE_NAME)
    except Problem:  # a boundary: the file system
        return None


def evict_entries(folder: Path, needed_bytes: int, max_bytes: int | None = None) -> None:
    """Frees space for `needed_bytes`: deletes the least recently used entries, and drafts of processes that died."""
    max_bytes = _MAX_BYTES if max_bytes is None else max_bytes
    entries = []
    for entry in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # a boundary: another process may evict entries too
            used_at = entry.stat().st_mtime
            if entry.name.startswith("."):
                # The age alone would be wrong after a step of the clock, and the lock alone while a draft is being made.
                if time.time() - used_at > _MAX_DRAFT_SECONDS and not platform.is_locked(entry / _DRAFT_LOCK):
                    shutil.rmtree(entry, ignore_errors=True)
                continue
            entries.append((used_at, sum(path.stat().st_size for path in entry.rglob("*")), entry))
    total_bytes = sum(size for _, size, _ in entries) + needed_bytes
    for _, size, entry in sorted(entries):
        if total_bytes <= max_bytes:
            break
        shutil.rmtree(entry, ignore_errors=True)
        total_bytes -= size
