"""Bounded calls: what a stranger's file or link makes the page compute ends in time, and takes nothing along."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvicorn
from fastapi import FastAPI

from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.planning import links, presets
from app.server.views import choose
from app.worker import fork_server
from app.worker.bounded_calls import BoundedCalls
from tests.support import wait_until


@pytest.fixture(scope="module")
def calls() -> Iterator[BoundedCalls]:
    bounded_calls = BoundedCalls()
    yield bounded_calls
    bounded_calls.close()


def preview(calls: BoundedCalls, path: Path, **options: Any) -> Any:
    source = {"source": {"source": f"path:{path}"}, "place": 0, "method": "sft"}
    return calls.call("preview_source", source, **options)


def compressed_blank_lines(path: Path, size: int) -> Path:
    """A small file that unpacks to so many bytes without a row."""
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(size >> 20):
            file.write(b"\n" * (1 << 20))
    return path


@pytest.mark.slow
def test_calls_answer_like_the_functions_themselves(calls: BoundedCalls, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "One?", "answer": "1"}\n')
    assert preview(calls, path)["cells"] == [["One?", "1"]]
    code = links.encode_setup(presets.preset_spec("first_tune"))
    assert calls.call("open_setup_link", code)["preset"] == "first_tune"
    with pytest.raises(Problem, match="not a whole setup"):
        calls.call("open_setup_link", "abc")
    assert calls.ensure_started().is_alive


@pytest.mark.slow
def test_a_file_of_blank_lines_is_given_up_in_time_while_others_are_answered(
    calls: BoundedCalls, tmp_path: Path
) -> None:
    slow = compressed_blank_lines(tmp_path / "slow.jsonl.gz", 2 << 30)
    quick = tmp_path / "quick.jsonl"
    quick.write_text('{"question": "One?", "answer": "1"}\n')
    with ThreadPoolExecutor() as threads:
        start = time.monotonic()
        pending = threads.submit(preview, calls, slow, seconds=3)
        assert preview(calls, quick)["cells"] == [["One?", "1"]]
        assert not pending.done()
        with pytest.raises(Problem) as refusal:
            pending.result()
    assert refusal.value.reason == "too_slow"
    assert time.monotonic() - start < 8


@pytest.mark.slow
def test_a_call_ends_when_nobody_waits_for_it(calls: BoundedCalls, tmp_path: Path) -> None:
    slow = compressed_blank_lines(tmp_path / "slow.jsonl.gz", 2 << 30)
    server = psutil.Process(calls.ensure_started().process.pid)
    left = threading.Event()
    with ThreadPoolExecutor() as threads:
        pending = threads.submit(preview, calls, slow, is_abandoned=left.is_set)
        wait_until(server.children, 10)
        left.set()
        with pytest.raises(Problem, match="has left"):
            pending.result(2)
    wait_until(lambda: not server.children(), 2)


@pytest.mark.slow
def test_an_archive_of_very_many_names_is_answered_in_time(calls: BoundedCalls, tmp_path: Path) -> None:
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(100_000):
            archive.writestr(f"{i}.png", b"")
    start = time.monotonic()
    with contextlib.suppress(Problem):  # a quick machine reads all names in the time allowed
        preview(calls, path)
    assert time.monotonic() - start < 12
    start = time.monotonic()
    with pytest.raises(Problem, match="more than 1 seconds"):
        preview(calls, path, seconds=1)
    assert time.monotonic() - start < 3


@pytest.mark.slow
def test_calls_end_with_the_page(tmp_path: Path) -> None:
    bounded_calls = BoundedCalls()
    slow = compressed_blank_lines(tmp_path / "slow.jsonl.gz", 2 << 30)
    with ThreadPoolExecutor() as threads:
        pending = threads.submit(preview, bounded_calls, slow)
        server = psutil.Process(bounded_calls.ensure_started().process.pid)
        wait_until(server.children, 20)
        processes = [server, *server.children(recursive=True)]
        bounded_calls.close()
        _, alive = psutil.wait_procs(processes, 3)
        assert not alive
        with pytest.raises(Problem):
            pending.result(5)


@pytest.mark.slow
def test_an_upload_is_given_up_when_its_browser_leaves(
    calls: BoundedCalls, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = compressed_blank_lines(tmp_path / "slow.jsonl.gz", 1 << 30).read_bytes()
    app = FastAPI()
    choose.mount_upload_route(app, calls)
    listening_socket = uvicorn.Config(app, port=0, log_level="error").bind_socket()
    port = listening_socket.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening_socket])), daemon=True)
    thread.start()
    wait_until(lambda: server.started, 20)

    async def upload_and_leave() -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /uploads?name=slow.jsonl.gz HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n\r\n"
        writer.write(head.encode() + content)
        await writer.drain()
        await asyncio.to_thread(wait_until, children, 20)
        writer.close()

    fork_server_process = psutil.Process(calls.ensure_started().process.pid)
    children: Callable[[], Any] = fork_server_process.children
    asyncio.run(upload_and_leave())
    start = time.monotonic()
    wait_until(lambda: not children(), 10)
    assert time.monotonic() - start < 2
    wait_until(lambda: not list(local_workspace().uploads.iterdir()), 5)  # neither the upload nor its folder
    server.should_exit = True
    thread.join(10)


@pytest.mark.parametrize(
    ("function", "length", "text"),
    [
        (lambda: "x" * (20 << 20), fork_server.MAX_OUTPUT_BYTES + 1, b"xxx"),  # more than the server sends on
        (lambda: len(b"x" * (2 << 30)), None, b"more than 1 GB of memory"),
    ],
)
def test_output_and_memory_are_limited(
    function: Callable[[], Any], length: int | None, text: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of the test: no function that the page offers takes that much."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        monkeypatch.setitem(fork_server.FUNCTIONS, "large", function)
        fork_server._answer({"what": "large", "arguments": [], "seconds": 10, "home": ""}, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        output = file.read()
    os.waitpid(pid, 0)
    assert text in output
    assert length in (None, len(output))
