"""Templates: the text of a chat format, pasted or by a name of TRL's, tried before it is used: it is a stranger's program."""

from __future__ import annotations

import contextlib
import resource
import signal
import threading
from collections.abc import Iterator
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.core.problems import Problem, shorten
from app.setup import models
from app.setup.spec import NAMED_FORMAT

SECONDS = 3.0  # that a format may take for a short conversation
MEMORY = 1 << 29  # bytes that it may take
LONGEST = 1_000_000  # characters it may make of one
SHOWN = 60  # letters of a difference
TRIAL = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]


def text_of(told: str) -> str:
    """A template's text: as it was pasted, or `trl:NAME` of those that TRL ships. Raises Problem."""
    named = NAMED_FORMAT.fullmatch(told.strip())
    if named is None:
        return told
    path = models.format_folder() / f"{named.group(1)}.jinja"
    if not path.is_file():
        raise Problem(f"TRL ships no chat format called “{named.group(1)}”.", advice=f"Choose one of {', '.join(models.chat_formats())}.")  # fmt: skip
    return path.read_text(encoding="utf-8")


def require_sound(tokenizer: Any) -> None:
    """Raises Problem, in one sentence, for a chat format that cannot be read or does not come to an end."""
    told = tokenizer.chat_template
    known = tuple((name, one) for name, one in tokenizer.special_tokens_map.items() if isinstance(one, str))
    if isinstance(told, str) and (why := fault(told, known)):
        raise Problem(f"The chat format cannot be used: {why}.", advice="Mend it, or take the model’s own.", reason="bad_template")  # fmt: skip


@lru_cache(maxsize=64)
def fault(told: str, known: tuple[tuple[str, str], ...]) -> str:
    """What is wrong with it, in a few words; empty where nothing is. It need not take every conversation."""
    try:
        with limited():
            written = [tried(told, turns, dict(known)) for turns in (TRIAL, in_parts(TRIAL))]
    except Exceeded:
        return f"it takes more than {SECONDS:g} seconds to write “Hello”"
    except MemoryError:
        return "it takes more memory than any conversation needs"
    except Unreadable as unreadable:
        return str(unreadable)
    if any(len(one) > LONGEST for one in written):
        return f"it makes more than {LONGEST:,} characters of “Hello”"
    return "" if any("Hello" in one for one in written) else "it writes nothing of what is said"


def tried(told: str, turns: list[dict[str, Any]], known: dict[str, str]) -> str:
    """The conversation as it writes it; as if it wrote it where it refuses this one."""
    from transformers.utils.chat_template_utils import render_jinja_template

    try:
        return render_jinja_template([turns], chat_template=told, **known)[0][0]
    except (Exceeded, MemoryError):
        raise
    except Exception as error:  # a border: a template is a stranger's program
        name, line = type(error).__name__, getattr(error, "lineno", None)
        if "Syntax" in name or "Security" in name or "Overflow" in name or "Recursion" in name:
            raise Unreadable(shorten(str(error).strip().rstrip("."), 160) + (f" (line {line})" if line else "")) from error  # fmt: skip
        return turns[0]["content"] if isinstance(turns[0]["content"], str) else ""


def in_parts(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As models that see get them."""
    return [turn | {"content": [{"type": "text", "text": turn["content"]}]} for turn in turns]


class Unreadable(Exception):
    """It is no chat format, or does what none may."""


class Exceeded(Exception):
    """It takes too long."""


@contextlib.contextmanager
def limited(seconds: float = SECONDS, memory: int = MEMORY) -> Iterator[None]:
    """What is done inside ends with Exceeded or MemoryError when it takes too much: in a process's main thread, and on Linux."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise Exceeded

    before, (soft, hard) = signal.signal(signal.SIGALRM, stop), resource.getrlimit(resource.RLIMIT_AS)
    used = in_use() if memory else 0
    signal.setitimer(signal.ITIMER_REAL, seconds)
    if used:
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, hard))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def guarded(told: str | None, seconds: float = 60) -> Iterator[None]:
    """Raises Problem when rows in a chat format of the person's own take that long to be written."""
    if not told:
        yield
        return
    try:
        with limited(seconds, memory=0):
            yield
    except Exceeded as exceeded:
        raise Problem(f"The chat format takes more than {seconds:g} seconds to write these examples.",
                      advice="Mend it, or take the model’s own.", reason="bad_template") from exceeded  # fmt: skip


def in_use() -> int:
    """Bytes of address space that this process has; 0 where that is not told."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:  # a border: not on Linux
        return 0


# -- what a training template changes -----------------------------------------------------------------------------


def changes(before: str, after: str) -> list[tuple[str, str]]:
    """[(what stood there, what stands there now)], each difference once."""
    found: dict[tuple[str, str], None] = {}
    for kind, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        old, new = (shifted(before, a, b), "") if kind == "delete" else ("", shifted(after, c, d)) if kind == "insert" else (before[a:b], after[c:d])  # fmt: skip
        if kind != "equal":
            found[(old, new)] = None
    return list(found)


def shifted(text: str, start: int, end: int) -> str:
    """What is there more, from its first word on: the line break before it may as well be the one behind it."""
    while end < len(text) and text[start].isspace() and text[start] == text[end]:
        start, end = start + 1, end + 1
    return text[start:end]


def told(change: tuple[str, str]) -> str:
    """A difference in words."""
    old, new = (shorten(one.replace("\n", "⏎"), SHOWN) for one in change)
    if not old:
        return f"writes “{new}” in addition"
    return f"leaves out “{old}”" if not new else f"writes “{new}” instead of “{old}”"
