"""Records: the small JSON files of runs and pipeline runs, each with the version of its shape.

This is the one place where the shapes of earlier versions are turned into today's. Events need no version: readers leave
out fields and kinds that they do not know. A Spec has a version of its own, as links and files carry it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

from msgspec import Meta

from app.core.json_files import DamagedFile, load_json, require_shape, write_json
from app.core.problems import Problem

VERSION = 2  # since 2, handle.json identifies a process by its start ticks where the system has them
Record = dict[str, Any]
# {(name of the file, version): what makes a record of the next version of it}; without an entry the shape is the same.
MIGRATIONS: dict[tuple[str, int], Callable[[Record], Record]] = {}


class _Versioned(TypedDict, total=False):
    v: int


class _HandleFields(TypedDict, total=False):
    pid: int
    folder: str
    backend: str


class _LaunchFields(TypedDict, total=False):
    journey: str | None


class _ModelFields(TypedDict, total=False):
    sees: bool


class _DataFields(TypedDict, total=False):
    held_out: int
    eval_sets: dict[str, int]


class _DeviceFields(TypedDict, total=False):
    bf16: bool
    fp16: bool


class _FactsFields(TypedDict, total=False):
    """What readers outside the engine use of a RunManifest (app/engine/run_manifest.py)."""

    model: _ModelFields | None
    data: _DataFields
    device: _DeviceFields | None
    chat: bool
    end_tokens: list[int]
    extensions: list[dict[str, int]]
    versions: dict[str, str]


class _PublicationFields(TypedDict):
    repo: str
    address: str
    private: bool
    time: float


class ResultRecord(TypedDict):
    """result.json: which checkpoint the result of a run is.

    step: of the result's checkpoint. last_step, of: the last step, and how many were planned. metric: the held-out measure
    that decides, without `eval/`; None where nothing was measured. best_step: where it is best. best, last: its value
    there and at the last step. lost_step: it measured better still, but its checkpoint is gone or damaged. patience:
    evaluations in a row that brought nothing better and so ended the run; None where something else did.
    """

    step: int
    last_step: int
    of: int
    metric: str | None
    best_step: int | None
    best: float | None
    last: float | None
    lost_step: int | None
    patience: int | None


class _ComparedStageFields(TypedDict):
    stage: str
    scores: dict[str, float | None]


class _ComparisonFields(TypedDict):
    rewards: list[str]
    prompts: int
    rows: Annotated[list[_ComparedStageFields], Meta(min_length=1)]


class _RecordFile(NamedTuple):
    """shape: the fields whose type readers rely on; others are not checked. advice: what to do when it is damaged."""

    shape: Any = dict[str, Any]
    advice: str = ""


_FILES: dict[str, _RecordFile] = {
    "handle.json": _RecordFile(_HandleFields),
    "launch.json": _RecordFile(_LaunchFields, "Delete this file: the run then starts on this machine."),
    "facts.json": _RecordFile(_FactsFields, "Delete this file: the model is then asked as a chat."),
    "published.json": _RecordFile(_PublicationFields, "Publish the result again."),
    "result.json": _RecordFile(ResultRecord, "Delete this file: the result stays as it is."),
    "chain.json": _RecordFile(advice="Remove it: python -m app pipelines remove ID. The runs of its lessons stay."),
    "compared.json": _RecordFile(_ComparisonFields, "Go on with it: the comparison is then made again."),
}


def read_record(path: Path) -> Record:
    """The record in today's shape, without its version; empty when there is no such file. One without a version was
    written before there were any, in the shape of version 1.

    Raises DamagedFile, and Problem for a later version.
    """
    file = _FILES.get(path.name, _RecordFile())
    if not path.exists():
        return {}
    record: Record = load_json(path, _Versioned, file.advice)
    version = record.pop("v", 1)
    if version not in range(1, VERSION + 1):
        raise Problem(
            f"The file {path.name} was written by a newer version of Tunesmith.", advice="Update, and open it again."
        )
    for older in range(version, VERSION):
        record = MIGRATIONS.get((path.name, older), _unchanged)(record)
    require_shape(path, record, file.shape, file.advice)
    return record


def read_handle(path: Path) -> Record:
    """The record of a handle.json, which names a process. Empty when it is damaged: it then names none, and the lock
    that an engine or a runner holds still keeps a second one away. Raises Problem for a later version."""
    try:
        return read_record(path)
    except DamagedFile:  # boundary: the next start writes another
        return {}


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Replaces the file atomically, in today's shape."""
    write_json(path, {"v": VERSION, **record})


def _unchanged(record: Record) -> Record:
    return record
