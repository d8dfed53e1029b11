"""Live: what happens to a run reaches every page once, whenever it comes and however it comes, over real HTTP."""

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
from tests.support import append_events, until

Event = dict[str, Any]


@dataclass
class Server:
    """The routes behind the page's own door, on a real port."""

    address: str
    key: str
    loop: asyncio.AbstractEventLoop

    def ask(self, path: str, key: bool = True, **headers: str) -> Any:
        """The open answer; fails with its status as urllib does."""
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        if key:
            with pytest.raises(urllib.error.HTTPError, match="404"):  # the cookie is set, and there is no page here
                opener.open(f"{self.address}/?key={self.key}", timeout=10)
        return opener.open(urllib.request.Request(f"{self.address}/{path}", headers=headers), timeout=20)

    def json(self, path: str) -> Any:
        with self.ask(path) as answer:
            return json.load(answer)

    def streams(self) -> int:
        """How many requests it is answering now."""
        tasks = asyncio.run_coroutine_threadsafe(names_of_tasks(), self.loop).result(10)
        return sum("run_asgi" in name for name in tasks)


async def names_of_tasks() -> list[str]:
    return [repr(task.get_coro()) for task in asyncio.all_tasks()]


@pytest.fixture
def server() -> Iterator[Server]:
    app = FastAPI()
    sse.mount_routes(app)
    ready: list[asyncio.AbstractEventLoop] = []
    door = uvicorn.Config(app, port=0, log_level="error").bind_socket()
    port = door.getsockname()[1]
    access = LocalAccess(app, port)
    serving = uvicorn.Server(uvicorn.Config(access, log_level="error", timeout_graceful_shutdown=1))

    async def serve() -> None:
        ready.append(asyncio.get_running_loop())
        await serving.serve(sockets=[door])

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    until(lambda: serving.started, 20)
    yield Server(f"http://127.0.0.1:{port}", access.key, ready[0])
    serving.should_exit = True
    thread.join(10)


@pytest.fixture
def run() -> Run:
    return store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())


def step(number: int, loss: float = 1.0, of: int = 100) -> Event:
    metrics = {"train/loss": loss, "train/grad_norm": loss / 2, "train/entropy": 3.0, "time/step": 0.1}
    return {"kind": "step", "step": number, "of": of, "seconds_left": 1.0, "metrics": metrics}


def held_out(number: int, loss: float) -> Event:
    return {"kind": "eval", "step": number, "set": "holdout", "metrics": {"eval/loss": loss, "eval/correct": 0.5}}


def sample(number: int, text: str = "Blue.") -> Event:
    return {"kind": "sample", "step": number, "rows": [{"prompt": "Sky?", "completion": text}]}


# A whole story: a test and a sample, steps, a death, a resumed attempt that goes back, and an end.
STORY = [
    {"kind": "state", "state": "training"},
    held_out(0, 4.0), sample(0, "Green."), *(step(i, 3.0 / i) for i in range(1, 8)),
    {"kind": "note", "level": "careful", "text": "3 examples are left out."},
    {"kind": "saved", "step": 4, "what": "checkpoint", "path": "checkpoints/checkpoint-4"},
    held_out(7, 2.0), sample(7),
    {"kind": "resumed", "from_step": 4},
    *(step(i, 9.0 / i) for i in range(5, 10)), held_out(9, 1.0), sample(9),
    {"kind": "done", "why": "finished", "adapter": "adapter", "verdict": "Better."},
]  # fmt: skip


@dataclass
class Known:
    """What an open page knows, put together as components/event_stream.js and its pieces do."""

    points: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    samples: list[Event] = field(default_factory=list)
    notes: list[Event] = field(default_factory=list)
    seq: int = -1
    now: Event = field(default_factory=dict)
    runs: dict[str, Event] = field(default_factory=dict)
    kinds: list[str] = field(default_factory=list)

    def take(self, kind: str, data: Event) -> None:
        self.kinds.append(kind)
        if kind == "runs":
            self.runs = ({} if data["whole"] else self.runs) | {one["id"]: one for one in data["runs"]}
        elif kind == "snapshot":
            self.points = {name: [*zip(one["x"], one["y"], strict=True)] for name, one in data["series"].items()}
            self.samples, self.notes = data["samples"], data["notes"]
        elif kind == "news":
            self.add(data)
        if kind in ("snapshot", "news"):
            self.seq, self.now = data["seq"], data["now"]

    def add(self, data: Event) -> None:
        back = data.get("from_step")
        if back is not None:
            self.points = {name: [at for at in line if at[0] <= back] for name, line in self.points.items()}
            self.samples = [one for one in self.samples if one["step"] <= back]
        for group in data.get("points", []):
            for name, values in group["y"].items():
                self.points.setdefault(name, []).extend(zip(group["x"], values, strict=True))
        self.samples = [*self.samples, *data.get("samples", [])]
        self.notes = [*self.notes, *data.get("notes", [])]

    @property
    def whole(self) -> tuple[Any, ...]:
        drawn = {name: line for name, line in self.points.items() if line}
        return drawn, self.samples, self.notes, self.seq, self.now


def messages(stream: Any) -> Iterator[tuple[str, Event]]:
    """(event, data) as a browser's EventSource gives them."""
    found: dict[str, str] = {}
    for line in stream:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            found[name] = value
        elif "event" in found:
            yield found["event"], json.loads(found["data"])
            found = {}


def follow(stream: Any, known: Known, seq: int) -> Known:
    """Takes messages until the page knows the story up to `seq`."""
    deadline = time.monotonic() + 30
    for kind, data in messages(stream):
        known.take(kind, data)
        if known.seq >= seq:
            return known
        assert time.monotonic() < deadline, f"after 30 s the page knows {known.seq} of {seq} events"
    raise AssertionError("the stream ended early")


def truth(run: Run) -> dict[str, list[tuple[int, float]]]:
    """Every drawn metric as the whole file tells it."""
    told = series.series_by_metric(events.read_events(run.events))
    return {name: [(at, page_messages.round_value(value)) for at, value in zip(one.steps, one.values, strict=True)]
            for name, one in told.items() if reader.is_chart_metric(name)}  # fmt: skip


def test_a_page_that_comes_back_after_any_event_misses_none_and_gets_none_twice(server: Server, run: Run) -> None:
    pages = []
    for count, event in enumerate(STORY, 1):
        pages.append(Known())
        append_events(run, [event])
        time.sleep(sse.READ_INTERVAL)  # the next question is answered by a new look
        with server.ask(f"live?run={run.id}") as stream:
            follow(stream, pages[-1], count)
    assert [page.seq for page in pages] == [*range(1, len(STORY) + 1)]
    for page in pages:
        after = page.seq
        with server.ask(f"live?run={run.id}", **{"Last-Event-ID": str(after)}) as stream:
            follow(stream, page, len(STORY))
        assert page.points == truth(run), f"the page that knew {after} events"
    assert all(page.whole == pages[-1].whole for page in pages)
    assert pages[0].kinds[-1] == "news"  # it was told the difference, not the whole again
    assert [one["step"] for one in pages[0].samples] == [0, 9]
    assert len(pages[0].notes) == 1


def test_a_line_is_told_once_it_is_whole(server: Server, run: Run) -> None:
    append_events(run, STORY[:4])
    known = Known()
    with server.ask(f"live?run={run.id}") as stream:
        follow(stream, known, 4)
        line = json.dumps({"seq": 5, "attempt": 1, "time": 0.0} | step(2, 1.5))
        for part in (line[:40], line[40:] + "\n"):
            before = known.seq
            with run.events.open("a") as file:
                file.write(part)
            time.sleep(sse.SEND_INTERVAL + 3 * sse.READ_INTERVAL)
        follow(stream, known, 5)
    assert before == 4
    assert known.points == truth(run)


def test_a_curve_grows_while_it_is_watched_and_goes_back_with_a_resumed_run(server: Server, run: Run) -> None:
    append_events(run, STORY[:1])
    known = Known()
    with server.ask(f"live?run={run.id}") as stream:
        follow(stream, known, 1)
        for count, event in enumerate(STORY[1:], 2):
            append_events(run, [event])
            if count % 5 == 0:
                follow(stream, known, count)
        follow(stream, known, len(STORY))
    assert known.kinds.count("snapshot") == 1
    assert known.kinds.count("news") > 3
    assert known.points == truth(run)
    assert [at for at, _ in known.points["train/loss"]] == [*range(1, 10)]
    assert dict(known.points["train/loss"])[5] == 1.8  # by the second attempt: the first said 0.6


def test_who_was_away_for_long_gets_the_whole_again(server: Server, run: Run) -> None:
    append_events(run, [step(i, of=3_000) for i in range(1, 3_001)])
    known = Known(seq=5)
    with server.ask(f"live?run={run.id}&after=5") as stream:
        follow(stream, known, 3_000)
    assert known.kinds[-1] == "snapshot"
    assert len(known.points["train/loss"]) <= series.MAX_POINTS


def test_a_story_that_is_shorter_than_what_a_page_knows_is_told_as_a_whole(server: Server, run: Run) -> None:
    append_events(run, STORY[:6])
    known = Known()
    with server.ask(f"live?run={run.id}&after=99") as stream:
        follow(stream, known, 6)
    assert known.kinds[-1] == "snapshot"


def test_a_page_that_asks_hears_what_a_stream_tells(server: Server, run: Run) -> None:
    append_events(run, STORY)
    streamed, asking = Known(), Known()
    with server.ask(f"live?run={run.id}&after=6") as stream:
        follow(stream, streamed, len(STORY))
    for one in server.json(f"live/news?run={run.id}&after=6")["messages"]:
        asking.take(one["event"], one["data"])
    assert asking == streamed
    assert asking.now["state"] == "finished"


BAD = ("x", "last", "..", "../../etc/passwd", "%2e%2e%2f", "20991122-153012-nobody-0000", "20261122-153012-a/../b",
       "20261122-153012-a\n", "\x00", "ä", "." * 5_000)  # fmt: skip


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("path", ["live", "live/news", "live/log", "live/sample"])
def test_a_guessed_id_gets_the_answer_of_a_missing_one(server: Server, run: Run, path: str, name: str) -> None:
    said = []
    for asked in (name, "20001122-153012-missing-0000"):
        with pytest.raises(urllib.error.HTTPError, match="404") as refused:
            server.ask(f"{path}?{urllib.parse.urlencode({'run': asked, 'seq': 1})}")
        said.append(refused.value.read())
    assert said[0] == said[1]
    assert b"There is no such run here." in said[0]


def test_no_id_leads_out_of_the_runs(server: Server, run: Run) -> None:
    outside = run.path.parents[1] / "outside"
    run.path.rename(outside)
    for name in ("../outside", str(outside), "x/../../outside"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            server.ask(f"live?{urllib.parse.urlencode({'run': name})}")


def test_a_beginning_of_an_id_is_not_enough(server: Server, run: Run) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404"):
        server.ask(f"live?run={run.id[:-1]}")


def test_without_the_key_nothing_is_told(server: Server, run: Run) -> None:
    for path in (f"live?run={run.id}", f"live/news?run={run.id}", f"live/log?run={run.id}", PLOTLY_ROUTE):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            server.ask(path, key=False)


def test_twenty_watchers_of_a_run_all_see_it_and_cost_one_reader(server: Server, run: Run) -> None:
    append_events(run, STORY[:2])
    pages = [Known() for _ in range(20)]
    streams = [server.ask(f"live?run={run.id}") for _ in pages]

    def watch(stream: Any, page: Known) -> None:
        with stream:
            follow(stream, page, len(STORY))

    threads = [threading.Thread(target=watch, args=pair, daemon=True) for pair in zip(streams, pages, strict=True)]
    for thread in threads:
        thread.start()
    until(lambda: all(page.seq == 2 for page in pages), 30)
    assert server.streams() == 20
    for event in STORY[2:]:
        append_events(run, [event])
        time.sleep(0.02)
    for thread in threads:
        thread.join(60)
    assert all(page.points == truth(run) for page in pages)
    assert all(page.whole == pages[0].whole for page in pages)


def test_a_stream_ends_when_its_page_is_gone(server: Server, run: Run) -> None:
    stream = server.ask(f"live?run={run.id}")
    assert next(messages(stream))[0] == "runs"
    assert server.streams() == 1
    stream.close()
    until(lambda: server.streams() == 0, 20)


def test_a_quiet_stream_says_that_it_stands(server: Server, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_INTERVAL", 0.5)
    with server.ask(f"live?run={run.id}") as stream:
        told = messages(stream)
        assert [next(told)[0] for _ in range(4)] == ["runs", "snapshot", "beat", "beat"]
        assert stream.headers["X-Accel-Buffering"] == "no"
        assert stream.headers["Cache-Control"] == "no-store"


def test_runs_come_and_go_in_the_list(server: Server, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "RUN_LIST_INTERVAL", 0.1)
    with server.ask("live") as stream:
        told = messages(stream)
        assert [one["id"] for one in next(told)[1]["runs"]] == [run.id]
        other = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
        kind, data = next(told)
        assert (kind, data["whole"], [one["id"] for one in data["runs"]], data["gone"]) == ("runs", False, [other.id], [])  # fmt: skip
        cleanup.delete_run(run)
        assert next(told)[1] == {"whole": False, "runs": [], "gone": [run.id]}


def test_a_run_that_is_deleted_while_it_is_watched_is_said_to_be_gone(server: Server, run: Run) -> None:
    with server.ask(f"live?run={run.id}") as stream:
        told = messages(stream)
        assert [next(told)[0] for _ in range(2)] == ["runs", "snapshot"]
        cleanup.delete_run(run)
        gone = next(data for kind, data in told if kind == "gone")
    assert (gone["run"], gone["text"]) == (run.id, "There is no such run here.")


def test_a_process_that_is_gone_without_a_last_word_is_told(server: Server, run: Run) -> None:
    append_events(run, [{"kind": "state", "state": "training"}, step(1)])
    write_json(run.path / "handle.json", {"backend": "local", "pid": 2**22 + 1, "started": 0.0, "boot": boot_id()})
    [_, shot] = server.json(f"live/news?run={run.id}")["messages"]
    assert (shot["data"]["now"]["state"], shot["data"]["now"]["alive"]) == ("lost", False)


@pytest.mark.parametrize(
    ("last", "now"),
    [
        ({"kind": "progress", "what": "waiting", "done": 0, "of": 2}, {"state": "new"}),
        ({"kind": "failed", "reason": "x", "text": "Full.", "advice": "Free some."},
         {"state": "failed", "failed": {"text": "Full.", "advice": "Free some."}}),
        ({"kind": "done", "why": "stopped", "verdict": "Better."}, {"state": "stopped", "verdict": "Better."}),
    ],
)  # fmt: skip
def test_how_a_run_stands_is_told_in_one_word_with_its_reason(
    server: Server, run: Run, last: Event, now: Event
) -> None:
    append_events(run, [step(1), {"kind": "saved", "step": 1, "what": "checkpoint", "path": "c"}, last])
    if last["kind"] == "progress":
        append_events(run, [])
        write_json(run.path / "handle.json", {})
        now = {"state": "lost"}
    told = server.json(f"live/news?run={run.id}")["messages"][1]["data"]["now"]
    assert told | now == told
    assert (told["step"], told["of"], told["saved"]) == (1, 100, 1)


def test_answers_are_fetched_by_their_event_wherever_they_lie(server: Server, run: Run) -> None:
    (run.path / "samples").mkdir()
    (run.path / "samples" / "000002.json").write_text(json.dumps([{"prompt": "Sky?", "completion": "Blau." * 9}]))
    append_events(run, [sample(0), {"kind": "sample", "step": 5, "file": "samples/000002.json"}])
    assert server.json(f"live/sample?run={run.id}&seq=1") == {"step": 0, "rows": sample(0)["rows"], "goes_on": False}
    assert server.json(f"live/sample?run={run.id}&seq=2")["rows"][0]["completion"] == "Blau." * 9
    with pytest.raises(urllib.error.HTTPError, match="404"):
        server.json(f"live/sample?run={run.id}&seq=3")


def test_the_log_shows_its_end_without_the_events(server: Server, run: Run) -> None:
    lines = [f"line {i}" for i in range(20_000)]
    (run.path / "log.txt").write_text("\n".join([*lines, events.LOG_PREFIX + '{"seq": 1}', "Traceback: \udcff".encode("utf-8", "replace").decode()]))  # fmt: skip
    shown = server.json(f"live/log?run={run.id}")["text"].splitlines()
    assert len(shown) == snapshot.LOG_LINES
    assert shown[-2] == "line 19999"
    assert shown[-1].startswith("Traceback")


def test_a_long_run_opens_with_every_spike_in_little(server: Server, run: Run) -> None:
    spike = 61_803
    append_events(
        run, [step(i, 50.0 if i == spike else 1.0 + (i * 7919 % 13) / 100, of=100_000) for i in range(1, 100_001)]
    )
    began = time.monotonic()
    with server.ask(f"live/news?run={run.id}") as answer:
        body = answer.read()
    seconds = time.monotonic() - began
    line = json.loads(body)["messages"][1]["data"]["series"]["train/loss"]
    assert len(line["x"]) <= series.MAX_POINTS
    assert line["y"][line["x"].index(spike)] == 50.0
    assert (line["x"][0], line["x"][-1]) == (1, 100_000)
    assert len(body) < 200_000
    assert seconds < 4  # half a second on a free core; others may be using this one


def test_a_very_long_run_is_shown_in_parts_until_it_is_read(server: Server, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(snapshot, "LARGE_FILE_BYTES", 1_000_000)
    append_events(
        run, [*(step(i, 50.0 if i == 61_803 else 1.0, of=100_000) for i in range(1, 100_001)), sample(100_000)]
    )
    shots: list[Event] = []
    first_arrived, read_to_end = threading.Event(), snapshot._read_to_end

    def read_after_first(history: reader.RunHistory) -> reader.RunHistory:
        """However quick the machine is, the parts are shown before the whole is read."""
        first_arrived.wait(30)
        return read_to_end(history)

    monkeypatch.setattr(snapshot, "_read_to_end", read_after_first)
    with server.ask(f"live?run={run.id}") as stream:
        for kind, data in messages(stream):
            shots += [data] if kind == "snapshot" else []
            if shots:
                first_arrived.set()
            if len(shots) == 2:
                break
    parts, whole = shots
    assert [one["text"] for one in parts["notes"]] == [snapshot.PARTIAL_HISTORY_TEXT]
    assert parts["now"] | {"state": "new"} == whole["now"] | {"state": "new"}
    assert (parts["series"]["train/loss"]["x"][-1], parts["samples"]) == (100_000, [])
    assert (whole["notes"], [one["step"] for one in whole["samples"]]) == ([], [100_000])
    line = whole["series"]["train/loss"]
    assert line["y"][line["x"].index(61_803)] == 50.0
    assert server.json(f"live/sample?run={run.id}&seq={whole['samples'][0]['seq']}")["rows"] == sample(1)["rows"]


def test_metrics_and_answers_are_named_in_words(server: Server, run: Run) -> None:
    names = server.json(f"live/news?run={run.id}")["messages"][1]["data"]["names"]
    assert names["eval/correct"] == "held-out: exactly the right answer"
    assert names["reward/correct/mean"] == "exactly the right answer"
    assert names["train/loss"] == "training"


def test_an_update_is_small(server: Server, run: Run) -> None:
    append_events(run, [step(i) for i in range(1, 11)])
    with server.ask(f"live/news?run={run.id}&after=5") as answer:
        told = json.load(answer)["messages"][1]
    assert told["event"] == "news"
    assert len(page_messages.to_json_line(told["data"])) < 1_000


def test_plotly_comes_from_here_packed_and_is_kept_for_ever(server: Server) -> None:
    whole = (Path(find_spec("plotly").origin).parent / "package_data" / "plotly.min.js").read_bytes()
    with server.ask(PLOTLY_ROUTE, **{"Accept-Encoding": "gzip"}) as answer:
        assert gzip.decompress(answer.read()) == whole
        assert "immutable" in answer.headers["Cache-Control"]
        assert int(answer.headers["Content-Length"]) < len(whole) / 2
    with server.ask(PLOTLY_ROUTE) as answer:
        assert answer.read() == whole
