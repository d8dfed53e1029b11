"""Commands `preview`, `link` and `open`: what a setup trains on, and a setup as a link. None of them starts a run."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from app.cli.options import AsJson, Changes, Setup
from app.cli.terminal import format_plan, format_preview_row, print_document, print_text, read_setup
from app.planning import links, preflight
from app.worker.client import WorkerClient


def preview(
    setup: Setup,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="How many examples.")] = 3,
    plan: Annotated[bool, typer.Option("--plan", help="Also how many rows, tokens and steps, over all data.")] = False,
    batches: Annotated[int, typer.Option(min=0, max=100, help="Also the first batches over all data.")] = 0,
    changes: Changes = [],  # noqa: B006 typer copies it
    as_json: AsJson = False,
) -> None:
    """What will be learned: the tokens of the first examples, by the trainer's own code."""
    spec = preflight.check_spec(read_setup(setup, changes))
    with WorkerClient() as worker:
        preview_of_rows = worker.preview_rows(spec, rows)
        preview_of_batches = worker.preview_batches(spec, batches) if batches else None
        run_estimate = worker.estimate_run(spec) if plan else None
    if as_json:
        estimate_field = {"plan": run_estimate} if run_estimate else {}
        print_text(json.dumps({**preview_of_rows, **(preview_of_batches or {}), **estimate_field}, ensure_ascii=False))
        return
    for row in preview_of_rows["rows"]:
        print(format_preview_row(row), end="\n\n")
    print_text("\n".join(f"{finding['severity']}: {finding['text']}" for finding in preview_of_rows["findings"]))
    if run_estimate:
        print_text(format_plan(run_estimate))


def print_link(
    setup: Setup,
    changes: Changes = [],  # noqa: B006 typer copies it
    page: str = "http://127.0.0.1:7860",
    as_json: AsJson = False,
) -> None:
    """A link that opens the page with this setup."""
    print_document({"link": links.link_to_setup(read_setup(setup, changes), page)}, as_json, lambda d: d["link"])


def open_link(text: Annotated[str, typer.Argument(metavar="LINK")]) -> None:
    """The setup in a link, as JSON; it starts nothing."""
    print_text(links.decode_setup(text).to_json(), end="")
