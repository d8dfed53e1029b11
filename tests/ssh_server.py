"""A throw-away OpenSSH server on loopback with keys and a configuration of its own, as a machine to send runs to."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from app.core.workspace import Workspace
from app.remote.machines import RemoteMachine, create_machine

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


class SshServer:
    """One server. config: for `ssh -F`; its host is called `lab`."""

    def __init__(self, folder: Path):
        self.folder, self.config = folder, folder / "config"
        for name in ("host_key", "client_key", "other_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        shutil.copy(folder / "client_key.pub", folder / "authorized_keys")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host_key\nPidFile none\n"
            f"AuthorizedKeysFile {folder}/authorized_keys\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
            "UsePAM no\nPermitRootLogin prohibit-password\nStrictModes no\n"
        )
        self.write_client_config()
        self.process: subprocess.Popen[bytes] | None = None

    def write_client_config(self, key: str = "client_key", host_key: str = "host_key") -> None:
        """key: that the client shows. host_key: that it expects, empty for none."""
        known = f"[127.0.0.1]:{self.port} {(self.folder / f'{host_key}.pub').read_text()}" if host_key else ""
        (self.folder / "known_hosts").write_text(known)
        self.config.write_text(
            f"Host lab\n  HostName 127.0.0.1\n  Port {self.port}\n  User {os.environ.get('USER', 'root')}\n"
            f"  IdentityFile {self.folder}/{key}\n  IdentitiesOnly yes\n  UserKnownHostsFile {self.folder}/known_hosts\n"
            "  GlobalKnownHostsFile /dev/null\n"
        )

    def start(self) -> None:
        Path("/run/sshd").mkdir(exist_ok=True)
        command = [SSHD, "-D", "-f", str(self.folder / "sshd_config"), "-E", str(self.folder / "log")]
        self.process = subprocess.Popen(command, start_new_session=True)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def cut(self) -> None:
        """Ends all its connections, as a network does; the server takes new ones."""
        assert self.process, "it runs"
        for child in psutil.Process(self.process.pid).children(recursive=True):
            if child.name() == "sshd":
                with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended with its parent
                    child.kill()

    def stop(self) -> None:
        """The machine leaves the network: no connection stays, and none is taken. What it computes goes on."""
        if self.process:
            self.cut()
            self.process.kill()
            self.process.wait()
            self.cut_strays()
            self.process = None

    def cut_strays(self) -> None:
        """Ends connections that were taken while the server was being stopped."""
        for process in psutil.process_iter(["name", "cmdline"]):
            if process.info["name"] == "sshd" and str(self.folder) in " ".join(process.info["cmdline"] or []):
                process.kill()

    @property
    def fields(self) -> dict[str, str]:
        """Of a machine in this folder whose engines use this Python."""
        return {"config": str(self.config), "folder": str(self.folder / "far"), "python": sys.executable}


def end_processes_of(server: SshServer, home: Path) -> None:
    """Ends the engines on the server and the mirrors of this home."""
    for process in psutil.process_iter(["cmdline"]):
        command = " ".join(process.info["cmdline"] or [])
        if str(server.folder / "far") in command or (str(home) in command and "app.remote.mirror" in command):
            process.kill()


@contextlib.contextmanager
def ssh_server() -> Iterator[SshServer]:
    """A server that runs; it and its connections end with the block."""
    with tempfile.TemporaryDirectory(prefix="sshd-") as name:
        server = SshServer(Path(name))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def add_machine(workspace: Workspace, server: SshServer, name: str = "lab", **fields: str) -> RemoteMachine:
    """The server as a machine whose engines use this Python."""
    return create_machine(workspace, **({"name": name, "backend": "ssh", "host": "lab"} | server.fields | fields))
