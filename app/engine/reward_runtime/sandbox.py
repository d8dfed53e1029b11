"""Confine: shuts this process off before it runs code of strangers: no network, no files but a folder of its own, little memory and time.

Walls of the Linux kernel that what runs inside cannot take down again: Landlock for files, namespaces of its own with no network and
no other process in them, and resource limits. Where one of them is missing, nothing is run.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import struct
import sys
from pathlib import Path

from app.core.problems import Problem

MEMORY, FILE, PROCESSES, OPEN = 1 << 30, 16 << 20, 64, 64  # bytes, bytes, at once, files at once
CREATE, ADD, RESTRICT = 444, 445, 446  # Landlock's system calls, the same on all architectures
READ, EXECUTE, READ_FOLDER = 1 << 2, 1 << 0, 1 << 3
NEW_USER, NEW_NETWORK, NEW_PROCESSES = 0x10000000, 0x40000000, 0x20000000
NO_NEW_PRIVILEGES = 38
LOOKS = READ | EXECUTE | READ_FOLDER

libc = ctypes.CDLL(None, use_errno=True)
done: list[Path] = []  # the folder of this process, once it is confined


def confine(scratch: Path) -> Path:
    """From here on this process and its children are confined to `scratch`, a folder they may write to. Raises Problem where that cannot be."""
    environment(scratch)
    require(libc.unshare(NEW_USER | NEW_NETWORK | NEW_PROCESSES) == 0, "shut off the network and other processes")
    go_inside()
    files(scratch)
    for what, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, FILE), (resource.RLIMIT_NPROC, PROCESSES),
                       (resource.RLIMIT_NOFILE, OPEN), (resource.RLIMIT_CORE, 0)):  # fmt: skip
        resource.setrlimit(what, (most, most))
    os.chdir(scratch)
    done.append(scratch)
    return scratch


def require_confined() -> None:
    assert done, "code of strangers runs in a confined process only"


def go_inside() -> None:
    """The first child of a process that asked for a world of processes is the one who lives in it; the parent only waits for its end."""
    child = os.fork()
    if child:
        _, ended = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(ended) & 0xFF)


def end_others() -> None:
    """Ends everything in this process's own world but itself, and clears it away: whatever a program started ends with it."""
    require_confined()
    assert os.getpid() == 1, "outside it would end everything"
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def environment(scratch: Path) -> None:
    """Tokens travel to engines in the environment; code of strangers gets none of it."""
    for name in [*os.environ]:
        if name not in ("PATH", "LANG", "LC_ALL"):
            del os.environ[name]
    os.environ |= {"HOME": str(scratch), "TMPDIR": str(scratch)}


def files(scratch: Path) -> None:
    """Python and the system's libraries may be read, the scratch folder used, nothing else opened."""
    version = libc.syscall(CREATE, None, 0, 1)
    require(version >= 1, "close off the files")
    every = (1 << {1: 13, 2: 14}.get(version, 15)) - 1  # all rights that this kernel knows of files
    rules = libc.syscall(CREATE, struct.pack("QQ", every, 0), 8, 0)
    require(rules >= 0, "close off the files")
    readable = {
        "/usr",
        "/lib",
        "/lib64",
        "/bin",
        "/etc/ld.so.cache",
        "/dev/null",
        "/dev/urandom",
        sys.prefix,
        sys.base_prefix,
    }
    for path in sorted(readable):
        allow(rules, path, LOOKS | (1 << 1 if path == "/dev/null" else 0))
    allow(rules, str(scratch), every)
    require(libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0, "close off the files")
    require(libc.syscall(RESTRICT, rules, 0) == 0, "close off the files")
    os.close(rules)


def allow(rules: int, path: str, rights: int) -> None:
    if not os.path.exists(path):
        return
    here = os.open(path, os.O_PATH | os.O_CLOEXEC)
    if not os.path.isdir(path):
        rights &= READ | EXECUTE | (1 << 1) | (1 << 14)  # what can be asked of a file
    require(libc.syscall(ADD, rules, 1, struct.pack("=Qi", rights, here), 0) == 0, "close off the files")
    os.close(here)


def require(done: bool, what: str) -> None:
    if not done:
        raise Problem(f"This machine cannot {what} for code ({os.strerror(ctypes.get_errno())}), so none is run.",
                      advice="Choose rewards that run no code, or use a Linux kernel of 5.13 or later that allows user namespaces.",
                      reason="not_confined")  # fmt: skip
