"""Server-sent events: one stream per open page with changes of its run and of the list of runs; also by polling."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from app.core.problems import Problem
from app.history import run_list
from app.history.page_messages import to_json_line
from app.history.run_index import RunSummary
from app.history.snapshot import RunSnapshot, read_log
from app.runs import store
from app.server.visitor import visitor_workspace
from components.plotly_script import PLOTLY_ROUTE, plotly_script_bytes

READ_INTERVAL = 0.25  # seconds between two reads of a run's events
SEND_INTERVAL = 1.0  # seconds between two rounds of messages to one page
HEARTBEAT_INTERVAL = 10.0  # seconds without a message after which a heartbeat is sent
RUN_LIST_INTERVAL = 2.0  # seconds between two reads of the list of runs
_RUN_LIST_LENGTH = 20  # newest runs in the list
READER_IDLE_LIMIT = 60.0  # seconds after the last request until a run is dropped from memory

_NO_STORE_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # no proxy may cache or buffer the stream
_IMMUTABLE_HEADERS = {"Cache-Control": "private, max-age=31536000, immutable"}


@dataclass(frozen=True)
class Message:
    """One message to a page. data: JSON on one line. seq: number of the run's last event that the page then has."""

    event: str
    data: str
    seq: int | None = None

    def to_sse(self) -> str:
        """The message in the server-sent events format."""
        id_line = "" if self.seq is None else f"id: {self.seq}\n"
        return f"event: {self.event}\n{id_line}data: {self.data}\n\n"

    def to_json(self) -> str:
        """The message as a JSON object, for polling."""
        return f'{{"event":"{self.event}","data":{self.data}}}'


@dataclass
class RunReader:
    """One run's snapshot in memory. However many pages watch it, it is read at most about once per READ_INTERVAL."""

    snapshot: RunSnapshot
    last_requested_at: float = 0.0
    last_read_at: float = 0.0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def refresh(self) -> bool:
        """Reads new events unless somebody just did. Returns whether the run still exists."""
        self.last_requested_at = time.monotonic()
        async with self.lock:
            if time.monotonic() - self.last_read_at > READ_INTERVAL / 2:
                exists = await asyncio.to_thread(self.snapshot.refresh)
                self.last_read_at = time.monotonic()
                return exists
        return True


@dataclass
class PageState:
    """What one open page already has: its run up to event `seq`, and the list of runs."""

    run_id: str
    seq: int  # -1: none
    version: int = -1
    known_runs: dict[str, RunSummary] | None = None
    opened_at: float = field(default_factory=time.monotonic)


class Broadcaster:
    """Computes what each open page does not have yet. Reads nothing while no page is connected."""

    def __init__(self) -> None:
        self._readers: dict[str, RunReader] = {}
        self._run_list: list[RunSummary] = []
        self._run_list_read_at = -RUN_LIST_INTERVAL
        self._run_list_lock = asyncio.Lock()

    async def read_run(self, run_id: str) -> RunSnapshot:
        """The run's snapshot, read up to now. Raises Problem when the run does not exist."""
        reader = self._readers.get(run_id)
        if reader is None:
            snapshot = await asyncio.to_thread(RunSnapshot, store.get_run(visitor_workspace(), run_id))
            reader = self._readers.setdefault(run_id, RunReader(snapshot))  # another page may have been quicker
        if not await reader.refresh():
            self._readers.pop(run_id, None)
            raise store.run_not_found()
        for other_id, other_reader in [*self._readers.items()]:
            if time.monotonic() - other_reader.last_requested_at > READER_IDLE_LIMIT:
                del self._readers[other_id]
        return reader.snapshot

    async def _read_run_list(self, page: PageState) -> list[RunSummary]:
        """Never older than the page: its own request may have read a newer list, which an older one must not replace."""
        async with self._run_list_lock:
            begin = time.monotonic()
            if begin - self._run_list_read_at > RUN_LIST_INTERVAL or self._run_list_read_at < page.opened_at:
                self._run_list = await asyncio.to_thread(run_list.list_summaries, visitor_workspace(), _RUN_LIST_LENGTH)
                self._run_list_read_at = begin
        return self._run_list

    async def new_messages(self, page: PageState) -> list[Message]:
        """Messages that the page does not have yet; updates `page`."""
        messages: list[Message] = []
        known_runs, page.known_runs = (
            page.known_runs,
            {summary["id"]: summary for summary in await self._read_run_list(page)},
        )
        if known_runs != page.known_runs:
            messages.append(Message("runs", to_json_line(_run_list_changes(known_runs, page.known_runs))))
        if page.run_id:
            try:
                messages += await self._run_messages(page)
            except Problem as problem:  # boundary: the run was deleted while its page was open
                messages.append(
                    Message("gone", to_json_line({"run": page.run_id, "text": problem.text, "advice": problem.advice}))
                )
                page.run_id = ""
        return messages

    async def _run_messages(self, page: PageState) -> list[Message]:
        snapshot = await self.read_run(page.run_id)
        if (snapshot.seq, snapshot.version) == (page.seq, page.version):
            return []
        updates = await asyncio.to_thread(snapshot.updates_since, page.seq)
        page.seq, page.version = updates.seq, updates.version
        return [Message(updates.kind, updates.payload, updates.seq)]

    async def stream(self, page: PageState) -> AsyncIterator[str]:
        """Yields messages, at most one round per SEND_INTERVAL. The server cancels it when the browser disconnects."""
        yield "retry: 1000\n\n"
        last_sent_at = time.monotonic()
        while True:
            messages = await self.new_messages(page)
            if not messages and time.monotonic() - last_sent_at > HEARTBEAT_INTERVAL:
                messages = [Message("beat", "{}")]
            for message in messages:
                yield message.to_sse()
            if messages:
                last_sent_at = time.monotonic()
            await asyncio.sleep(SEND_INTERVAL if messages else READ_INTERVAL)


class RunListMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """is_complete: all runs, else only those that changed. removed_ids: of runs that left the list, because they were
    deleted or newer ones took their place; None with all runs."""

    is_complete: bool
    runs: list[RunSummary]
    removed_ids: list[str] | None = None


def _run_list_changes(known_runs: dict[str, RunSummary] | None, current_runs: dict[str, RunSummary]) -> RunListMessage:
    """The complete list of runs for a page that has none, then only its changes."""
    if known_runs is None:
        return RunListMessage(True, [*current_runs.values()])
    changed_runs = [summary for run_id, summary in current_runs.items() if known_runs.get(run_id) != summary]
    return RunListMessage(False, changed_runs, [run_id for run_id in known_runs if run_id not in current_runs])


def mount_routes(app: FastAPI) -> None:
    """Adds the routes under /live and that of the charts' script. Call it before the page is mounted, which answers
    every other path."""
    broadcaster = Broadcaster()

    @app.exception_handler(Problem)
    async def refuse(request: Request, problem: Problem) -> Response:
        return JSONResponse({"text": problem.text, "advice": problem.advice}, 404, headers=_NO_STORE_HEADERS)

    @app.get("/live")
    async def live(request: Request, run: str = "", after: int = -1) -> Response:
        """The event stream of one page. A reconnecting browser's Last-Event-ID header takes precedence over `after`."""
        if run:
            await broadcaster.read_run(run)
        last_event_id = request.headers.get("last-event-id", "")
        page = PageState(run, int(last_event_id) if re.fullmatch("[0-9]{1,15}", last_event_id) else after)
        return StreamingResponse(broadcaster.stream(page), media_type="text/event-stream", headers=_NO_STORE_HEADERS)

    @app.get("/live/news")
    async def news(run: str = "", after: int = -1) -> Response:
        """The same messages by polling, for a page that cannot receive streams, such as behind a buffering proxy."""
        if run:
            await broadcaster.read_run(run)
        messages_json = ",".join(message.to_json() for message in await broadcaster.new_messages(PageState(run, after)))
        return Response(f'{{"messages":[{messages_json}]}}', media_type="application/json", headers=_NO_STORE_HEADERS)

    @app.get("/live/sample")
    async def sample(run: str, seq: int) -> Response:
        snapshot = await broadcaster.read_run(run)
        return JSONResponse(await asyncio.to_thread(snapshot.read_sample, seq), headers=_IMMUTABLE_HEADERS)

    @app.get("/live/log")
    def log(run: str) -> Response:
        return JSONResponse({"text": read_log(store.get_run(visitor_workspace(), run))}, headers=_NO_STORE_HEADERS)

    _mount_plotly_script(app)


def _mount_plotly_script(app: FastAPI) -> None:
    """Adds the route of the script that draws charts."""

    @app.get(f"/{PLOTLY_ROUTE}")
    def charts(request: Request) -> Response:
        is_compressed = "gzip" in request.headers.get("accept-encoding", "")
        encoding_header = {"Content-Encoding": "gzip"} if is_compressed else {}
        return Response(
            plotly_script_bytes(is_compressed),
            media_type="text/javascript",
            headers=_IMMUTABLE_HEADERS | encoding_header,
        )
