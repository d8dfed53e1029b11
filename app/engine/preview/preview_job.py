"""Preview job: the training job that previews of a setup use, on the CPU and without weights."""

from __future__ import annotations

from pathlib import Path
from tempfile import gettempdir

from app.data.reading import files
from app.engine.job import Job
from app.engine.model.device import Device
from app.planning.resolve import resolve
from app.setup.spec import Spec

Stamps = tuple[tuple[int, int], ...]  # (time of change in nanoseconds, size in bytes) of each data file


def preview_job(spec: Spec, rows: int | None) -> Job:
    """rows: only the first so many rows; None for all. Raises Problem for a spec that cannot be resolved."""
    return Job(resolve(spec), Path(gettempdir()), Device("cpu"), max_rows=rows)


def source_stamps(spec: Spec) -> Stamps:
    """A part of cache keys, as a data file may change under the same name."""
    paths = files.local_files_of_spec(spec).values()
    return tuple((path.stat().st_mtime_ns, path.stat().st_size) for path in paths)
