"""Command `audit`: checks all rows of a setup as the trainer prepares them, and prints the findings."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from app.cli.options import AsJson, Changes, Setup
from app.cli.terminal import escape_controls, print_text, read_setup
from app.planning import preflight
from app.setup.spec import Spec
from app.worker.client import WorkerClient

if TYPE_CHECKING:
    from app.engine.audit.report import AuditReport
    from app.engine.cooperative import Progress

_MAX_ROW_NUMBERS = 5  # of a finding, in its line


def print_audit(
    setup: Setup,
    changes: Changes = [],  # noqa: B006 typer copies it
    as_json: AsJson = False,
) -> None:
    """What is in all rows: what is cut off, repeated, garbled or secret, how long they are, and what each costs."""
    spec = preflight.check_spec(read_setup(setup, changes))
    with WorkerClient() as worker:
        report = _run_audit(worker, spec, shows_progress=not as_json)
    if not as_json:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    print_text(json.dumps(report, ensure_ascii=False) if as_json else _format_audit(report))


def _run_audit(worker: WorkerClient, spec: Spec, shows_progress: bool) -> AuditReport:
    for message in worker.audit(spec):
        if "done" in message:
            return message["done"]
        if "progress" in message and shows_progress:
            print(
                f"\r{escape_controls(_progress_line(message['progress']))}\x1b[K", end="", file=sys.stderr, flush=True
            )
    raise AssertionError("a stream ends with its answer or a Problem")


def _progress_line(progress: Progress) -> str:
    """Progress of the audit in one line."""
    total = "" if progress["total"] is None else f" of {progress['total']:,}"
    remaining = "" if progress["seconds_left"] is None else f", about {progress['seconds_left']:.0f} s left"
    return f"{progress['what']}: {progress['done']:,}{total}{remaining}"


def _format_audit(report: AuditReport) -> str:
    """The report as lines: totals, lengths, and each finding with its remedy as a --set option."""
    lines = [
        f"{report['rows']:,} examples to learn from, {report['held_out']:,} held out, {report['cost']['steps']:,} steps."
    ]
    if lengths := report["lengths"]:
        lines += [
            f"Half have at most {lengths['median']:,} tokens, 99 in 100 at most {lengths['p99']:,}, the longest has {lengths['longest']:,}."
        ]
    for finding in report["findings"]:
        numbers = ", ".join(map(str, finding["rows"][:_MAX_ROW_NUMBERS]))
        rows = f" (rows {numbers}{' …' if finding['count'] > _MAX_ROW_NUMBERS else ''})" if finding["rows"] else ""
        lines.append(f"{finding['severity']}: {finding['text']}{rows}")
        if remedy := finding["remedy"]:
            changes = " ".join(f"--set '{path}={json.dumps(value)}'" for path, value in remedy["changes"].items())
            lines.append(f"    {remedy['title']}: {changes}")
    return "\n".join(lines)
