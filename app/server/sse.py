"""Live: what happens to runs, told to every open page as it happens, over one stream each, or to a page that asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from app.core.problems import Problem
from app.history.snapshot import Watched, said
from app.runs import store
from components.plotly_script import PLOTLY, library

PULSE = 0.25  # seconds between two looks at a run
EVERY = 1.0  # seconds between two messages to one page
BEAT = 10.0  # seconds without news after which a page is told that the stream still stands
LISTING = 2.0  # seconds between two looks at the list of runs
LISTED = 20  # newest runs in it
KEPT = 60.0  # seconds a run that nobody asks for stays in memory

LIVE = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # no proxy may keep or hold back what is live
FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}


@dataclass(frozen=True)
class Message:
    """data is JSON, without line ends as JSON escapes them; seq is where a page that comes back goes on."""

    event: str
    data: str
    seq: int | None = None

    def framed(self) -> str:
        """As it stands in a stream."""
        place = "" if self.seq is None else f"id: {self.seq}\n"
        return f"event: {self.event}\n{place}data: {self.data}\n\n"

    def listed(self) -> str:
        """As it stands in an answer."""
        return f'{{"event":"{self.event}","data":{self.data}}}'


@dataclass
class Reader:
    """One run's story in memory. However many watch, one of them reads at a time, and no two within a PULSE."""

    watched: Watched
    asked: float = 0.0
    looked: float = 0.0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def look(self) -> bool:
        """True while the run is there."""
        self.asked = time.monotonic()
        async with self.turn:
            if time.monotonic() - self.looked > PULSE / 2:
                there = await asyncio.to_thread(self.watched.look)
                self.looked = time.monotonic()
                return there
        return True


@dataclass
class Page:
    """What one open page knows by now."""

    run: str
    seq: int  # -1: nothing yet
    version: int = -1
    runs: dict[str, dict[str, Any]] | None = None


class Desk:
    """Tells pages what they do not know yet. Nothing happens here while no page asks."""

    def __init__(self) -> None:
        self.readers: dict[str, Reader] = {}
        self.list: list[dict[str, Any]] = []
        self.listed = -LISTING
        self.turn = asyncio.Lock()

    async def read(self, name: str) -> Watched:
        """The run, read up to now. Raises Problem when there is none."""
        if name not in self.readers:
            self.readers[name] = Reader(Watched(store.exact(name)))
        reader = self.readers[name]
        if not await reader.look():
            self.readers.pop(name, None)
            raise store.missing()
        for other, idle in [*self.readers.items()]:
            if time.monotonic() - idle.asked > KEPT:
                del self.readers[other]
        return reader.watched

    async def summaries(self) -> list[dict[str, Any]]:
        async with self.turn:
            if time.monotonic() - self.listed > LISTING:
                self.list = await asyncio.to_thread(store.summaries, LISTED)
                self.listed = time.monotonic()
        return self.list

    async def news(self, page: Page) -> list[Message]:
        """What the page does not know yet; nothing when it knows it all."""
        found = []
        known, page.runs = page.runs, {one["id"]: one for one in await self.summaries()}
        if known != page.runs:
            found.append(Message("runs", said(difference(known, page.runs))))
        if page.run:
            try:
                found += await self.story(page)
            except Problem as problem:  # a border: the run was deleted while its page was open
                found.append(Message("gone", said({"run": page.run, "text": problem.text, "advice": problem.advice})))
                page.run = ""
        return found

    async def story(self, page: Page) -> list[Message]:
        watched = await self.read(page.run)
        if (watched.seq, watched.version) == (page.seq, page.version):
            return []
        kind, page.seq, told, page.version = await asyncio.to_thread(watched.since, page.seq)
        return [Message(kind, told, page.seq)]

    async def stream(self, page: Page) -> AsyncIterator[str]:
        """Messages as they come, at most one round in EVERY seconds; ends when the browser is gone."""
        yield "retry: 1000\n\n"
        spoke = time.monotonic()
        while True:
            told = await self.news(page)
            if not told and time.monotonic() - spoke > BEAT:
                told = [Message("beat", "{}")]
            for one in told:
                yield one.framed()
            if told:
                spoke = time.monotonic()
            await asyncio.sleep(EVERY if told else PULSE)


def difference(known: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """The whole list at first, then only what changed in it."""
    if known is None:
        return {"whole": True, "runs": [*now.values()]}
    changed = [one for name, one in now.items() if known.get(name) != one]
    return {"whole": False, "runs": changed, "gone": [name for name in known if name not in now]}


def mount(app: FastAPI) -> None:
    """Adds the routes to the app around the page, before the page itself, which answers everything else."""
    desk = Desk()

    @app.exception_handler(Problem)
    async def refuse(request: Request, problem: Problem) -> Response:
        return JSONResponse({"text": problem.text, "advice": problem.advice}, 404, headers=LIVE)

    @app.get("/live")
    async def live(request: Request, run: str = "", after: int = -1) -> Response:
        """The stream of one page. Last-Event-ID, which a browser sends when it comes back, goes before `after`."""
        if run:
            await desk.read(run)
        last = request.headers.get("last-event-id", "")
        page = Page(run, int(last) if last.isascii() and last.isdigit() else after)
        return StreamingResponse(desk.stream(page), media_type="text/event-stream", headers=LIVE)

    @app.get("/live/news")
    async def news(run: str = "", after: int = -1) -> Response:
        """The same messages for a page to which streams do not come through."""
        if run:
            await desk.read(run)
        told = ",".join(one.listed() for one in await desk.news(Page(run, after)))
        return Response(f'{{"messages":[{told}]}}', media_type="application/json", headers=LIVE)

    @app.get("/live/sample")
    async def sample(run: str, seq: int) -> Response:
        watched = await desk.read(run)
        return JSONResponse(await asyncio.to_thread(watched.sample, seq), headers=FOR_EVER)

    @app.get("/live/log")
    def log(run: str) -> Response:
        return JSONResponse({"text": Watched(store.exact(run)).log()}, headers=LIVE)

    @app.get(f"/{PLOTLY}")
    def charts(request: Request) -> Response:
        packed = "gzip" in request.headers.get("accept-encoding", "")
        extra = {"Content-Encoding": "gzip"} if packed else {}
        return Response(library(packed), media_type="text/javascript", headers=FOR_EVER | extra)
