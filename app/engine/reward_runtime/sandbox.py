"""Sandbox for untrusted code in this process: no network, no files but one small scratch folder, limited memory and time.

It uses restrictions of the Linux kernel that the process cannot undo: Landlock for files, own namespaces without
network and without other processes, seccomp for system calls that these leave open, resource limits, and a scratch folder
in memory; a guard limits what all processes take together. Where one of them is missing, no code is run.

It does not protect against: errors of the kernel itself; code that measures how busy the machine is, or keeps its processors
busy until the time is up; code that reads the Python installation and system libraries, which must hold no secrets; and
memory or processes taken within the tenth of a second that the guard needs to notice.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
import sys
from functools import cache
from pathlib import Path

from app.core.platform import limit_resources
from app.core.problems import Problem
from app.engine.reward_runtime.process_guard import SET_DEATH_SIGNAL, Limits, can_measure, start_guard

_MAX_MEMORY = 1 << 30  # bytes, of each process and of all together
_MAX_FILE_SIZE = 16 << 20  # bytes
_MAX_SCRATCH_SIZE = 64 << 20  # bytes, of all files in the scratch folder
_MAX_SCRATCH_FILES = 512  # fewer than the depth of folders at which their removal fails
_MAX_PROCESSES = 64
_MAX_OPEN_FILES = 64
# Landlock's system call numbers, the same on all architectures.
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT_SELF = 446
# Landlock's access rights (LANDLOCK_ACCESS_FS_*).
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_FOLDER, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
# Flags of unshare (CLONE_NEWUSER and so on), prctl (PR_SET_NO_NEW_PRIVS) and mount (MS_NOSUID | MS_NODEV, MS_REC |
# MS_PRIVATE).
_NEW_USER, _NEW_NETWORK, _NEW_PROCESSES = 0x10000000, 0x40000000, 0x20000000
_NEW_IPC, _NEW_MOUNTS = 0x08000000, 0x00020000
_ONLY_PLAIN_FILES, _ALL_PRIVATE = 0x2 | 0x4, 0x4000 | 0x40000
_NO_NEW_PRIVILEGES = 38
_CAPABILITY_VERSION = 0x20080522  # of capset: _LINUX_CAPABILITY_VERSION_3
_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH")  # what a confined process gets of the environment
_READ_ONLY = _READ_FILE | _EXECUTE | _READ_FOLDER
_INNER_USER = 65534  # "nobody", as whom the user of this process appears in the sandbox
# System calls that change what Landlock does not protect, or reach what no namespace separates.
_FORBIDDEN_CALLS = (
    *("chmod", "fchmod", "fchmodat", "chown", "fchown", "lchown", "fchownat"),
    *("utime", "utimes", "futimesat", "utimensat"),
    *("setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"),
    *("add_key", "request_key", "keyctl"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register"),
    *("shmget", "shmat", "shmctl", "semget", "semctl", "semop", "semtimedop", "msgget", "msgctl", "msgsnd", "msgrcv"),
    "memfd_create",  # memory that no limit counts
    *("ptrace", "process_vm_readv", "process_vm_writev", "bpf", "perf_event_open", "userfaultfd"),
    *("open_by_handle_at", "mount", "umount2", "pivot_root"),
    # Unix sockets with a path, such as those of ssh-agent, Docker, D-Bus or a standby engine, and vsock, which leads out of
    # a virtual machine. Of socketpair only what cannot be sent elsewhere is left, see _forbid_calls.
    "socket",
    # By number, the same on all architectures, as not every libseccomp knows their names: memfd_secret, fchmodat2,
    # setxattrat, removexattrat, file_setattr.
    *(447, 452, 463, 466, 469),
)
_CLONE3 = 435  # the same on all architectures
_SOCKET_KINDS = 0xF  # the bits of a socket's type that are no flags
_CALLS_OF_STARTERS = ("unshare", "setns")  # forbidden too, but for a process that starts others

_sandbox_folders: list[Path] = []  # the scratch folder, once this process is in the sandbox
_own_namespaces: list[int] = []  # a descriptor of this process's own namespace of processes, where it starts others


@cache
def _libc() -> ctypes.CDLL:
    """The C library of this process, for system calls that Python has no function for."""
    return ctypes.CDLL(None, use_errno=True)


def enter_sandbox(scratch: Path, starts_processes: bool = False) -> None:
    """Restricts this process and its children to the folder `scratch`, for good. It should have been started with
    `clean_environment`. starts_processes: for a process that runs no untrusted code, but starts others that do.

    Raises Problem where the kernel cannot do that.
    """
    _require(can_measure(), "count the processes")
    _enter_namespaces()
    _mount_scratch(scratch)
    # Only children enter the new namespace of processes, of which the first takes all others along when it ends.
    start_guard(Limits(_MAX_MEMORY, _MAX_PROCESSES), spare_first=starts_processes)
    if starts_processes:
        _own_namespaces.append(os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC))
    else:
        _drop_capabilities()
    _restrict_files(scratch)
    _forbid_calls(*_FORBIDDEN_CALLS, *(() if starts_processes else _CALLS_OF_STARTERS))
    limit_resources(memory=_MAX_MEMORY, file_size=_MAX_FILE_SIZE, processes=_MAX_PROCESSES, open_files=_MAX_OPEN_FILES)
    os.chdir(scratch)
    _sandbox_folders.append(scratch)


def require_sandbox() -> None:
    """Asserts that this process is in the sandbox."""
    assert _sandbox_folders, "code of strangers runs in a confined process only"


def scratch_folder() -> Path:
    """The folder that this process may write to. Asserts that it is in the sandbox."""
    require_sandbox()
    return _sandbox_folders[0]


def fork_into_new_namespace() -> int:
    """Forks like os.fork, but the child is the first in a namespace of processes: it sees no others, and all that it
    starts end with it. Only in a sandbox with `starts_processes`."""
    [own_namespace] = _own_namespaces
    _require(_libc().unshare(_NEW_PROCESSES) == 0, "shut off other processes")
    if pid := os.fork():
        _require(_libc().setns(own_namespace, _NEW_PROCESSES) == 0, "shut off other processes")
    return pid


def restrict_further(folder: Path) -> None:
    """Restricts this process, which a sandboxed one has started, to a folder in the scratch folder, for good."""
    require_sandbox()
    _require(_libc().unshare(_NEW_IPC) == 0, "shut off shared memory")
    os.environ |= _folder_variables(folder)
    _restrict_files(folder)
    _drop_capabilities()
    _forbid_calls(*_CALLS_OF_STARTERS)
    os.chdir(folder)


def _drop_capabilities() -> None:
    """Gives up all rights over the namespaces of this process."""
    _require(_libc().capset(struct.pack("Ii", _CAPABILITY_VERSION, 0), bytes(24)) == 0, "give up rights")


def _enter_namespaces() -> None:
    user, group = os.geteuid(), os.getegid()
    _require(
        _libc().unshare(_NEW_USER | _NEW_NETWORK | _NEW_PROCESSES | _NEW_IPC | _NEW_MOUNTS) == 0,
        "shut off the network and other processes",
    )
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{_INNER_USER} {user} 1"),
        ("gid_map", f"{_INNER_USER} {group} 1"),
    ):
        try:
            Path("/proc/self", name).write_text(text)
        except OSError as error:
            raise _refusal("give up the rights of its account", str(error.strerror)) from error


def _mount_scratch(scratch: Path) -> None:
    """Mounts an empty file system of limited size, in memory, on the scratch folder, for this process and its children."""
    options = f"size={_MAX_SCRATCH_SIZE},nr_inodes={_MAX_SCRATCH_FILES},mode=700"
    mount = _libc().mount
    _require(mount(b"none", b"/", None, _ALL_PRIVATE, None) == 0, "limit the size of files")
    _require(
        mount(b"tmpfs", os.fsencode(scratch), b"tmpfs", _ONLY_PLAIN_FILES, options.encode()) == 0,
        "limit the size of files",
    )


def _forbid_calls(*calls: str | int) -> None:
    """Lets these system calls fail with EPERM in this process and its children, for good."""
    purpose = "forbid system calls"
    try:
        import pyseccomp as seccomp  # looks for the system's library when it is imported

        filter_ = seccomp.SyscallFilter(seccomp.ALLOW)
        refused = seccomp.ERRNO(errno.EPERM)
        for call in calls:
            filter_.add_rule(refused, call)
        # An end of a pair of datagram sockets can send to any Unix socket; of raw ones the kernel makes datagram sockets.
        for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
            filter_.add_rule(refused, "socketpair", seccomp.Arg(1, seccomp.MASKED_EQ, _SOCKET_KINDS, kind))
        # This process ends with its guard, and cannot take that back.
        filter_.add_rule(refused, "prctl", seccomp.Arg(0, seccomp.EQ, SET_DEATH_SIGNAL))
        # The first process of a new namespace of users has all rights over further namespaces. clone3 takes its flags from
        # memory, which no filter reads; the C library does without it where it does not exist.
        filter_.add_rule(refused, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, _NEW_USER, _NEW_USER))
        filter_.add_rule(seccomp.ERRNO(errno.ENOSYS), _CLONE3)
        # Memory that outlives the process that filled it, and counts for nobody.
        shared = mmap.MAP_SHARED | mmap.MAP_ANONYMOUS
        filter_.add_rule(refused, "mmap", seccomp.Arg(3, seccomp.MASKED_EQ, shared, shared))
        filter_.load()
    except (ImportError, RuntimeError, OSError) as error:
        raise _refusal(purpose, str(error)) from error


def clean_environment(scratch: Path) -> dict[str, str]:
    """The environment to start a confined process with: it may hold no access tokens, and a variable that is deleted
    later stays in the memory of the process."""
    return {name: os.environ[name] for name in _VARIABLES if name in os.environ} | _folder_variables(scratch)


def _folder_variables(folder: Path) -> dict[str, str]:
    return {"HOME": str(folder), "TMPDIR": str(folder)}


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
        raise _refusal(purpose, os.strerror(ctypes.get_errno()))


def _refusal(purpose: str, reason: str) -> Problem:
    return Problem(
        f"This machine cannot {purpose} for code ({reason}), so none is run.",
        advice="Choose rewards that run no code, or use a Linux kernel of 5.13 or later that allows user namespaces, with"
        " the library libseccomp.",
        reason="not_confined",
    )
