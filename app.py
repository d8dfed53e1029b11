"""Start here: `python app.py` builds the page, serves it to this machine only, and prints its address."""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import sys
import webbrowser

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported: the page calls nobody

import uvicorn

from app.page import build, serve
from app.preview import Worker
from app.problems import Problem

PORT = 7860


def main() -> None:
    options = arguments()
    try:
        door = listen(options.port)
    except Problem as problem:  # the outermost border: a sentence and the code for refused
        sys.exit(print(problem, file=sys.stderr) or 2)
    port = door.getsockname()[1]
    with Worker() as worker:
        app = serve(build(worker), port)
        address = f"http://127.0.0.1:{port}/?key={app.key}"
        print(f"Tunesmith is open at {address}\nCtrl-C closes the page. Runs go on without it.", flush=True)
        if not options.no_browser:
            webbrowser.open(address)  # the door is open already: the browser waits the moment until somebody answers
        # The access log would hold the key; the page's own streams never end, so closing does not wait for them.
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn closes in order, then passes Ctrl-C on
            uvicorn.Server(config).run(sockets=[door])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python app.py", description=__doc__)
    parser.add_argument("--port", type=int, help=f"where to listen (default: {PORT}, or a free one)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    return parser.parse_args()


def listen(port: int | None) -> socket.socket:
    """A socket on this machine only. Raises Problem when the port that was asked for is taken."""
    for wanted in [port] if port is not None else [PORT, 0]:
        try:
            return socket.create_server(("127.0.0.1", wanted))
        except OSError as error:  # a border: other programs listen too
            said = os.strerror(error.errno)
    raise Problem(f"Port {port} cannot be used ({said}).", advice="Choose another with --port.")


if __name__ == "__main__":
    main()
