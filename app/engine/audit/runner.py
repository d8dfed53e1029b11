"""Runner of the audit: every check over all rows as the trainer prepared them, with a cache of earlier reports."""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Generator, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from app.core import cache
from app.data import files
from app.engine.audit.base import AuditCheck, AuditedRow, Finding
from app.engine.contracts import load_method
from app.engine.cooperative import ProgressPart, run_with_progress, yield_point
from app.engine.datasets import prepared_cache, row_filter
from app.engine.datasets.token_columns import CHUNK_ROWS, iterate_token_batches
from app.engine.job import Job
from app.engine.model import tokenizer
from app.engine.preview import packing_stats, run_estimate
from app.engine.preview.preview_job import preview_job
from app.engine.tokens.secrets import redact_text
from app.setup.knob import settings_without_effect
from app.setup.spec import Spec

AuditReport = dict[str, Any]  # its fields: app/engine/audit/__init__.py
CACHE_NAME = "audits"
_MAX_CACHED_AUDITS = 200
# Parts of a Spec that change nothing in a report.
_IGNORED_SPEC_FIELDS = ("title", "prompts", "adapter")
_EXAMPLES_PER_FINDING = 5  # rows of a finding whose text is shown
_EXAMPLE_CHARACTERS = 400  # of each of them
_MAX_LENGTH_BINS = 2_000  # of the length histogram; where there are more lengths, its bins become wider
_SEVERITY_ORDER = {"wrong": 0, "careful": 1, "good": 2}
# Findings that the page counts in any case, also when there are none.
_COUNTED_FINDINGS = (
    *("cut", "lost_end", "end_untrained", "no_end", "double_begin"),
    *("empty_turn", "alternation", "duplicates", "held_out"),
)


def _check_names() -> list[str]:
    """A check exists because its file does."""
    return sorted(
        path.stem for path in (Path(__file__).parent / "checks").glob("*.py") if not path.stem.startswith("_")
    )


# -- cached reports -----------------------------------------------------------------------------------------------


def find_cached_audit(spec: Spec) -> AuditReport | None:
    """The report of an earlier audit of the same rows with the same settings, if there is one."""
    key = _cache_key(spec)
    report = key and cache.get(CACHE_NAME, key)
    return report | {"again": True} if report else None


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


def _store_audit(spec: Spec, report: dict[str, Any]) -> None:
    key = _cache_key(spec)
    if key:
        cache.put(CACHE_NAME, key, report)
        cache.keep_newest(CACHE_NAME, _MAX_CACHED_AUDITS)


# -- running the checks -------------------------------------------------------------------------------------------


def run_audit(spec: Spec) -> Generator[ProgressPart, None, AuditReport]:
    """Yields its progress and returns the report, which goes to the cache."""
    started_at = time.monotonic()
    report = yield from run_with_progress(functools.partial(_audit_rows, spec))
    report |= {"seconds": round(time.monotonic() - started_at, 1)}
    _store_audit(spec, report)
    return report | {"again": False}


def _audit_rows(spec: Spec) -> AuditReport:
    job = preview_job(_without_streaming(spec), None)
    trainer = run_estimate.build_weightless_trainer(job)
    table = run_estimate.untruncated_table(trainer)
    checks = {name: _check_class(name)(job, table) for name in _check_names()}
    _check_rows(job, [*checks.values()])
    for token_batches, chunk in zip(iterate_token_batches(table), _table_chunks(table), strict=False):
        yield_point("Looking at tokens", token_batches[0].first_row, len(table))
        for check in checks.values():
            check.check_tokens(token_batches, chunk)
    return _build_report(job, trainer, checks)


def _without_streaming(spec: Spec) -> Spec:
    """Reads all rows once, also where training would stream them without end."""
    return spec.model_copy(update={"knobs": {name: value for name, value in spec.knobs.items() if name != "streaming"}})


@functools.cache
def _check_class(name: str) -> type[AuditCheck]:
    return import_module(f"app.engine.audit.checks.{name}").Check


def _table_chunks(table: Any) -> Iterator[Any]:
    arrow_table = (table if table._indices is None else table.flatten_indices()).data
    return (arrow_table.slice(first_row, CHUNK_ROWS) for first_row in range(0, len(table), CHUNK_ROWS))


def _check_rows(job: Job, checks: list[AuditCheck]) -> None:
    """Held-out rows first, so that a check recognises them among the training rows."""
    ignored = {"images"} | ({"chat_template_kwargs"} if job.template_arguments else set())
    for number, row in enumerate(job.data.holdout, 1):
        audited_row = AuditedRow(number, {name: value for name, value in row.items() if name not in ignored})
        for check in checks:
            check.check_held_out_row(audited_row)
    for number, row in enumerate(_iterate_rows(job.data.train, ignored), 1):
        yield_point("Looking at words", number, len(job.data.train))
        audited_row = AuditedRow(number, row)
        for check in checks:
            check.check_row(audited_row)


def _iterate_rows(table: Any, ignored: set[str], indices: list[int] | None = None) -> Iterator[dict[str, Any]]:
    """Rows as Python values, without the ignored columns and without the nulls of columns that only other rows have."""
    table = table.remove_columns([name for name in table.column_names if name in ignored])
    table = table if indices is None else table.select(indices)
    for batch in table.iter(batch_size=1_000):
        for row_values in zip(*batch.values(), strict=True):
            yield {name: value for name, value in zip(batch, row_values, strict=True) if value is not None}


# -- the report ---------------------------------------------------------------------------------------------------


def _build_report(job: Job, trainer: Any, checks: dict[str, Any]) -> dict[str, Any]:
    """checks: by name; those of lengths and of the trained share also give numbers of their own."""
    length_check, share_check = checks["lengths"], checks["trained_share"]
    cost, cost_findings = packing_stats.measure_padding(job, trainer, length_check.lengths)
    findings = [finding for check in checks.values() for finding in check.findings()] + cost_findings
    findings.sort(key=lambda finding: (_SEVERITY_ORDER[finding["severity"]], -finding["count"]))
    has_tokens = share_check.token_count > 0
    return {
        "rows": row_filter.count_trained_rows(job),
        "held_out": len(job.data.holdout),
        "dropped": [
            {"reason": reason, "count": count, "rows": job.data.dropped_row_numbers.get(reason, [])}
            for reason, count in job.data.dropped.items()
        ],
        "tokens": {"all": share_check.token_count, "trained": share_check.trained_count} if has_tokens else None,
        "counts": _finding_counts(findings, share_check.untrained.count if has_tokens else None),
        "lengths": _length_histogram(job, length_check),
        "cost": cost,
        "findings": findings,
        "examples": _example_texts(job, findings),
    }


def _finding_counts(findings: list[Finding], untrained: int | None) -> dict[str, int | None]:
    """Rows of the findings that the page counts in any case."""
    counts: dict[str, int | None] = {
        name: next((finding["count"] for finding in findings if finding["id"] == name), 0) for name in _COUNTED_FINDINGS
    }
    return counts | {"untrained": untrained}


def _length_histogram(job: Job, length_check: Any) -> dict[str, Any] | None:
    """How many rows have each length, and how many need at least that many tokens to train anything. With both, the page computes
    what any other limit would cut off."""
    import numpy

    lengths = length_check.lengths
    if not len(lengths):
        return None
    width = 1
    while len(numpy.unique(-(-lengths // width))) > _MAX_LENGTH_BINS:
        width *= 2

    def histogram(token_counts: Any) -> list[list[int]]:
        bins, row_counts = numpy.unique(-(-token_counts // width) * width, return_counts=True)
        return [[int(tokens), int(rows)] for tokens, rows in zip(bins, row_counts, strict=True)]

    return {
        "counts": histogram(lengths),
        "needed": histogram(length_check.needed_lengths),
        "width": width,
        "limit": length_check.limit,
        "maximum": getattr(job.knobs, "max_length", None),
        "longest": int(lengths.max()),
        "median": int(numpy.median(lengths)),
        "p99": int(numpy.percentile(lengths, 99, method="inverted_cdf")),
        "total": int(lengths.sum()),
    }


def _example_texts(job: Job, findings: list[Finding]) -> dict[str, str]:
    """{row number: beginning of the row's text} for the first rows of each finding, secrets redacted. Rows that were left out are
    not in the table, so they have no text here."""
    row_numbers = sorted(
        {
            number
            for finding in findings
            if finding["id"] not in ("left_out", "unreadable_rows")
            for number in finding["rows"][:_EXAMPLES_PER_FINDING]
            if 0 < number <= len(job.data.train)
        }
    )
    if not row_numbers:
        return {}
    rows = _iterate_rows(job.data.train, {"images"}, [number - 1 for number in row_numbers])
    texts = {}
    for number, row in zip(row_numbers, rows, strict=True):
        # Twice as much is redacted: a secret at the edge must not show because it is cut in two.
        redacted = redact_text(AuditedRow(number, row).text[: 2 * _EXAMPLE_CHARACTERS])
        texts[str(number)] = redacted[:_EXAMPLE_CHARACTERS]
    return texts
