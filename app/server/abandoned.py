"""Whether the browser behind a request has left, so that nobody computes for it any more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import anyio.from_thread
import gradio as gr
from fastapi import Request

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
_POLL_SECONDS = 0.5
_MAX_SESSIONS_LEFT = 10_000  # remembered; more have long been given up
_sessions_left: dict[str, None] = {}  # of Gradio, the latest last


def abandonment(request: gr.Request | None) -> Callable[[], bool]:
    """A function that tells whether the browser of a server function's request has left. For the request's own thread.

    request: Gradio gives server functions the bare request, whatever their annotation says. None: outside of a page.
    """
    http_request = request if isinstance(request, Request) else getattr(request, "request", None)
    if not isinstance(http_request, Request):
        return lambda: False

    def is_abandoned() -> bool:
        return anyio.from_thread.run(http_request.is_disconnected)

    return is_abandoned


def watch_departures(demo: gr.Blocks) -> None:
    """Binds the event of a page that is closed, left or reloaded, for `session_abandonment`."""

    def note_departure(request: gr.Request) -> None:
        if request.session_hash:
            _sessions_left[request.session_hash] = None
        if len(_sessions_left) > _MAX_SESSIONS_LEFT:
            del _sessions_left[next(iter(_sessions_left))]

    demo.unload(note_departure)


def session_abandonment(request: gr.Request) -> Callable[[], bool]:
    """The same for an event of the page: Gradio answers these through another connection than the one that asked."""
    session = request.session_hash or ""
    _sessions_left.pop(session, None)  # it had only lost its connection, such as a laptop that slept
    return lambda: session in _sessions_left


async def compute_in_thread(request: Request, function: Callable[[Callable[[], bool]], Result]) -> Result:
    """The result of a function, computed in a thread. It is called with one that tells whether the browser has left."""
    has_left = threading.Event()
    task = asyncio.create_task(asyncio.to_thread(function, has_left.is_set))
    while not (await asyncio.wait({task}, timeout=_POLL_SECONDS))[0]:
        if await request.is_disconnected():
            has_left.set()
    return task.result()
