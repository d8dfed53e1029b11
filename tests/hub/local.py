"""Local: a Hub on a free port, and the environment that leads clients to it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from tests.hub.server import Server


@dataclass(frozen=True)
class LocalHub:
    """A Hub that listens. server.hub holds its store, accounts and the requests seen."""

    address: str
    server: Server

    def environment(self, cache: Path, token: str = "hf_alice", xet: bool = False) -> dict[str, str]:
        """What a child process needs to speak with this Hub only. cache: a folder of the caller's own, since caches are
        named by repository, not by Hub.
        """
        return {"HF_ENDPOINT": self.address, "HF_TOKEN": token, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0",
                "HF_HUB_DISABLE_XET": "0" if xet else "1", "HF_HUB_DISABLE_TELEMETRY": "1"}  # fmt: skip

    def files(self, name: str, kind: str = "models", revision: str = "main") -> dict[str, bytes]:
        """Every file of a repository, by path."""
        repo = self.server.hub.store.repo(kind, name)
        return {path: repo.content(entry).read_bytes() for path, entry in repo.at(revision)["files"].items()}

    def put(self, name: str, files: dict[str, str], kind: str = "datasets", **facts: Any) -> None:
        """A repository of that name with those texts, by path, beside what it holds already. facts: such as gated."""
        store = self.server.hub.store
        repo = store.repo(kind, name)
        if not repo.exists:
            repo.create(repo.namespace, private=False, **facts)
        now = repo.at("main")
        added = {path: store.file(text.encode()) for path, text in files.items()}
        repo.commit("main", now["sha"], now["files"] | added, repo.namespace, "Add files")


@contextlib.contextmanager
def opened(root: Path, port: int = 0, xet: bool = False) -> Iterator[LocalHub]:
    """A Hub that keeps its things in `root`, served from a thread until the block ends."""
    server = Server(root, xet)
    with socket.create_server(("127.0.0.1", port)) as door:
        config = uvicorn.Config(server, log_level="error", access_log=False, timeout_graceful_shutdown=1)
        uvicorn_server = uvicorn.Server(config)
        thread = threading.Thread(target=uvicorn_server.run, kwargs={"sockets": [door]}, daemon=True)
        thread.start()
        while not uvicorn_server.started:
            time.sleep(0.01)
        try:
            yield LocalHub(f"http://127.0.0.1:{door.getsockname()[1]}", server)
        finally:
            uvicorn_server.should_exit = True
            thread.join()
