"""Watched: one run as all who look at it share it: its story is read once, as it grows."""

from __future__ import annotations

import json
import threading
from itertools import groupby
from typing import Any

from app.core import registry
from app.core.problems import Problem
from app.history.downsampling import Deep
from app.history.metric_labels import names
from app.history.reader import LARGE_FILE_BYTES, Event, Reading, drawn
from app.history.series import Series, thinned
from app.runs import events, store
from app.runs.store import Run

LOG = 64_000  # bytes of the log that are looked at
LINES = 200
PARTLY = "This run is long: until all of it is read, its curves show parts of it, and its answers are missing."


class Watched:
    """A run's story so far. `look` reads what is new; `since` and `whole` tell it. Any thread may call them."""

    def __init__(self, run: Run):
        self.run = run
        self.lock = threading.Lock()
        self.told: tuple[int, int, str] = (0, -1, "")  # the latest news put into words: after which seq, version, text
        self.version = 0
        self.story: Reading | None = None  # what is told
        self.coming: Reading | None = None  # what is being read apart and told next, where that takes long
        self.now: dict[str, Any] = {}

    @property
    def seq(self) -> int:
        return self.story.seq if self.story else 0

    def look(self) -> bool:
        """Reads what was appended. True while the run is there."""
        with self.lock:
            if not self.run.path.is_dir():
                return False
            alive = store.alive(self.run)  # before reading: what it wrote just before its end is still read
            seq = self.seq
            self.read()
            now = self.state(alive)
            if now != self.now or seq != self.seq:
                self.now, self.version = now, self.version + 1
        return True

    # -- reading ------------------------------------------------------------------------------------------------------

    def read(self) -> None:
        """At once where that is quick, else apart; meanwhile places of the story tell what they can."""
        if self.coming:
            return
        self.story = self.story or Reading.of(self.run)
        if self.story.unread > LARGE_FILE_BYTES:
            self.read_apart(self.story)
            self.story = Reading.of_places(self.run)
            return
        try:
            self.story.read()
        except Deep as deep:
            self.read_again(self.story.again(deep))
        self.story.keep()

    def read_again(self, story: Reading) -> None:
        """A story that went back far; a long one stands where it did so until that is done."""
        if story.unread > LARGE_FILE_BYTES:
            self.read_apart(story)
        else:
            self.story = to_its_end(story)

    def read_apart(self, story: Reading) -> None:
        self.coming = story
        threading.Thread(target=self.read_on, daemon=True).start()

    def read_on(self) -> None:
        """Reads what is coming and puts it in the place of what is told."""
        story = self.coming
        try:
            story = to_its_end(story)
            story.keep()
        finally:  # also where it broke: the next look meets that too, and says so
            with self.lock:
                self.story, self.coming = story, None

    def state(self, alive: bool) -> dict[str, Any]:
        """What is happening now; absent and null mean the same."""
        last = self.story.last
        step, waiting = last.get("step", {}), last.get("progress", {})
        state = store.state(self.run, alive)
        found = {
            "state": state, "alive": alive, "step": step.get("step", 0), "of": step.get("of", 0),
            "left": step.get("seconds_left") if alive else None,
            "ahead": waiting.get("of") if state == "waiting" else None,
            "saved": last.get("saved", {}).get("step"),
            "adapter": self.run.adapter.is_dir() or None,
            "verdict": last.get("done", {}).get("verdict") if state in ("finished", "stopped") else None,
            "why": last.get("done", {}).get("why") if state in ("finished", "stopped") else None,
            "failed": failure(last) if state == "failed" else None,
        }  # fmt: skip
        return {name: value for name, value in found.items() if value is not None}

    # -- what is told -------------------------------------------------------------------------------------------------

    def since(self, after: int) -> tuple[str, int, str, int]:
        """("news", seq, JSON, version): what came after `after`; ("snapshot", …): the whole, where that is not known any more."""
        with self.lock:
            oldest = self.story.recent[0]["seq"] if self.story.recent else self.seq + 1
            if after > self.seq or after < oldest - 1:
                return "snapshot", self.seq, self.whole(), self.version
            if self.told[:2] != (after, self.version):  # many watch the same: put into words once
                self.told = after, self.version, said(self.news(after))
            return "news", self.seq, self.told[2], self.version

    def whole(self) -> str:
        spec = spec_of(self.run)
        shown = [thinned(one) for one in self.story.curves.series()]
        notes = [noted(one) for one in self.story.notes]
        partly = [{"level": "info", "text": PARTLY}] if self.story.partly else []
        return said({
            "run": self.run.id, "seq": self.seq, "title": spec.get("title") or store.words(self.run.id),
            "method": spec.get("method", ""), "names": names(spec), "journey": journey_of(self.run),
            "series": {one.name: columns(one) for one in shown},
            "samples": [index(one) for one in self.story.samples], "notes": notes + partly, "now": self.now,
        })  # fmt: skip

    def news(self, after: int) -> dict[str, Any]:
        fresh = [event for event in self.story.recent if event["seq"] > after]
        back = [event["from_step"] for event in fresh if event["kind"] == "resumed"]
        found = {
            "from_step": min(back) if back else None,
            "points": points(events.current(fresh)),
            "samples": [index(event) for event in events.current(fresh) if event["kind"] == "sample"],
            "notes": [noted(event) for event in fresh if event["kind"] == "note" and event["level"] != "info"],
        }
        told = {name: value for name, value in found.items() if value not in (None, [])}
        return {"run": self.run.id, "seq": self.seq, "now": self.now} | told

    def sample(self, seq: int) -> dict[str, Any]:
        """{"step", "rows", "goes_on": prompts are beginnings of texts} of the sample with that seq. Raises Problem when there is none."""
        with self.lock:
            one = next((one for one in self.story.samples if one["seq"] == seq), None)
        if one is None:
            raise Problem("There are no such answers in this run.", reason="missing")
        with self.run.events.open("rb") as file:
            file.seek(one["at"])
            event = events.parse(file.readline()) or {}
        goes_on = store.load_json(self.run.path / "facts.json").get("chat") is False
        return {"step": one["step"], "rows": store.answers(self.run, event), "goes_on": goes_on}

    def log(self) -> str:
        """The last lines of the log; the events among them are told elsewhere."""
        path = self.run.path / "log.txt"
        if not path.exists():
            return ""
        with path.open("rb") as file:
            start = max(0, file.seek(0, 2) - LOG)
            file.seek(start)
            lines = file.read().decode("utf-8", "replace").splitlines()[1 if start else 0 :]
        return "\n".join([line for line in lines if not line.startswith(events.PREFIX)][-LINES:])


def to_its_end(story: Reading) -> Reading:
    """The story with all read; where it went back far, a new one."""
    try:
        story.read()
    except Deep as deep:
        return to_its_end(story.again(deep))
    return story


def points(story: list[Event]) -> list[dict[str, Any]]:
    """[{"x": [steps], "y": {metric: [values]}}], one for each row of events with the same metrics."""
    measured = [drawn(event) for event in story if event["kind"] in ("step", "eval")]
    groups = [list(group) for _, group in groupby(measured, key=lambda event: [*event["metrics"]])]
    return [{"x": [event["step"] for event in group],
             "y": {name: [short(event["metrics"][name]) for event in group] for name in group[0]["metrics"]}}
            for group in groups]  # fmt: skip


def columns(one: Series) -> dict[str, Any]:
    """A series as the page draws it; what is measured now and then is marked by points."""
    told = {"x": one.steps, "y": [short(value) for value in one.values], "tested": one.tested or None,
            "mean": one.means and [short(value) for value in one.means]}  # fmt: skip
    return {name: value for name, value in told.items() if value is not None}


def short(value: float | None) -> float | None:
    """Five digits: a screen shows no more."""
    return None if value is None else float(f"{value:.5g}")


def spec_of(run: Run) -> dict[str, Any]:
    """The setup as plain data; a damaged one hides none of the run's story."""
    try:
        return run.spec.to_dict()
    except (Problem, ValueError, OSError):  # a border: a folder may be of a later version, torn or half deleted
        return {}


def journey_of(run: Run) -> str | None:
    """ID/STAGE, where it is a lesson of several that are still there."""
    try:
        named = store.load_json(run.path / "launch.json").get("journey") or ""
        there = (registry.home("journeys") / named.partition("/")[0] / "chain.json").is_file()
        return named if named and there else None
    except ValueError:  # a border, as above
        return None


def failure(last: dict[str, Event]) -> dict[str, str]:
    return {name: last.get("failed", {}).get(name, "") for name in ("text", "advice")}


def index(event: Event) -> dict[str, int]:
    return {"seq": event["seq"], "step": event["step"]}


def noted(event: Event) -> dict[str, Any]:
    return {"seq": event["seq"], "level": event["level"], "text": event["text"]}


def said(message: dict[str, Any]) -> str:
    """Strict JSON on one line, as small as it gets."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
