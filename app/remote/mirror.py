"""Mirror: the process here that keeps a run's folder as it is on the machine that trains it: `python -m app.remote.mirror RUN_DIR`.

It copies events in the order of their seq, fetches samples, log, checkpoints and result, forwards requests such as stop,
and records the last contact. It outlives the page, and whoever looks starts it again (app/remote/mirrors.py); killed at any
moment, it goes on at the next seq. The run's end is its engine's own last event, never the loss of a connection.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from app.core import platform
from app.core.json_files import read_json, write_json
from app.core.problems import Problem
from app.core.workspace import Workspace
from app.remote.channel import Channel, ConnectionLost
from app.remote.machines import get_machine
from app.remote.mirrored_files import IncomingFiles, ListedFile
from app.remote.ssh import EngineVersion, agent_command, connection_problem
from app.runs import events
from app.runs.events import DoneEvent, FailedEvent, SampleEvent
from app.runs.mirror_record import (
    MIRROR_LOCK,
    MirrorRecord,
    is_running_elsewhere,
    new_mirror_record,
    read_mirror_record,
    write_mirror_record,
)
from app.runs.records import read_handle

_WATCH_SECONDS = 5.0  # that the agent waits for news before it answers that there are none
_LOCK_GRACE_SECONDS = 1.0  # that those who only test for a mirror may hold its lock
_HELD_BACK_SECONDS = 0.05
_CHUNK_BYTES = 1_000_000
_RETRY_SECONDS = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)  # between attempts to connect, the last for ever
_RECORD_SECONDS = 2.0  # between two records of a contact that brought nothing new


class Mirror:
    """Copies one run until its engine has ended there and everything is here."""

    def __init__(self, folder: Path):
        """folder: the run's."""
        self.folder = folder
        handle = read_handle(folder / "handle.json")
        self.run_id = folder.name
        self.machine = get_machine(Workspace(folder.parent.parent), str(handle["machine"]))
        self.version = EngineVersion(str(handle.get("code")), str(handle.get("environment")))
        self.files = IncomingFiles(folder, dict(handle.get("replacements", {})))
        self.control_offset = int(handle.get("control_from", 0))
        self.record: MirrorRecord = read_mirror_record(folder) or new_mirror_record(self.machine.name)
        self.digest = ""
        self._recorded_at = 0.0
        _remove_torn_line(folder / "events.jsonl")
        last = events.last_event(folder / "events.jsonl")
        self.seq = last.seq if last else 0

    def run(self) -> None:
        """Returns when there is nothing left to copy."""
        failures = 0
        while True:
            try:
                with Channel(agent_command(self.machine, self.version)) as channel:
                    while not self._copy_news(channel):
                        failures = 0
                return
            except ConnectionLost as error:  # boundary: the network
                self._record(connected=False, reason=connection_problem(self.machine, str(error)).text)
            except Problem as problem:  # what the agent answers, such as that the run was deleted there
                if problem.reason == "run_gone":
                    self._record(engine="ended", connected=True, reason=problem.text)
                    return
                self._record(connected=False, reason=problem.text)
            time.sleep(_RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)])
            failures += 1

    def _copy_news(self, channel: Channel) -> bool:
        """One exchange with the agent. Returns whether everything is here and the engine has ended."""
        self._forward_requests(channel)
        missing = self.files.missing()
        answer = channel.request(
            "watch",
            run=self.run_id,
            after_seq=self.seq,
            files=self.digest,
            wait=0.0 if missing else _WATCH_SECONDS,
        ).fields
        if listing := answer.get("listing"):
            self.files.update(listing["files"])
            self.digest = listing["digest"]
        self._pin_precision(answer["precision"])
        is_held_back = self._append_lines(channel, answer["lines"], answer["alive"])
        for file in self.files.missing()[:1]:
            self._fetch_part(channel, file)
        self.files.install_folders()
        is_complete = not (answer["alive"] or is_held_back or answer["lines"] or self.files.missing())
        self._record(connected=True, reason="", engine="ended" if is_complete else "running")
        return is_complete

    # -- events ---------------------------------------------------------------------------------------------------

    def _append_lines(self, channel: Channel, lines: list[str], alive: bool) -> bool:
        """Appends events as they stand there, each after the file that it names. A last event waits for the files of the
        result, so that a run that has ended here has all of it. Returns whether one waits."""
        for line in lines:
            event = events.parse_line(line)
            if event is None or event.seq <= self.seq:
                continue
            is_last = line == lines[-1] and isinstance(event, DoneEvent | FailedEvent)
            if is_last and (alive or self.files.missing()):
                time.sleep(_HELD_BACK_SECONDS)  # the agent answers at once as long as there is something new
                return True
            if isinstance(event, SampleEvent) and event.file:
                self._fetch_sample(channel, event.file)
            with (self.folder / "events.jsonl").open("ab") as file:
                file.write(line.encode())
            self.seq = event.seq
        return False

    def _fetch_sample(self, channel: Channel, path: str) -> None:
        for file in self.files.missing():
            while file["path"] == path and self.files.offset(file) < file["size"]:
                self._fetch_part(channel, file)

    def _pin_precision(self, precision: Any) -> None:
        """What the engine there wrote into its Spec: what the precision `auto` means on its machine."""
        spec = read_json(self.folder / "spec.json")
        knobs = spec.get("knobs", {})
        if isinstance(precision, str) and knobs.get("precision") == "auto" != precision:
            write_json(self.folder / "spec.json", {**spec, "knobs": {**knobs, "precision": precision}})

    # -- files ----------------------------------------------------------------------------------------------------

    def _fetch_part(self, channel: Channel, file: ListedFile) -> None:
        offset = self.files.offset(file)
        size = min(_CHUNK_BYTES, file["size"] - offset)
        try:
            message = channel.request("read", run=self.run_id, path=file["path"], offset=offset, size=size)
        except Problem as problem:
            if problem.reason != "file_gone":
                raise
            self.digest = ""  # a checkpoint that was deleted there meanwhile: the next answer lists what there is
            return
        self.files.append(file, message.payload)

    # -- requests -------------------------------------------------------------------------------------------------

    def _forward_requests(self, channel: Channel) -> None:
        """Sends on what was asked of the run here. The agent takes each request once, so after a cut all are sent again."""
        path = self.folder / "control.jsonl"
        if not path.exists() or path.stat().st_size <= self.control_offset:
            return
        with path.open("rb") as file:
            file.seek(self.control_offset)
            content = file.read()
        content = content[: content.rfind(b"\n") + 1]
        requests = [json.loads(line) for line in content.splitlines()]
        channel.request("control", run=self.run_id, requests=requests)
        self.control_offset += len(content)

    # -- record ---------------------------------------------------------------------------------------------------

    def _record(self, **changes: Any) -> None:
        """Stores what is known now; a contact that changes nothing else only now and then."""
        if changes["connected"]:
            changes |= {"contact": time.time(), "bytes_left": self.files.bytes_left()}
        earlier = self.record
        self.record = MirrorRecord(**{**earlier, **changes})  # type: ignore[typeddict-item]
        is_same = {**earlier, "contact": 0.0} == {**self.record, "contact": 0.0}
        if not is_same or time.monotonic() - self._recorded_at > _RECORD_SECONDS:
            write_mirror_record(self.folder, self.record)
            self._recorded_at = time.monotonic()


def _remove_torn_line(path: Path) -> None:
    """Cuts a last line without its newline: an earlier mirror was killed while it wrote."""
    if path.exists():
        with path.open("r+b") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)


def main() -> int:
    """0 when the run has ended and is here; 2 where another mirror copies it already."""
    folder = Path(sys.argv[1]).resolve()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started it
    with (folder / MIRROR_LOCK).open("a") as lock:
        if not platform.lock_file_within(lock, _LOCK_GRACE_SECONDS):
            return 2
        lock.truncate(0)
        print(os.getpid(), file=lock, flush=True)  # for whoever gives the run up
        if is_running_elsewhere(folder):
            Mirror(folder).run()
    return 0


if __name__ == "__main__":
    os.nice(5)
    sys.exit(main())
