"""Sandbox: what code of strangers tries on the machine fails, and what it may take is limited, also in total."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest

from app.core import paths
from app.engine.reward_runtime.pool import _RewardPool
from app.engine.reward_runtime.reward import FailedScore, Score
from app.engine.rewards import passes_tests
from app.setup.spec import Reward
from tests.support import wait_until


@pytest.fixture
def score_by() -> Iterator[Callable[..., Score]]:
    """Scores an answer by code of one's own, in a reward process of its own."""
    pools: list[_RewardPool] = []

    def score(code: str, seconds: float = 20) -> Score:
        source = f"import ctypes, errno, mmap, os, time\ndef score(answer, row):\n    path = answer\n    {code}\n"
        reward_json = Reward(name="own_python", params={"code": source}).model_dump_json(by_alias=True)
        pools.append(_RewardPool(reward_json, seconds, 1, calls_out=False))
        [only_score] = pools[-1].score_all([{"completion": score.path, "columns": {}}])  # type: ignore[attr-defined]
        return only_score

    score.path = ""  # type: ignore[attr-defined]
    yield score
    for used_pool in pools:
        used_pool.close()


def system_call(name: str, *arguments: str) -> str:
    """A Python expression: the error number of a system call; 0 where it succeeds."""
    call = f"ctypes.CDLL(None, use_errno=True).{name}({', '.join(arguments)})"
    return f"({call} == -1) * ctypes.get_errno()"


@pytest.mark.parametrize("expression", [
    "os.chmod(path, 0o777)", "os.utime(path, (0, 0))", "os.setxattr(path, 'user.mark', b'x')", "os.chown(path, -1, -1)",
    "os.fchmod(os.open('/usr/bin/env', os.O_RDONLY), 0o755)", "os.memfd_create('hidden')",
    "mmap.mmap(-1, 4096)",
])  # fmt: skip
def test_files_outside_cannot_be_marked_and_memory_not_hidden(
    expression: str, score_by: Callable[..., Score], tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    before = outside.stat()
    score_by.path = str(outside)  # type: ignore[attr-defined]
    code = f"try:\n        {expression}\n    except PermissionError as error:\n        return error.errno"
    assert score_by(code) == 1  # errno.EPERM
    assert (outside.stat().st_mode, outside.stat().st_mtime) == (before.st_mode, before.st_mtime)
    exec(expression, {"os": os, "mmap": mmap, "path": str(outside)})  # what is tried does something where it is allowed


@pytest.mark.parametrize("call", [
    system_call("shmget", "0x7777", "4096", "0o1666"), system_call("msgget", "0x7777", "0o1666"), system_call("semget", "0x7777", "1", "0o1666"),
    system_call("syscall", "250", "0", "-3", "1"), system_call("syscall", "425", "8", "ctypes.create_string_buffer(248)"),
    system_call("unshare", "0x10000000"), system_call("setns", "0", "0"), system_call("ptrace", "0", "0", "0", "0"),
    system_call("mount", "b'none'", "b'/'", "None", "0", "None"),
])  # fmt: skip
def test_system_calls_past_the_namespaces_are_forbidden(call: str, score_by: Callable[..., Score]) -> None:
    """250 and 425 are keyctl, here with the keyring of the session, and io_uring_setup."""
    assert score_by(f"return {call}") == 1  # errno.EPERM


def test_sockets_of_other_programs_cannot_be_reached(score_by: Callable[..., Score], tmp_path: Path) -> None:
    """Such as that of ssh-agent, Docker, D-Bus or a standby engine, which no namespace of networks separates."""
    send_by = {
        socket.SOCK_STREAM: "s = socket.socket(socket.AF_UNIX); s.connect(path); s.send(b'sign this')",
        socket.SOCK_DGRAM: "s, _ = socket.socketpair(type=socket.SOCK_DGRAM); s.sendto(b'sign this', path)",
    }
    for kind, send in send_by.items():
        path = str(tmp_path / kind.name)
        score_by.path = path  # type: ignore[attr-defined]
        with socket.socket(socket.AF_UNIX, kind) as agent:
            agent.bind(path)
            if kind == socket.SOCK_STREAM:
                agent.listen()
            agent.settimeout(0.2)
            attempt = (
                f"try:\n        import socket; {send}\n    except PermissionError as error:\n        return error.errno"
            )
            assert score_by(attempt) == 1  # errno.EPERM
            with pytest.raises(TimeoutError):
                agent.recv(9) if kind == socket.SOCK_DGRAM else agent.accept()
            exec(send, {"socket": socket, "path": path})  # what is tried does something where it is allowed


def test_a_new_namespace_of_users_gives_no_rights_and_threads_and_processes_start(
    score_by: Callable[..., Score],
) -> None:
    """56 and 435 are clone and clone3; 0x10000011 a new namespace of users and the signal of a child that ends."""
    assert score_by(f"return {system_call('syscall', '56', '0x10000011', '0', '0', '0', '0')}") == 1  # errno.EPERM
    assert score_by(f"return {system_call('syscall', '435', 'ctypes.create_string_buffer(88)', '88')}") == 38  # ENOSYS
    start = "import subprocess, threading; t = threading.Thread(target=list); t.start(); t.join(); return subprocess.run(['/usr/bin/env', 'true']).returncode + 1.0"
    assert score_by(start) == 1.0


def test_what_is_written_is_limited_in_total_and_gone_with_the_process(score_by: Callable[..., Score]) -> None:
    fill = (
        "written = 0\n    try:\n        for i in range(100):\n            with open(f'{i}', 'wb') as file:\n"
        "                written += file.write(bytes(8 << 20))\n    except OSError as error:\n"
        "        assert error.errno == errno.ENOSPC\n    return written >> 20"
    )
    written = score_by(fill)
    assert isinstance(written, float)
    assert 32 <= written <= 64


def test_memory_of_all_processes_together_is_limited(score_by: Callable[..., Score]) -> None:
    """Each takes less than one process may: 4 times 400 MiB."""
    take = "for _ in range(4):\n        if os.fork() == 0:\n            taken = b'x' * (400 << 20)\n            time.sleep(60)\n    time.sleep(60)"
    start = time.monotonic()
    assert score_by(take) == FailedScore("its process ended")
    assert time.monotonic() - start < 30
    assert score_by("taken = b'x' * (700 << 20)\n    return 1.0") == 1.0


def test_a_fork_bomb_is_ended_also_for_root(score_by: Callable[..., Score]) -> None:
    count = len(psutil.pids())
    assert score_by("while True:\n        try:\n            os.fork()\n        except OSError:\n            pass") in (
        FailedScore("its process ended"),
        FailedScore("it took longer than 20 seconds"),
    )
    wait_until(lambda: len(psutil.pids()) < count + 20, 10)


def test_a_program_that_takes_too_much_scores_0_and_the_next_is_judged() -> None:
    reward_json = Reward(name="passes_tests", params=passes_tests.Params(seconds=5).model_dump()).model_dump_json(
        by_alias=True
    )
    greedy = "import os, time\nfor _ in range(4):\n    if os.fork() == 0:\n        x = b'x' * (400 << 20)\n        time.sleep(60)\ntime.sleep(60)"
    reward_pool = _RewardPool(reward_json, 30.0, 1, calls_out=False)
    try:
        requests = [
            {"completion": program, "columns": {"tests": "assert f() == 1"}}
            for program in (greedy, "def f(): return 1")
        ]
        assert reward_pool.score_all(requests) == [0.0, 1.0]
    finally:
        reward_pool.close()


def test_where_the_kernel_allows_no_namespaces_code_is_refused_with_the_reason(tmp_path: Path) -> None:
    """In a namespace of users whose number of further namespaces is 0."""
    script = (
        "import ctypes, os, sys\nfrom pathlib import Path\nuser = os.geteuid()\n"
        "assert ctypes.CDLL(None).unshare(0x10000000) == 0\n"
        "Path('/proc/self/setgroups').write_text('deny')\nPath('/proc/self/uid_map').write_text(f'0 {user} 1')\n"
        "Path('/proc/sys/user/max_user_namespaces').write_text('0')\n"
        "from app.engine.reward_runtime import reward_process\nreward_process.main()\n"
    )
    reward_json = Reward(name="own_python", params={"code": "def score(answer, row): return 1.0"}).model_dump_json(
        by_alias=True
    )
    process = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=paths.ROOT,
        input=reward_json + "\n",
        capture_output=True,
        text=True,
    )
    assert '"reason": "not_confined"' in process.stdout, process.stderr
    assert "shut off the network" in process.stdout


@pytest.mark.slow
@pytest.mark.first_cases(3)
@pytest.mark.parametrize(("name", "params"), [
    ("own_python", {"code": "def score(answer, row):\n    while True: pass"}),
    ("own_python", {"code": "import os\ndef score(answer, row):\n    os.fork()\n    os.setsid()\n    while True: pass"}),
    ("passes_tests", {"seconds": 20}),
])  # fmt: skip
def test_processes_of_a_reward_that_loops_end_with_their_killed_engine(name: str, params: dict[str, object]) -> None:
    script = (
        "import sys\nfrom app.engine.reward_runtime.pool import _RewardPool\n"
        "_RewardPool(sys.argv[1], 60.0, 1, calls_out=False).score_all([{'completion': 'while True: pass', 'columns': {'tests': 'assert True'}}])"
    )
    reward_json = Reward(name=name, params=params).model_dump_json(by_alias=True)
    engine = psutil.Popen([sys.executable, "-c", script, reward_json], cwd=paths.ROOT)
    try:
        wait_until(partial(_busy_descendants, engine), 60)
        helpers = engine.children(recursive=True)
    finally:
        engine.send_signal(signal.SIGKILL)
        engine.wait()
    _, alive = psutil.wait_procs(helpers, 5)
    assert not alive


@pytest.mark.slow
def test_processes_of_a_reward_that_takes_too_long_end_also_where_they_left_its_session() -> None:
    code = """import ctypes, os
def score(answer, row):
    os.fork()
    os.setsid()
    ctypes.CDLL(None).prctl(1, 0)  # would let it live on after its parent
    while True: pass"""
    reward = Reward(name="own_python", params={"code": code})
    pool = _RewardPool(reward.model_dump_json(by_alias=True), 3.0, 1, calls_out=False)
    engine, started = psutil.Process(), set[psutil.Process]()
    others = {*engine.children(recursive=True)}  # of tests before
    with ThreadPoolExecutor(1) as executor:
        scores = executor.submit(pool.score_all, [{"completion": "", "columns": {}}])
        while not scores.done():
            started |= {*engine.children(recursive=True)} - others
            time.sleep(0.05)
    pool.close()
    assert isinstance(scores.result()[0], FailedScore)
    assert len(started) >= 3  # the guard, what it guards, and what that started
    _, alive = psutil.wait_procs(started, 5)
    assert not alive


def _busy_descendants(process: psutil.Process) -> list[psutil.Process]:
    """Those that compute at least half of the time."""
    return [child for child in process.children(recursive=True) if _runs_answer(child)]


def _runs_answer(process: psutil.Process) -> bool:
    """Computes, and is not a process that is still importing: those have computed for a few seconds at most."""
    try:
        return process.cpu_percent(0.2) > 50 and process.cpu_times().user > 3
    except psutil.NoSuchProcess:  # it has ended meanwhile
        return False
