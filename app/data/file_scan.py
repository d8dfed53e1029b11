"""Surveys: a whole file read once when it is brought: how many rows, which cannot be read, and what could be done about it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from app.core import registry
from app.core.problems import Problem
from app.data import files
from app.data.text_lines import Bad, likely_encoding
from app.data.unreadable_rows import Unread
from app.setup.spec import Source

MEMORY = 3 << 30  # bytes that a table may need while it is read, in a process of its own
GROWING = (".parquet", ".arrow", ".feather")  # a few bytes of them can say any amount
MOST_ROWS = 10_000_000
REFUSED = 2  # the exit of a process that found a Problem
Survey = dict[str, Any]


def survey(path: Path) -> Survey:
    """{"rows", "findings"} of a file as it is. Raises Problem when nothing of it can be read."""
    return apart(path) if files.kind_of(path) in GROWING else read_through(path)


def read_through(path: Path) -> Survey:
    unread, count, encoding = Unread(), 0, None
    try:
        for _ in files.rows_of(Source(source=f"path:{path}", skip_bad=True), unread=unread):
            count += 1
            require_fewer(path, count)
    except Problem as problem:
        if problem.reason != "encoding":
            raise
        unread.add(Bad(problem.text.partition(": ")[2].rstrip("."), "encoding"), 1)
    if unread.encoding:
        encoding = likely_encoding(path)
    if unread.count and not count and not encoding:
        raise files.problem_of(Bad(next(iter(unread.first.values()))), path.name)
    return {"rows": count, "findings": unread.findings(encoding=encoding)}


def apart(path: Path) -> Survey:
    """The same, in a process whose memory has a limit, and whose end is not the page's. Raises Problem."""
    command = [sys.executable, "-m", "app.data.file_scan", str(path)]
    done = subprocess.run(command, cwd=registry.ROOT, capture_output=True, text=True)
    if done.returncode not in (0, REFUSED):
        raise files.grown(path)
    told = json.loads(done.stdout)
    if done.returncode == REFUSED:
        raise Problem(told["text"], advice=told["advice"], reason=told["reason"])
    return told


def main() -> int:
    import resource

    path = Path(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        if files.kind_of(path) == ".parquet":
            require_fewer(path, files.count_of(Source(source=f"path:{path}")) or 0)
        print(json.dumps(read_through(path)))
    except Problem as problem:
        print(json.dumps({"text": problem.text, "advice": problem.advice, "reason": problem.reason}))
        return REFUSED
    return 0


def require_fewer(path: Path, count: int) -> None:
    if count > MOST_ROWS:
        raise Problem(
            f"{path.name} holds more than {MOST_ROWS // 1_000_000} million rows.",
            advice="Bring a part of it.",
            reason="too_large",
        )


# -- kept beside an upload --------------------------------------------------------------------------------------------


def place_of(path: Path) -> Path:
    """Hidden, so that it is no file of examples itself; the same bytes can be kept as several kinds."""
    return path.parent / f".survey{path.suffix.lower()}.json"


def keep(folder: Path, path: Path, found: Survey) -> None:
    place_of(folder / path.name).write_text(json.dumps(found), encoding="utf-8")


def kept(path: Path) -> Survey | None:
    """What was found when the file was brought; None for one that was not."""
    place = place_of(path)
    return json.loads(place.read_text(encoding="utf-8")) if place.is_file() else None


def count(source: Source, path: Path | None) -> int | None:
    """How many rows can be read, where that is known."""
    found = kept(path) if path else None
    as_brought = source.parts == "paragraphs" and not (source.headless or source.encoding)
    if found is None or not as_brought:
        return files.count_of(source)
    several = max(0, found["rows"] - (source.start or 0))
    return min(several, source.limit or several)


def settled(found: Survey, source: Source, place: int) -> list[dict[str, Any]]:
    """The findings as they are now that the source says how to read it: what is left out is told, no longer wrong."""
    told = [at_place(one, place) for one in found["findings"]]
    if not source.skip_bad or not told:
        return told
    last = told[-1]
    said = f"{last['text'].partition('. ')[0].rstrip('.')}. {'It is' if last['count'] == 1 else 'They are'} left out."
    return [last | {"id": "unreadable_rows", "severity": "careful", "text": said, "remedy": None}]


def at_place(finding: dict[str, Any], place: int) -> dict[str, Any]:
    remedy = finding["remedy"]
    changes = {f"data.{place}.{path.rpartition('.')[2]}": value for path, value in remedy["changes"].items()}
    return finding | {"remedy": remedy | {"changes": changes}}


def require_readable(source: Source) -> None:
    """Raises Problem for a file that was brought with rows that cannot be read, where nobody has said what to do about them."""
    path = files.file_of(source)
    found = kept(path) if path and not (source.skip_bad or source.encoding or source.start or source.limit) else None
    if found and found["findings"]:
        first = found["findings"][0]
        raise Problem(f"{files.name_of(source)} cannot be read as it is. {first['text']}", reason=first["id"],
                      advice=f"Mend the file, or: {first['remedy']['title'].lower()}.")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
