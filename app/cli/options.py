"""Arguments, options and exit codes that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

DONE, FAILED, REFUSED, STOPPED = 0, 1, 2, 130  # exit codes

Setup = Annotated[str, typer.Argument(metavar="SPEC", help="A preset's name, or a .toml or .json file.")]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, its beginning or end, or “last”.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, or one line for each event.")]
Changes = Annotated[
    list[str],
    typer.Option("--set", metavar="A.B=JSON", help="Change one setting, such as knobs.epochs=2 or adapter.r=8."),
]
DetachOrFollow = Annotated[
    bool,
    typer.Option(
        "--detach/--follow", help="Return at once while the run goes on by itself, or print its events until its end."
    ),
]
Follow = Annotated[bool, typer.Option("--follow", help="Print events as they come.")]
