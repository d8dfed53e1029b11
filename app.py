"""Start here: `python app.py` builds the page, serves it to this machine only, and prints its address.

A Hugging Face Space runs this same file; there the page is behind signing in (app/server/space_access.py).
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Iterator
from types import FrameType
from typing import IO, Any

from app.core.problems import Problem
from app.core.workspace import local_workspace

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported: the page calls nobody
if os.environ.get("SYSTEM") == "spaces":  # also for every child: who has no person's token asks as nobody
    os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"

# gradio's own choice, /tmp/gradio, is everybody's on a shared machine; a home that cannot be is said by main
with contextlib.suppress(Problem):
    os.environ["GRADIO_TEMP_DIR"] = str(local_workspace().path / "cache" / "gradio")

import uvicorn

from app.core import platform
from app.core.scratch import ScratchFolder
from app.server import access_keys, host_access, key_page
from app.server.host_access import HostOptions
from app.server.key_page import PLAIN_HTTP_SENTENCE
from app.server.page import build_page, create_app
from app.worker.client import WorkerClient

PORT = 7860
_EXIT_SECONDS = 4.0  # from Ctrl-C to the end of the process, at most


def main() -> None:
    options = parse_arguments()
    signal.signal(signal.SIGINT, interrupt)
    try:
        platform.require_supported_system()
        with (
            WorkerClient() as worker,
            contextlib.suppress(KeyboardInterrupt),
        ):  # uvicorn passes Ctrl-C on once it has closed
            (serve_space if platform.is_space() else serve_locally)(worker, options)
    except Problem as problem:  # the outermost boundary: one sentence, and the exit code for a refusal
        sys.exit(print(problem, file=sys.stderr) or 2)


def serve_locally(worker: WorkerClient, options: argparse.Namespace) -> None:
    """Serves the page to whoever has the key: on this machine, or with --host also elsewhere."""
    host_options = parse_host_options(options)
    if host_options and not options.allow_code:  # before the page is built and the worker started, which read it
        os.environ[platform.SHARED_VARIABLE] = "1"
    listening_socket = open_socket(options.host or "127.0.0.1", [PORT, 0] if options.port is None else [options.port])
    port = listening_socket.getsockname()[1]
    with lock_home(f"http://{host_options.printed_host if host_options else '127.0.0.1'}:{port}/"):
        app = create_app(build_page(worker), worker, port, choose_page_name(), announce_address, host_options)
        print(f"Tunesmith is open at {app.announced_address()}", flush=True)
        print("This address signs in one browser. Ctrl-C closes the page. Runs go on without it.", flush=True)
        if host_options:
            print(describe_host_access(host_options, options.allow_code), flush=True)
        with contextlib.nullcontext() if options.no_browser else open_in_browser(app.sign_in_address()):
            run_server(app, listening_socket)


def parse_host_options(options: argparse.Namespace) -> HostOptions | None:
    """How the page is opened to other machines; None without --host. Raises Problem."""
    if options.host is None:
        if options.allowed_host or options.allow_code:
            raise Problem("This page is open to this machine only.", advice="Give --host as well to open it to others.")
        return None
    named_host = [] if host_access.is_address(options.host) else [options.host]
    names = [host_access.parse_host_name(name) for name in [*named_host, *options.allowed_host]]
    return HostOptions(options.host, tuple(names))


def describe_host_access(host_options: HostOptions, allow_code: bool) -> str:
    """What the owner of a page that is open to other machines should know."""
    names = f" Under {' and '.join(host_options.names)} the same key works." if host_options.names else ""
    code = (
        "Whoever has a key may run code in rewards and read files of this machine."
        if allow_code
        else "Rewards that run code and files of this machine are off; --allow-code turns them on."
    )
    return f"Other machines reach it with a key.{names} {code} {PLAIN_HTTP_SENTENCE}"


def choose_page_name() -> str:
    """The page's host name: one of its own, but on a Mac only where the system knows such names, for Safari."""
    name = access_keys.page_name(local_workspace())
    if sys.platform == "darwin":
        try:
            socket.getaddrinfo(name, None)
        except OSError:  # boundary: depends on the version of the system
            return "127.0.0.1"
    return name


def announce_address(address: str) -> None:
    print(f"A browser asks for the page. If it is yours, sign it in with {address}", flush=True)


@contextlib.contextmanager
def open_in_browser(address: str) -> Iterator[None]:
    """Opens an address in the default browser, by a file that only this account can read: everybody on a machine can read
    the commands that run on it. The socket listens already: the browser waits until the server answers."""
    with ScratchFolder(local_workspace()) as folder:  # which nobody else can enter
        path = folder / "open-page.html"
        path.write_text(key_page.redirect_page(address), encoding="utf-8")
        webbrowser.open(path.as_uri())
        yield


def serve_space(worker: WorkerClient, options: argparse.Namespace) -> None:
    """Serves the page to the Space's owner, after sign-in. The platform's proxy is in front of this port."""
    from app.server.space_access import SpaceAccess

    port, page = options.port or PORT, build_page(worker)
    page.space_id = None  # else Gradio adds a bar of its own, which asks other hosts for fonts and facts
    app = SpaceAccess(create_app(page, worker, port).app)  # the same page behind sign-in
    listening_socket = open_socket("0.0.0.0", [port])
    print("Tunesmith is open to the owner of this Space.", flush=True)
    run_server(app, listening_socket)


def lock_home(address: str) -> IO[str]:
    """Locks this home until the file is closed or the process ends: two pages on one home would clean up each other's files.

    Raises Problem with the address of the page that has the lock."""
    lock = (local_workspace().locks / "page").open("a+", encoding="utf-8")
    if not platform.try_lock_file(lock):  # a person may start it twice
        lock.seek(0)
        raise Problem(
            f"This home is open already at {lock.read() or 'another address'}.",
            advice="Open that page with the key its terminal prints, or set TUNESMITH_HOME to another folder.",
        )
    lock.truncate(0)
    print(address, file=lock, end="", flush=True)
    return lock


def interrupt(_signal_number: int, _frame: FrameType | None) -> None:
    """Handles Ctrl-C while the page is built and after it has closed."""
    exit_within_seconds()
    raise KeyboardInterrupt  # which Python drops where it comes during a finalizer


def exit_within_seconds() -> None:
    """Ends this process also where a thread still computes or a lock is held: neither can be interrupted."""
    timer = threading.Timer(_EXIT_SECONDS, os._exit, [0])
    timer.daemon = True
    timer.start()


class _Server(uvicorn.Server):
    """Ends within seconds after Ctrl-C."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        exit_within_seconds()


def run_server(app: Any, listening_socket: socket.socket) -> None:
    """Serves until Ctrl-C. Without an access log, which would contain the key. Closing does not wait for event streams: they never end."""
    server = _Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1))
    # Once it closes, every stream that it cuts off would be reported with a page of traceback.
    logging.getLogger("uvicorn.error").addFilter(lambda record: not server.should_exit)
    server.run(sockets=[listening_socket])


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python app.py", description=__doc__)
    parser.add_argument("--port", type=int, help=f"where to listen (default: {PORT}, or a free one)")
    parser.add_argument("--host", help="open the page to other machines, on this address; 0.0.0.0 is every one")
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="with --host: a name that the page is reached under, such as that of a proxy or tunnel; may be given again",
    )
    parser.add_argument(
        "--allow-code",
        action="store_true",
        help="with --host: allow rewards that run code, and files of this machine, to everybody who has a key",
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    return parser.parse_args()


def open_socket(host: str, ports: list[int]) -> socket.socket:
    """A socket on the first free port of `ports`. Raises Problem when none is free."""
    for port in ports:
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            is_dual = host == "::" and socket.has_dualstack_ipv6()
            return socket.create_server((host, port), family=family, dualstack_ipv6=is_dual)
        except OSError as error:  # a boundary: other programs use ports too
            error_text = os.strerror(error.errno) if error.errno else str(error)
    raise Problem(f"Port {port} of {host} cannot be used ({error_text}).", advice="Choose another with --port.")


if __name__ == "__main__":
    main()
