"""Look: the command that says what a file of examples is, before anything is made of it."""

from __future__ import annotations

import json
import os
from typing import Annotated

import typer

from app.core.validation import parse
from app.data.source_report import Guess, look
from app.setup.spec import Source


def print_look(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file, or sample:NAME, hub:OWNER/NAME, upload:SHA256.")],
    layout: Annotated[str | None, typer.Option(help="Read it as this layout.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """What a file of examples is: its layout and why, its columns, who speaks in it, and what is wrong."""
    source = f"path:{os.path.abspath(file)}" if os.path.isfile(file) else file
    guess = look(parse(Source, {"source": source, "layout": layout}, "The examples"))
    print(json.dumps(guess.to_dict(), ensure_ascii=False) if as_json else in_words(guess))


def in_words(guess: Guess) -> str:
    lines = [f"{guess.title} ({guess.certainty}), {guess.because}." if guess.layout else f"{guess.title}."]
    lines += [f"  {one['title']}: {one['column']}" for one in guess.parts if one["column"]]
    lines += ["", "Columns:"] + [f"  {one['name']} ({one['type']}): {' · '.join(one['examples'])[:150]}" for one in guess.columns]  # fmt: skip
    if guess.speakers:
        lines += ["", "Speakers: " + ", ".join(f"{one['name']} = {one['role'] or '?'}" for one in guess.speakers)]
    lines += [f"Or {one['title'].lower()} (layout {one['layout']}), {one['because']}." for one in guess.others]
    return "\n".join(lines + [f"{one['severity']}: {one['text']}" for one in guess.findings])
