"""Kept: rows as a trainer prepared them, on the disk by what they were made of, so that audit, plan and run prepare them once.

A run learns exactly the same with and without: what is kept is what the trainer gave, and the key says all that it was made of.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from app.core import cache, registry
from app.core.problems import Problem
from app.engine.trainers.training_args import TrainingKnobs

if TYPE_CHECKING:
    from app.engine.job import Job

ROOM = "prepared"
WORTH = 1.0  # seconds; what is prepared quicker is prepared again
MOST = 10 * 2**30  # bytes of all that is kept; the longest unused goes first
LIBRARIES = ("trl", "transformers", "tokenizers", "datasets", "pyarrow", "jinja2")
# Of the shared settings this alone may change what is prepared: KTO pairs a batch's answers with each other's questions.
BATCH = "batch_size"


@dataclass(frozen=True)
class Kept:
    """train: what the trainer trains on. whole: its texts before any was cut off or packed, where it cuts ahead. dropped: rows left
    out for their tokens, by reason."""

    train: Any
    whole: Any = None
    dropped: dict[str, int] = field(default_factory=dict)


# -- the key ------------------------------------------------------------------------------------------------------


def key_of(job: Job, table: Any, batch: bool) -> str:
    """By which prepared rows are known again: the rows, the settings that matter, the words, the libraries and our code."""
    spared = set(TrainingKnobs.model_fields) - ({BATCH} if batch else set())
    model = job.spec.model
    told = {
        "rows": content(table),
        "method": job.spec.method,
        "knobs": {name: value for name, value in job.spec.knobs.items() if name not in spared},
        "drop": sorted(job.spec.drop),
        "model": [model.id, model.revision, model.start_from],
        "seed": job.spec.seed,
        "words": words(job.trainers_tokenizer),
        "libraries": libraries(),
        "code": cache.CODE,
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:40]


def content(table: Any) -> str:
    """Of all rows, whatever file and mapping they came from."""
    import pyarrow

    table = table if table._indices is None else table.flatten_indices()
    digest = Digest()
    data = table.data.table.replace_schema_metadata(None)
    with pyarrow.ipc.new_stream(pyarrow.PythonFile(digest, mode="w"), data.schema) as stream:
        stream.write_table(data, max_chunksize=10_000)
    return f"{digest.made.hexdigest()} {table.features}"


class Digest:
    """A file that only remembers what was written by a hash."""

    closed = False

    def __init__(self) -> None:
        self.made = hashlib.blake2b(digest_size=20)

    def write(self, data: Any) -> int:
        self.made.update(data)
        return len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        self.closed = True


def words(tokenizer: Any) -> str:
    """Of all that decides how text becomes tokens."""
    inner = getattr(tokenizer, "backend_tokenizer", None)
    vocabulary = inner.to_str() if inner is not None else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    vocabulary = vocabulary[
        vocabulary.find('"added_tokens"') :
    ]  # before them stands how it was last asked to cut and fill up
    told = [type(tokenizer).__name__, vocabulary, tokenizer.chat_template, tokenizer.special_tokens_map]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


@functools.cache
def libraries() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


# -- finding and keeping ------------------------------------------------------------------------------------------


def find(key: str) -> Kept | None:
    """What was kept under the key; None where nothing was, and where it is damaged: that is thrown away."""
    folder = room() and room() / key
    if not folder or not folder.is_dir():
        return None
    try:
        seal = json.loads((folder / "seal.json").read_text(encoding="utf-8"))
        whole = seal == sealed(folder) and loaded(folder)
    except (OSError, ValueError):  # a border: the disk
        whole = None
    if not whole:
        shutil.rmtree(folder, ignore_errors=True)
        return None
    with contextlib.suppress(OSError):  # a border: the disk
        os.utime(folder)  # it was used just now
    return whole


def loaded(folder: Path) -> Kept:
    parts = {name: table(folder / name) for name in ("train", "whole") if (folder / name).is_dir()}
    train = parts["train"]
    told = json.loads((folder / "told.json").read_text(encoding="utf-8"))
    return Kept(train, train if told["uncut"] else parts.get("whole"), told["dropped"])


def table(folder: Path) -> Any:
    """As it lies on the disk, read where it is needed. The library would put what it makes of a table beside the table's files."""
    from datasets import Dataset, load_from_disk
    from datasets.table import InMemoryTable

    found = load_from_disk(str(folder))
    return Dataset(InMemoryTable(found.data.table), info=found.info, split=found.split, fingerprint=found._fingerprint)


def sealed(folder: Path) -> dict[str, str]:
    """{file: its hash} of all that is kept in a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "seal.json":
            with path.open("rb") as file:
                found[str(path.relative_to(folder))] = hashlib.file_digest(file, "blake2b").hexdigest()
    return found


def keep(key: str, made: Kept) -> Kept | None:
    """Keeps it and gives it back as it lies on the disk; None where the disk is full or not ours: then it is prepared again."""
    target = room()
    if target is None:
        return None
    draft = Path(mkdtemp(prefix=".", dir=target))
    try:
        made.train.save_to_disk(str(draft / "train"))
        uncut = made.whole is made.train
        if made.whole is not None and not uncut:
            made.whole.save_to_disk(str(draft / "whole"))
        (draft / "told.json").write_text(json.dumps({"uncut": uncut, "dropped": made.dropped}), encoding="utf-8")
        (draft / "seal.json").write_text(json.dumps(sealed(draft)), encoding="utf-8")
        tidy(target, sum(path.stat().st_size for path in draft.rglob("*")))
        shutil.rmtree(target / key, ignore_errors=True)
        draft.rename(target / key)
        return loaded(target / key)
    except OSError:  # a border: the disk
        return None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def room() -> Path | None:
    try:
        return registry.home("cache", ROOM)
    except Problem:  # a border: a home that cannot be written to keeps nothing
        return None


def tidy(target: Path, more: int, most: int | None = None) -> None:
    """Makes place for so many bytes: what has not been used for longest goes first, and drafts of processes that died."""
    most = MOST if most is None else most
    found = []
    for folder in target.iterdir():
        with contextlib.suppress(FileNotFoundError):  # a border: another process tidies too
            used = folder.stat().st_mtime
            if folder.name.startswith("."):
                if time.time() - used > 86_400:
                    shutil.rmtree(folder, ignore_errors=True)
                continue
            found.append((used, sum(path.stat().st_size for path in folder.rglob("*")), folder))
    left = sum(size for _, size, _ in found) + more
    for _, size, folder in sorted(found):
        if left <= most:
            break
        shutil.rmtree(folder, ignore_errors=True)
        left -= size
