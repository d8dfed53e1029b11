"""Server-sent events over real HTTP: every event of a run reaches every page exactly once, whenever and however the page connects."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from app.core.json_files import write_json
from app.core.processes import boot_id
from app.core.workspace import local_workspace
from app.history import page_messages, reader, series, snapshot
from app.planning import presets
from app.runs import cleanup, events, store
from app.runs.store import Run
from app.server import sse
from app.server.local_access import LocalAccess
from app.setup.spec import Launch
from components.plotly_script import PLOTLY_ROUTE
from tests.support import append_events, wait_until

Event = dict[str, Any]


@dataclass
class Server:
    """The SSE routes behind LocalAccess, served on a real port."""

    address: str
    access: LocalAccess
    loop: asyncio.AbstractEventLoop

    def request(self, path: str, with_key: bool = True, **headers: str) -> Any:
        """The open response; an error status raises HTTPError, as in urllib."""
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        if with_key:
            with pytest.raises(urllib.error.HTTPError, match="404"):  # sets the cookie; this app serves no page
                opener.open(self.access.sign_in_address(), timeout=10)
        return opener.open(urllib.request.Request(f"{self.address}/{path}", headers=headers), timeout=20)

    def json(self, path: str) -> Any:
        with self.request(path) as response:
            return json.load(response)

    def active_requests(self) -> int:
        """Number of requests that the server is answering now."""
        tasks = asyncio.run_coroutine_threadsafe(task_names(), self.loop).result(10)
        return sum("run_asgi" in name for name in tasks)


async def task_names() -> list[str]:
    return [repr(task.get_coro()) for task in asyncio.all_tasks()]


@pytest.fixture
def server() -> Iterator[Server]:
    app = FastAPI()
    sse.mount_routes(app)
    event_loops: list[asyncio.AbstractEventLoop] = []
    listening_socket = uvicorn.Config(app, port=0, log_level="error").bind_socket()
    port = listening_socket.getsockname()[1]
    access = LocalAccess(app, port)
    uvicorn_server = uvicorn.Server(uvicorn.Config(access, log_level="error", timeout_graceful_shutdown=1))

    async def serve() -> None:
        event_loops.append(asyncio.get_running_loop())
        await uvicorn_server.serve(sockets=[listening_socket])

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    wait_until(lambda: uvicorn_server.started, 20)
    yield Server(f"http://127.0.0.1:{port}", access, event_loops[0])
    uvicorn_server.should_exit = True
    thread.join(10)


@pytest.fixture
def run() -> Run:
    return store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())


def step_event(number: int, loss: float = 1.0, of: int = 100) -> Event:
    metrics = {"train/loss": loss, "train/grad_norm": loss / 2, "train/entropy": 3.0, "time/step": 0.1}
    return {"kind": "step", "step": number, "of": of, "seconds_left": 1.0, "metrics": metrics}


def holdout_event(number: int, loss: float) -> Event:
    return {"kind": "eval", "step": number, "set": "holdout", "metrics": {"eval/loss": loss, "eval/correct": 0.5}}


def sample_event(number: int, text: str = "Blue.") -> Event:
    return {"kind": "sample", "step": number, "rows": [{"prompt": "Sky?", "completion": text}]}


# The events of a run: an evaluation and a sample, steps, a crash, a resumed attempt that goes back some steps, and the end.
EVENTS = [
    {"kind": "state", "state": "training"},
    holdout_event(0, 4.0), sample_event(0, "Green."), *(step_event(i, 3.0 / i) for i in range(1, 8)),
    {"kind": "note", "level": "careful", "text": "3 examples are left out."},
    {"kind": "saved", "step": 4, "what": "checkpoint", "path": "checkpoints/checkpoint-4"},
    holdout_event(7, 2.0), sample_event(7),
    {"kind": "resumed", "from_step": 4},
    *(step_event(i, 9.0 / i) for i in range(5, 10)), holdout_event(9, 1.0), sample_event(9),
    {"kind": "done", "why": "finished", "adapter": "adapter", "verdict": "Better."},
]  # fmt: skip


@dataclass
class PageState:
    """The state of an open page, built from messages as components/event_stream.js and its modules do."""

    points: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    samples: list[Event] = field(default_factory=list)
    notes: list[Event] = field(default_factory=list)
    seq: int = -1
    now: Event = field(default_factory=dict)
    runs: dict[str, Event] = field(default_factory=dict)
    kinds: list[str] = field(default_factory=list)

    def apply_message(self, kind: str, data: Event) -> None:
        self.kinds.append(kind)
        if kind == "runs":
            self.runs = ({} if data["is_complete"] else self.runs) | {entry["id"]: entry for entry in data["runs"]}
        elif kind == "snapshot":
            self.points = {name: [*zip(entry["x"], entry["y"], strict=True)] for name, entry in data["series"].items()}
            self.samples, self.notes = data["samples"], data["notes"]
        elif kind == "news":
            self.apply_update(data)
        if kind in ("snapshot", "news"):
            self.seq, self.now = data["seq"], data["now"]

    def apply_update(self, data: Event) -> None:
        rewind_step = data.get("from_step")
        if rewind_step is not None:
            self.points = {
                name: [point for point in curve if point[0] <= rewind_step] for name, curve in self.points.items()
            }
            self.samples = [sample for sample in self.samples if sample["step"] <= rewind_step]
        for group in data.get("points", []):
            for name, metric_values in group["y"].items():
                self.points.setdefault(name, []).extend(zip(group["x"], metric_values, strict=True))
        self.samples = [*self.samples, *data.get("samples", [])]
        self.notes = [*self.notes, *data.get("notes", [])]

    @property
    def content(self) -> tuple[Any, ...]:
        curves = {name: curve for name, curve in self.points.items() if curve}
        return curves, self.samples, self.notes, self.seq, self.now


def sse_messages(stream: Any) -> Iterator[tuple[str, Event]]:
    """(event, data) of each message, as the EventSource of a browser gives them."""
    sse_fields: dict[str, str] = {}
    for line in stream:
        name, _, field_value = line.decode().rstrip("\n").partition(": ")
        if name:
            sse_fields[name] = field_value
        elif "event" in sse_fields:
            yield sse_fields["event"], json.loads(sse_fields["data"])
            sse_fields = {}


def follow_until(stream: Any, page_state: PageState, seq: int) -> PageState:
    """Applies messages until the page state includes the event `seq`."""
    deadline = time.monotonic() + 30
    for kind, data in sse_messages(stream):
        page_state.apply_message(kind, data)
        if page_state.seq >= seq:
            return page_state
        assert time.monotonic() < deadline, f"after 30 s the page knows {page_state.seq} of {seq} events"
    raise AssertionError("the stream ended before the last expected event")


def expected_points(run: Run) -> dict[str, list[tuple[int, float]]]:
    """The points of every chart metric, computed from the complete event file."""
    metric_series = series.series_by_metric(events.read_events(run.events))
    return {name: [(step_number, page_messages.round_value(value)) for step_number, value in zip(metric.steps, metric.values, strict=True)]
            for name, metric in metric_series.items() if reader.is_chart_metric(name)}  # fmt: skip


@pytest.mark.slow
def test_a_page_that_reconnects_after_any_event_gets_every_later_event_once(server: Server, run: Run) -> None:
    pages = []
    for count, event in enumerate(EVENTS, 1):
        pages.append(PageState())
        append_events(run, [event])
        time.sleep(sse.READ_INTERVAL)  # the next request reads the file again
        with server.request(f"live?run={run.id}") as stream:
            follow_until(stream, pages[-1], count)
    assert [page.seq for page in pages] == [*range(1, len(EVENTS) + 1)]
    for page in pages:
        known_seq = page.seq
        with server.request(f"live?run={run.id}", **{"Last-Event-ID": str(known_seq)}) as stream:
            follow_until(stream, page, len(EVENTS))
        assert page.points == expected_points(run), f"the page that knew {known_seq} events"
    assert all(page.content == pages[-1].content for page in pages)
    assert pages[0].kinds[-1] == "news"  # it received an update and not a new snapshot
    assert [record["step"] for record in pages[0].samples] == [0, 9]
    assert len(pages[0].notes) == 1


def test_an_event_is_sent_only_when_its_line_is_complete(server: Server, run: Run) -> None:
    append_events(run, EVENTS[:4])
    page_state = PageState()
    with server.request(f"live?run={run.id}") as stream:
        follow_until(stream, page_state, 4)
        event_line = json.dumps({"seq": 5, "attempt": 1, "time": 0.0} | step_event(2, 1.5))
        for fragment in (event_line[:40], event_line[40:] + "\n"):
            seq_before = page_state.seq
            with run.events.open("a") as file:
                file.write(fragment)
            time.sleep(sse.SEND_INTERVAL + 3 * sse.READ_INTERVAL)
        follow_until(stream, page_state, 5)
    assert seq_before == 4
    assert page_state.points == expected_points(run)


@pytest.mark.slow
def test_an_open_curve_grows_and_is_rewound_when_the_run_resumes(server: Server, run: Run) -> None:
    append_events(run, EVENTS[:1])
    page_state = PageState()
    with server.request(f"live?run={run.id}") as stream:
        follow_until(stream, page_state, 1)
        for count, event in enumerate(EVENTS[1:], 2):
            append_events(run, [event])
            if count % 5 == 0:
                follow_until(stream, page_state, count)
        follow_until(stream, page_state, len(EVENTS))
    assert page_state.kinds.count("snapshot") == 1
    assert page_state.kinds.count("news") > 3
    assert page_state.points == expected_points(run)
    assert [step_number for step_number, _ in page_state.points["train/loss"]] == [*range(1, 10)]
    assert dict(page_state.points["train/loss"])[5] == 1.8  # from the second attempt; the first attempt logged 0.6


def test_a_page_that_missed_many_events_gets_a_new_snapshot(server: Server, run: Run) -> None:
    append_events(run, [step_event(i, of=3_000) for i in range(1, 3_001)])
    page_state = PageState(seq=5)
    with server.request(f"live?run={run.id}&after=5") as stream:
        follow_until(stream, page_state, 3_000)
    assert page_state.kinds[-1] == "snapshot"
    assert len(page_state.points["train/loss"]) <= series.MAX_POINTS


def test_a_page_ahead_of_the_event_file_gets_a_new_snapshot(server: Server, run: Run) -> None:
    append_events(run, EVENTS[:6])
    page_state = PageState()
    with server.request(f"live?run={run.id}&after=99") as stream:
        follow_until(stream, page_state, 6)
    assert page_state.kinds[-1] == "snapshot"


def test_polling_gives_the_same_page_state_as_streaming(server: Server, run: Run) -> None:
    append_events(run, EVENTS)
    streaming_page, polling_page = PageState(), PageState()
    with server.request(f"live?run={run.id}&after=6") as stream:
        follow_until(stream, streaming_page, len(EVENTS))
    for message in server.json(f"live/news?run={run.id}&after=6")["messages"]:
        polling_page.apply_message(message["event"], message["data"])
    assert polling_page == streaming_page
    assert polling_page.now["state"] == "finished"


INVALID_RUN_IDS = ("x", "last", "..", "../../etc/passwd", "%2e%2e%2f", "20991122-153012-nobody-0000", "20261122-153012-a/../b",
                   "20261122-153012-a\n", "\x00", "ä", "." * 5_000)  # fmt: skip


@pytest.mark.parametrize("name", INVALID_RUN_IDS)
@pytest.mark.parametrize("path", ["live", "live/news", "live/log", "live/sample"])
def test_an_invalid_run_id_gets_the_same_404_as_a_missing_run(server: Server, run: Run, path: str, name: str) -> None:
    bodies = []
    for run_id in (name, "20001122-153012-missing-0000"):
        with pytest.raises(urllib.error.HTTPError, match="404") as exc_info:
            server.request(f"{path}?{urllib.parse.urlencode({'run': run_id, 'seq': 1})}")
        bodies.append(exc_info.value.read())
    assert bodies[0] == bodies[1]
    assert b"There is no such run here." in bodies[0]


@pytest.mark.parametrize("number", ["9" * 5_000, "9" * 30, "-1", "1e9", "²", "1_0", "NaN"])
def test_a_hostile_number_of_the_last_event_begins_the_stream_from_the_start(
    server: Server, run: Run, number: str
) -> None:
    append_events(run, EVENTS[:3])
    with server.request(f"live?run={run.id}", **{"Last-Event-ID": number}) as stream:
        follow_until(stream, PageState(), 3)


def test_no_run_id_reaches_a_folder_outside_the_runs(server: Server, run: Run) -> None:
    outside = run.path.parents[1] / "outside"
    run.path.rename(outside)
    for name in ("../outside", str(outside), "x/../../outside"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            server.request(f"live?{urllib.parse.urlencode({'run': name})}")


def test_a_prefix_of_a_run_id_is_not_accepted(server: Server, run: Run) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        server.request(f"live?run={run.id[:-1]}")


def test_requests_without_the_key_get_401(server: Server, run: Run) -> None:
    for path in (f"live?run={run.id}", f"live/news?run={run.id}", f"live/log?run={run.id}", PLOTLY_ROUTE):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            server.request(path, with_key=False)


def test_twenty_pages_that_watch_one_run_all_get_the_same_state(server: Server, run: Run) -> None:
    append_events(run, EVENTS[:2])
    pages = [PageState() for _ in range(20)]
    streams = [server.request(f"live?run={run.id}") for _ in pages]

    def watch(stream: Any, page: PageState) -> None:
        with stream:
            follow_until(stream, page, len(EVENTS))

    threads = [threading.Thread(target=watch, args=pair, daemon=True) for pair in zip(streams, pages, strict=True)]
    for thread in threads:
        thread.start()
    wait_until(lambda: all(page.seq == 2 for page in pages), 30)
    assert server.active_requests() == 20
    for event in EVENTS[2:]:
        append_events(run, [event])
        time.sleep(0.02)
    for thread in threads:
        thread.join(60)
    assert all(page.points == expected_points(run) for page in pages)
    assert all(page.content == pages[0].content for page in pages)


def test_the_server_ends_a_stream_when_its_client_disconnects(server: Server, run: Run) -> None:
    stream = server.request(f"live?run={run.id}")
    assert next(sse_messages(stream))[0] == "runs"
    assert server.active_requests() == 1
    stream.close()
    wait_until(lambda: server.active_requests() == 0, 20)


def test_an_idle_stream_sends_heartbeats(server: Server, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_INTERVAL", 0.5)
    with server.request(f"live?run={run.id}") as stream:
        received = sse_messages(stream)
        assert [next(received)[0] for _ in range(4)] == ["runs", "snapshot", "beat", "beat"]
        assert stream.headers["X-Accel-Buffering"] == "no"
        assert stream.headers["Cache-Control"] == "no-store"


def test_new_and_deleted_runs_update_the_run_list(server: Server, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "RUN_LIST_INTERVAL", 0.1)
    with server.request("live") as stream:
        received = sse_messages(stream)
        assert [listed_run["id"] for listed_run in next(received)[1]["runs"]] == [run.id]
        second_run = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
        kind, data = next(received)
        assert (kind, data["is_complete"], [listed_run["id"] for listed_run in data["runs"]], data["removed_ids"]) == ("runs", False, [second_run.id], [])  # fmt: skip
        cleanup.delete_run(run)
        assert next(received)[1] == {"is_complete": False, "runs": [], "removed_ids": [run.id]}


@pytest.mark.parametrize("path", ["live", "live/news"])
def test_a_page_that_opens_gets_no_run_list_from_before(server: Server, run: Run, path: str) -> None:
    for _ in range(3):  # well within the interval between two reads
        created = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
        with server.request(path) as response:
            kind, run_list = next(sse_messages(response)) if path == "live" else received_list(response)
        assert (kind, {listed_run["id"] for listed_run in run_list["runs"]}) == ("runs", {run.id, created.id})
        cleanup.delete_run(created)


def received_list(response: Any) -> tuple[str, Event]:
    message = json.load(response)["messages"][0]
    return message["event"], message["data"]


def test_deleting_a_watched_run_sends_a_gone_message(server: Server, run: Run) -> None:
    with server.request(f"live?run={run.id}") as stream:
        received = sse_messages(stream)
        assert [next(received)[0] for _ in range(2)] == ["runs", "snapshot"]
        cleanup.delete_run(run)
        gone_message = next(data for kind, data in received if kind == "gone")
    assert (gone_message["run"], gone_message["text"]) == (run.id, "There is no such run here.")


def test_a_run_whose_process_died_without_a_final_event_is_lost(server: Server, run: Run) -> None:
    append_events(run, [{"kind": "state", "state": "training"}, step_event(1)])
    write_json(run.path / "handle.json", {"backend": "local", "pid": 2**22 + 1, "started": 0.0, "boot": boot_id()})
    [_, snapshot_message] = server.json(f"live/news?run={run.id}")["messages"]
    assert (snapshot_message["data"]["now"]["state"], snapshot_message["data"]["now"]["alive"]) == ("lost", False)


@pytest.mark.parametrize(
    ("last_event", "expected_status"),
    [
        ({"kind": "progress", "what": "waiting", "done": 0, "of": 2}, {"state": "new"}),
        ({"kind": "failed", "reason": "x", "text": "Full.", "advice": "Free some."},
         {"state": "failed", "failed": {"text": "Full.", "advice": "Free some."}}),
        ({"kind": "done", "why": "stopped", "verdict": "Better."}, {"state": "stopped", "verdict": "Better."}),
    ],
)  # fmt: skip
def test_the_status_of_a_run_is_one_state_with_its_reason(
    server: Server, run: Run, last_event: Event, expected_status: Event
) -> None:
    append_events(run, [step_event(1), {"kind": "saved", "step": 1, "what": "checkpoint", "path": "c"}, last_event])
    if last_event["kind"] == "progress":
        append_events(run, [])
        write_json(run.path / "handle.json", {})
        expected_status = {"state": "lost"}
    status = server.json(f"live/news?run={run.id}")["messages"][1]["data"]["now"]
    assert status | expected_status == status
    assert (status["step"], status["of"], status["saved"]) == (1, 100, 1)


def test_sample_rows_are_fetched_by_seq_from_the_event_or_its_file(server: Server, run: Run) -> None:
    (run.path / "samples").mkdir()
    (run.path / "samples" / "000002.json").write_text(json.dumps([{"prompt": "Sky?", "completion": "Blau." * 9}]))
    append_events(run, [sample_event(0), {"kind": "sample", "step": 5, "file": "samples/000002.json"}])
    assert server.json(f"live/sample?run={run.id}&seq=1") == {
        "step": 0,
        "rows": sample_event(0)["rows"],
        "goes_on": False,
    }
    assert server.json(f"live/sample?run={run.id}&seq=2")["rows"][0]["completion"] == "Blau." * 9
    with pytest.raises(urllib.error.HTTPError, match="404"):
        server.json(f"live/sample?run={run.id}&seq=3")


def test_the_log_route_returns_the_last_lines_without_events(server: Server, run: Run) -> None:
    lines = [f"line {i}" for i in range(20_000)]
    (run.path / "log.txt").write_text("\n".join([*lines, events.LOG_PREFIX + '{"seq": 1}', "Traceback: \udcff".encode("utf-8", "replace").decode()]))  # fmt: skip
    log_lines = server.json(f"live/log?run={run.id}")["text"].splitlines()
    assert len(log_lines) == snapshot.LOG_LINES
    assert log_lines[-2] == "line 19999"
    assert log_lines[-1].startswith("Traceback")


def test_the_snapshot_of_a_long_run_is_small_and_keeps_a_spike(server: Server, run: Run) -> None:
    spike_step = 61_803
    append_events(
        run,
        [
            step_event(i, 50.0 if i == spike_step else 1.0 + (i * 7919 % 13) / 100, of=100_000)
            for i in range(1, 100_001)
        ],
    )
    started_at = time.process_time()  # the server is a thread of this process
    with server.request(f"live/news?run={run.id}") as response:
        body = response.read()
    seconds = time.process_time() - started_at
    loss_curve = json.loads(body)["messages"][1]["data"]["series"]["train/loss"]
    assert len(loss_curve["x"]) <= series.MAX_POINTS
    assert loss_curve["y"][loss_curve["x"].index(spike_step)] == 50.0
    assert (loss_curve["x"][0], loss_curve["x"][-1]) == (1, 100_000)
    assert len(body) < 200_000
    assert seconds < 4  # about 0.5 s on a quick core


def test_a_very_long_run_gets_a_partial_snapshot_until_it_is_read(server: Server, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(snapshot, "LARGE_FILE_BYTES", 1_000_000)
    append_events(
        run,
        [*(step_event(i, 50.0 if i == 61_803 else 1.0, of=100_000) for i in range(1, 100_001)), sample_event(100_000)],
    )
    snapshots: list[Event] = []
    first_arrived, read_to_end = threading.Event(), snapshot._read_to_end

    def read_after_first(history: reader.RunHistory) -> reader.RunHistory:
        """Makes sure on any machine that the partial snapshot arrives before the complete file is read."""
        first_arrived.wait(30)
        return read_to_end(history)

    monkeypatch.setattr(snapshot, "_read_to_end", read_after_first)
    with server.request(f"live?run={run.id}") as stream:
        for kind, data in sse_messages(stream):
            snapshots += [data] if kind == "snapshot" else []
            if snapshots:
                first_arrived.set()
            if len(snapshots) == 2:
                break
    partial_snapshot, full_snapshot = snapshots
    assert [record["text"] for record in partial_snapshot["notes"]] == [snapshot.PARTIAL_HISTORY_TEXT]
    assert partial_snapshot["now"] | {"state": "new"} == full_snapshot["now"] | {"state": "new"}
    assert (partial_snapshot["series"]["train/loss"]["x"][-1], partial_snapshot["samples"]) == (100_000, [])
    assert (full_snapshot["notes"], [record["step"] for record in full_snapshot["samples"]]) == ([], [100_000])
    loss_curve = full_snapshot["series"]["train/loss"]
    assert loss_curve["y"][loss_curve["x"].index(61_803)] == 50.0
    assert (
        server.json(f"live/sample?run={run.id}&seq={full_snapshot['samples'][0]['seq']}")["rows"]
        == sample_event(1)["rows"]
    )


def test_metrics_have_names_in_words(server: Server, run: Run) -> None:
    names = server.json(f"live/news?run={run.id}")["messages"][1]["data"]["names"]
    assert names["eval/correct"] == "held-out: exactly the right answer"
    assert names["reward/correct/mean"] == "exactly the right answer"
    assert names["train/loss"] == "training"


def test_an_update_is_small(server: Server, run: Run) -> None:
    append_events(run, [step_event(i) for i in range(1, 11)])
    with server.request(f"live/news?run={run.id}&after=5") as response:
        update = json.load(response)["messages"][1]
    assert update["event"] == "news"
    assert len(page_messages.to_json_line(update["data"])) < 1_000


def test_plotly_is_served_locally_compressed_and_immutable(server: Server) -> None:
    plotly_script = (Path(find_spec("plotly").origin).parent / "package_data" / "plotly.min.js").read_bytes()
    with server.request(PLOTLY_ROUTE, **{"Accept-Encoding": "gzip"}) as response:
        assert gzip.decompress(response.read()) == plotly_script
        assert "immutable" in response.headers["Cache-Control"]
        assert int(response.headers["Content-Length"]) < len(plotly_script) / 2
    with server.request(PLOTLY_ROUTE) as response:
        assert response.read() == plotly_script
