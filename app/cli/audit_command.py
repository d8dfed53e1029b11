"""Audit: the command that looks at all rows of a setup as the trainer prepares them, and says what it found."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from app.cli.terminal import setup_of
from app.planning import preflight
from app.worker.client import Worker

NAMED = 5  # rows of a finding in a line


def print_audit(
    setup: Annotated[str, typer.Argument(metavar="SPEC", help="A preset's name, or a .toml or .json file.")],
    changes: Annotated[
        list[str], typer.Option("--set", metavar="A.B=JSON", help="Change one setting, such as knobs.epochs=2.")
    ] = [],  # noqa: B006 typer copies it
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """What is in all rows: what is cut off, repeated, garbled or secret, how long they are, and what each costs."""
    spec = preflight.check(setup_of(setup, changes))
    with Worker() as worker:
        for part in worker.audit(spec):
            if "progress" in part and not as_json:
                print(f"\r{going(part['progress'])}\x1b[K", end="", file=sys.stderr, flush=True)
    if not as_json:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    print(json.dumps(part["done"], ensure_ascii=False) if as_json else in_words(part["done"]))


def going(progress: dict[str, Any]) -> str:
    of = "" if progress["total"] is None else f" of {progress['total']:,}"
    left = "" if progress["seconds_left"] is None else f", about {progress['seconds_left']:.0f} s left"
    return f"{progress['what']}: {progress['done']:,}{of}{left}"


def in_words(found: dict[str, Any]) -> str:
    lines = [
        f"{found['rows']:,} examples to learn from, {found['held_out']:,} held out, {found['cost']['steps']:,} steps."
    ]
    if lengths := found["lengths"]:
        lines += [f"Half have at most {lengths['median']:,} tokens, 99 in 100 at most {lengths['p99']:,}, the longest has {lengths['longest']:,}."]  # fmt: skip
    for one in found["findings"]:
        rows = f" (rows {', '.join(map(str, one['rows'][:NAMED]))}{' …' if one['count'] > NAMED else ''})" if one["rows"] else ""  # fmt: skip
        lines.append(f"{one['severity']}: {one['text']}{rows}")
        if mend := one["remedy"]:
            changes = " ".join(f"--set '{path}={json.dumps(value)}'" for path, value in mend["changes"].items())
            lines.append(f"    {mend['title']}: {changes}")
    return "\n".join(lines)
