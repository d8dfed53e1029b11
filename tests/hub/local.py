"""Starts a local Hub on a free port and gives the environment variables that point clients to it."""

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
    """A running local Hub. server.hub holds its store, accounts and received requests."""

    address: str
    server: Server

    def environment(self, cache: Path, token: str = "hf_alice", xet: bool = False) -> dict[str, str]:
        """Environment variables with which a child process uses only this Hub. cache: a separate folder for each Hub, because
        caches are named by repository and not by Hub.
        """
        return {"HF_ENDPOINT": self.address, "HF_TOKEN": token, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0",
                "HF_HUB_DISABLE_XET": "0" if xet else "1", "HF_HUB_DISABLE_TELEMETRY": "1"}  # fmt: skip

    def files(self, name: str, kind: str = "models", revision: str = "main") -> dict[str, bytes]:
        """{path: content} of all files of a repository."""
        repo = self.server.hub.store.repo(kind, name)
        return {path: repo.content(entry).read_bytes() for path, entry in repo.commit_at(revision)["files"].items()}

    def add_files(self, name: str, files: dict[str, str | bytes], kind: str = "datasets", **metadata: Any) -> None:
        """Commits the files ({path: content}) to a repository, which is created if necessary. metadata: of a new one, such as gated."""
        store = self.server.hub.store
        repo = store.repo(kind, name)
        if not repo.exists:
            repo.create(repo.namespace, private=False, **metadata)
        head = repo.commit_at("main")
        added = {
            path: store.git_file_entry(content.encode() if isinstance(content, str) else content)
            for path, content in files.items()
        }
        repo.commit("main", head["sha"], head["files"] | added, repo.namespace, "Add files")


@contextlib.contextmanager
def run_local_hub(root: Path, port: int = 0, xet: bool = False) -> Iterator[LocalHub]:
    """Runs a Hub that stores its data in `root` in a thread until the block ends."""
    server = Server(root, xet)
    with socket.create_server(("127.0.0.1", port)) as listening_socket:
        config = uvicorn.Config(server, log_level="error", access_log=False, timeout_graceful_shutdown=1)
        uvicorn_server = uvicorn.Server(config)
        thread = threading.Thread(target=uvicorn_server.run, kwargs={"sockets": [listening_socket]}, daemon=True)
        thread.start()
        while not uvicorn_server.started:
            time.sleep(0.01)
        try:
            yield LocalHub(f"http://127.0.0.1:{listening_socket.getsockname()[1]}", server)
        finally:
            uvicorn_server.should_exit = True
            thread.join()
