"""Runs the local Hub from the command line: python -m tests.hub --root DIR --port N."""

from __future__ import annotations

import argparse
import contextlib
import threading
from pathlib import Path

from tests.hub.local import run_local_hub


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.hub", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="where it keeps everything")
    parser.add_argument("--port", type=int, default=0, help="where to listen (default: a free one)")
    parser.add_argument("--xet", action="store_true", help="large files go the xet way; one client at a time")
    options = parser.parse_args()
    options.root.mkdir(parents=True, exist_ok=True)
    with run_local_hub(options.root, options.port, options.xet) as hub, contextlib.suppress(KeyboardInterrupt):
        print(f"Hub at {hub.address}\nTokens: {', '.join(hub.server.hub.accounts.tokens)}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
