"""Sandbox for untrusted code in this process: no network, no files but one scratch folder, limited memory and time.

It uses restrictions of the Linux kernel that the process cannot undo: Landlock for files, own namespaces without
network and without other processes, and resource limits. Where one of them is missing, no code is run.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import struct
import sys
from functools import cache
from pathlib import Path

from app.core.platform import limit_resources
from app.core.problems import Problem

_MAX_MEMORY = 1 << 30  # bytes
_MAX_FILE_SIZE = 16 << 20  # bytes
_MAX_PROCESSES = 64
_MAX_OPEN_FILES = 64
# Landlock's system call numbers, the same on all architectures.
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT_SELF = 446
# Landlock's access rights (LANDLOCK_ACCESS_FS_*).
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_FOLDER, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
# Flags of unshare (CLONE_NEWUSER, CLONE_NEWNET, CLONE_NEWPID) and prctl (PR_SET_NO_NEW_PRIVS).
_NEW_USER, _NEW_NETWORK, _NEW_PROCESSES = 0x10000000, 0x40000000, 0x20000000
_NO_NEW_PRIVILEGES = 38
_READ_ONLY = _READ_FILE | _EXECUTE | _READ_FOLDER

_sandbox_folders: list[Path] = []  # the scratch folder, once this process is in the sandbox


@cache
def _libc() -> ctypes.CDLL:
    """The C library of this process, for system calls that Python has no function for."""
    return ctypes.CDLL(None, use_errno=True)


def enter_sandbox(scratch: Path) -> Path:
    """Restricts this process and its children to the folder `scratch`, for good.

    Raises Problem where the kernel cannot do that.
    """
    _clear_environment(scratch)
    _require(
        _libc().unshare(_NEW_USER | _NEW_NETWORK | _NEW_PROCESSES) == 0, "shut off the network and other processes"
    )
    _fork_into_namespace()
    _restrict_files(scratch)
    limit_resources(memory=_MAX_MEMORY, file_size=_MAX_FILE_SIZE, processes=_MAX_PROCESSES, open_files=_MAX_OPEN_FILES)
    os.chdir(scratch)
    _sandbox_folders.append(scratch)
    return scratch


def require_sandbox() -> None:
    """Asserts that this process is in the sandbox."""
    assert _sandbox_folders, "code of strangers runs in a confined process only"


def _fork_into_namespace() -> None:
    """Forks: only children enter the new process namespace, so the child goes on and the parent waits for its end."""
    child = os.fork()
    if child:
        _, wait_status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(wait_status) & 0xFF)


def kill_other_processes() -> None:
    """Kills and reaps all other processes of this namespace: whatever a program started ends with it."""
    require_sandbox()
    assert os.getpid() == 1, "outside it would end everything"
    with contextlib.suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _clear_environment(scratch: Path) -> None:
    """Removes environment variables: they may hold access tokens, which untrusted code must not see."""
    for name in [*os.environ]:
        if name not in ("PATH", "LANG", "LC_ALL"):
            del os.environ[name]
    os.environ |= {"HOME": str(scratch), "TMPDIR": str(scratch)}


def _restrict_files(scratch: Path) -> None:
    """Landlock rules: Python and system libraries are readable, the scratch folder writable, nothing else."""
    version = _libc().syscall(_LANDLOCK_CREATE_RULESET, None, 0, 1)
    _require(version >= 1, "close off the files")
    all_rights = (1 << {1: 13, 2: 14}.get(version, 15)) - 1  # all file rights that this kernel's Landlock version knows
    ruleset = _libc().syscall(_LANDLOCK_CREATE_RULESET, struct.pack("QQ", all_rights, 0), 8, 0)
    _require(ruleset >= 0, "close off the files")
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
        _allow_path(ruleset, path, _READ_ONLY | (_WRITE_FILE if path == "/dev/null" else 0))
    _allow_path(ruleset, str(scratch), all_rights)
    _require(_libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0, "close off the files")
    _require(_libc().syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0, "close off the files")
    os.close(ruleset)


def _allow_path(ruleset: int, path: str, rights: int) -> None:
    if sys.platform != "linux" or not os.path.exists(path):  # Landlock is a part of Linux
        return
    path_descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    if not os.path.isdir(path):
        rights &= _READ_FILE | _EXECUTE | _WRITE_FILE | _TRUNCATE  # the rights that apply to files
    _require(
        _libc().syscall(_LANDLOCK_ADD_RULE, ruleset, 1, struct.pack("=Qi", rights, path_descriptor), 0) == 0,
        "close off the files",
    )
    os.close(path_descriptor)


def _require(is_done: bool, purpose: str) -> None:
    if not is_done:
        raise Problem(
            f"This machine cannot {purpose} for code ({os.strerror(ctypes.get_errno())}), so none is run.",
            advice="Choose rewards that run no code, or use a Linux kernel of 5.13 or later that allows user namespaces.",
            reason="not_confined",
        )
