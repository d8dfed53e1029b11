"""Start here: `python app.py` builds the page, serves it to this machine only, and prints its address.

A Hugging Face Space runs this same file; there the page is behind signing in (app/server/space_access.py).
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import os
import socket
import sys
import webbrowser
from typing import IO, Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported: the page calls nobody
if os.environ.get("SYSTEM") == "spaces":  # also for every child: who has no person's token asks as nobody
    os.environ["HF_HUB_DISABLE_IMPLICIT_TOKEN"] = "1"

import uvicorn

from app.core import registry
from app.core.problems import Problem
from app.hub.identity import in_space
from app.server.page import build, serve
from app.worker.client import Worker

PORT = 7860


def main() -> None:
    options = arguments()
    try:
        with Worker() as worker, contextlib.suppress(KeyboardInterrupt):  # uvicorn passes Ctrl-C on once it has closed
            (open_space if in_space() else open_here)(worker, options)
    except Problem as problem:  # the outermost border: a sentence and the code for refused
        sys.exit(print(problem, file=sys.stderr) or 2)


def open_here(worker: Worker, options: argparse.Namespace) -> None:
    """The page for whoever holds the key, on this machine."""
    door = listen("127.0.0.1", [PORT, 0] if options.port is None else [options.port])
    port = door.getsockname()[1]
    with claim(f"http://127.0.0.1:{port}/"):
        app = serve(build(worker), port)
        address = f"http://127.0.0.1:{port}/?key={app.key}"
        print(f"Tunesmith is open at {address}\nCtrl-C closes the page. Runs go on without it.", flush=True)
        if not options.no_browser:
            webbrowser.open(address)  # the door is open already: the browser waits the moment until somebody answers
        answer(app, door)


def open_space(worker: Worker, options: argparse.Namespace) -> None:
    """The page for the Space's owner, once signed in. The platform's own proxy stands before this port."""
    from app.server.space_access import SpaceAccess

    port, page = options.port or PORT, build(worker)
    page.space_id = None  # else Gradio adds a bar of its own, which asks other hosts for fonts and facts
    app = SpaceAccess(serve(page, port).app)  # the same page behind another door
    door = listen("0.0.0.0", [port])
    print("Tunesmith is open to the owner of this Space.", flush=True)
    answer(app, door)


def claim(address: str) -> IO[str]:
    """Takes this home until the file is closed or the process ends, whatever ends it: two pages on one home would tidy up behind each other.

    Raises Problem, with the address of the page that has it.
    """
    lock = (registry.home("locks") / "page").open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:  # a border: a person may start it twice
        lock.seek(0)
        raise Problem(
            f"This home is open already at {lock.read() or 'another address'}.",
            advice="Open that page with the key its terminal prints, or set TUNESMITH_HOME to another folder.",
        ) from error
    lock.truncate(0)
    print(address, file=lock, end="", flush=True)
    return lock


def answer(app: Any, door: socket.socket) -> None:
    """Serves until Ctrl-C. The access log would hold the key; the page's streams never end, so closing does not wait for them."""
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1))
    # Once it closes, every stream that it cuts off would be reported with a page of traceback.
    logging.getLogger("uvicorn.error").addFilter(lambda record: not server.should_exit)
    server.run(sockets=[door])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python app.py", description=__doc__)
    parser.add_argument("--port", type=int, help=f"where to listen (default: {PORT}, or a free one)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    return parser.parse_args()


def listen(host: str, ports: list[int]) -> socket.socket:
    """A socket on the first of the ports that is free. Raises Problem when none is."""
    for port in ports:
        try:
            return socket.create_server((host, port))
        except OSError as error:  # a border: other programs listen too
            said = os.strerror(error.errno)
    raise Problem(f"Port {port} cannot be used ({said}).", advice="Choose another with --port.")


if __name__ == "__main__":
    main()
