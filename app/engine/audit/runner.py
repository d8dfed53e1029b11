"""Runner of the audit: every check over all rows as the trainer prepared them, with a cache of earlier reports."""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Generator, Iterator
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from app.core import cache
from app.core.workspace import local_workspace
from app.data.reading import files
from app.engine.audit.base import AuditCheck, AuditedRow, iterate_rows
from app.engine.audit.report import AuditReport, build_report
from app.engine.contracts import load_method
from app.engine.cooperative import ProgressPart, run_with_progress, yield_point
from app.engine.datasets import prepared_cache
from app.engine.datasets.token_columns import CHUNK_ROWS, iterate_token_batches
from app.engine.job import Job
from app.engine.model import tokenizer
from app.engine.preview import run_estimate
from app.engine.preview.preview_job import preview_job
from app.engine.rank import is_main_process
from app.setup.knob import settings_without_effect
from app.setup.spec import Spec

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

CACHE_NAME = "audits"
_MAX_CACHED_AUDITS = 200
# Parts of a Spec that change nothing in a report.
_IGNORED_SPEC_FIELDS = ("title", "prompts", "adapter")


def _check_names() -> list[str]:
    """A check exists because its file does."""
    return sorted(
        path.stem for path in (Path(__file__).parent / "checks").glob("*.py") if not path.stem.startswith("_")
    )


# -- cached reports -----------------------------------------------------------------------------------------------


def find_cached_audit(spec: Spec) -> AuditReport | None:
    """The report of an earlier audit of the same rows with the same settings, if there is one."""
    key = _cache_key(spec)
    report: AuditReport | None = cache.get(local_workspace(), CACHE_NAME, key) if key else None
    return {**report, "again": True} if report else None


def _cache_key(spec: Spec) -> str | None:
    """By the content of the files; None for data on the Hub that is not pinned to a revision."""
    if any(source.source.startswith("hub:") and not source.revision for source in spec.sources):
        return None
    setup = {name: value for name, value in spec.to_dict().items() if name not in _IGNORED_SPEC_FIELDS}
    ignored = settings_without_effect(load_method(spec.method).knobs, {"rows", "order", "length"})
    setup["knobs"] = {name: value for name, value in spec.knobs.items() if name not in ignored}
    hashes = {name: _file_hash(str(path), *_file_stamp(path)) for name, path in files.local_files_of_spec(spec).items()}
    ingredients = [
        setup,
        hashes,
        prepared_cache.tokenizer_hash(tokenizer.load_tokenizer(spec.model)),
        prepared_cache.library_versions(),
        cache.CODE_HASH,
    ]
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()[:40]


def _file_stamp(path: Path) -> tuple[int, int]:
    return path.stat().st_mtime_ns, path.stat().st_size


@functools.lru_cache(maxsize=256)
def _file_hash(path: str, _time: int, _size: int) -> str:
    """Computed again only where the file's time or size changed."""
    return files.file_sha256(Path(path))


def _store_audit(spec: Spec, report: AuditReport) -> None:
    key = _cache_key(spec)
    if key and is_main_process():
        cache.put(local_workspace(), CACHE_NAME, key, report)
        cache.keep_newest(local_workspace(), CACHE_NAME, _MAX_CACHED_AUDITS)


# -- running the checks -------------------------------------------------------------------------------------------


def run_audit(spec: Spec) -> Generator[ProgressPart, None, AuditReport]:
    """Yields its progress and returns the report, which goes to the cache."""
    started_at = time.monotonic()
    report = yield from run_with_progress(functools.partial(_audit_rows, spec))
    report["seconds"] = round(time.monotonic() - started_at, 1)
    _store_audit(spec, report)
    return {**report, "again": False}


def _audit_rows(spec: Spec) -> AuditReport:
    job = preview_job(_without_streaming(spec), None)
    trainer = run_estimate.build_weightless_trainer(job)
    table = run_estimate.untruncated_table(trainer)
    checks = [_check_class(name)(job, table) for name in _check_names()]
    _check_rows(job, checks)
    for token_batches, chunk in zip(iterate_token_batches(table), _table_chunks(table), strict=False):
        yield_point("Looking at tokens", token_batches[0].first_row, len(table))
        for check in checks:
            check.check_tokens(token_batches, chunk)
    return build_report(job, trainer, checks)


def _without_streaming(spec: Spec) -> Spec:
    """Reads all rows once, also where training would stream them without end."""
    return spec.model_copy(update={"knobs": {name: value for name, value in spec.knobs.items() if name != "streaming"}})


@functools.cache
def _check_class(name: str) -> type[AuditCheck]:
    return import_module(f"app.engine.audit.checks.{name}").Check


def _table_chunks(table: Dataset) -> Iterator[pyarrow.Table]:
    arrow_table = (table if table._indices is None else table.flatten_indices()).data
    return (arrow_table.slice(first_row, CHUNK_ROWS) for first_row in range(0, len(table), CHUNK_ROWS))


def _check_rows(job: Job, checks: list[AuditCheck]) -> None:
    """Evaluated rows first, so that a check recognises them among the training rows."""
    ignored = {"images"} | ({"chat_template_kwargs"} if job.template_arguments else set())
    for set_name, rows in job.data.evaluated_sets.items():
        for number, row in enumerate(rows, 1):
            audited_row = AuditedRow(number, {name: value for name, value in row.items() if name not in ignored})
            for check in checks:
                check.check_evaluated_row(audited_row, set_name)
    for number, row in enumerate(iterate_rows(job.data.train, ignored), 1):
        yield_point("Looking at words", number, len(job.data.train))
        audited_row = AuditedRow(number, row)
        for check in checks:
            check.check_row(audited_row)
