"""Command `inspect`: reports the layout, columns, speakers and faults of a file of examples."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from app.cli.options import AsJson
from app.cli.terminal import print_text
from app.core.validation import validate
from app.data.findings.source_report import SourceReport, report_source
from app.setup.sources import LabelChoice, Source


def print_source_report(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file, or sample:NAME, hub:OWNER/NAME, upload:SHA256.")],
    layout: Annotated[str | None, typer.Option(help="Read it as this layout.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Of text that is not Unicode: windows-1252 or latin-1.")] = None,
    as_json: AsJson = False,
) -> None:
    """What a file of examples is: its layout and why, its columns, who speaks in it, and what is wrong."""
    source = f"path:{os.path.abspath(file)}" if os.path.isfile(file) else file
    report = report_source(validate(Source, {"source": source, "layout": layout, "encoding": encoding}, "The examples"))
    print_text(json.dumps(report.to_dict(), ensure_ascii=False) if as_json else _format_report(report))


def _format_report(report: SourceReport) -> str:
    """The report as lines."""
    lines = [f"{report.title} ({report.certainty}), {report.because}." if report.layout else f"{report.title}."]
    lines += [f"  {part['title']}: {part['column']}" for part in report.parts if part["column"]]
    lines += ["", "Columns:"]
    lines += [
        f"  {column['name']} ({column['type']}): {' · '.join(column['examples'])[:150]}" for column in report.columns
    ]
    if report.speakers:
        lines += [
            "",
            "Speakers: " + ", ".join(f"{speaker['name']} = {speaker['role'] or '?'}" for speaker in report.speakers),
        ]
    if report.verdicts:
        sayings = [f"{verdict['text']} = {_verdict_words(report, verdict['choice'])}" for verdict in report.verdicts]
        lines += ["", "Verdicts: " + ", ".join(sayings)]
    lines += [
        f"Or {alternative['title'].lower()} (layout {alternative['layout']}), {alternative['because']}."
        for alternative in report.others
    ]
    return "\n".join(lines + [f"{finding['severity']}: {finding['text']}" for finding in report.findings])


def _verdict_words(report: SourceReport, choice: LabelChoice | None) -> str:
    """What a verdict says, in words; a question mark where only a person knows."""
    return report.verdict_choices.get(choice, choice) if choice else "?"
