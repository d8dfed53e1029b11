"""Publishing: a result goes to the Hub in the background, tells how far it is, and its run remembers where it went."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from app.hub import api, model_card
from app.runs import store
from app.runs.store import Run

KEPT = "published.json"
PAUSE = 0.1  # seconds between two looks at how far it is


class Push:
    """One push, on a thread of its own: it goes on when the page is closed, and a page opened later finds it."""

    def __init__(self, run: Run, repo: str, private: bool, token: str | None):
        self.run, self.repo, self.private = run, repo, private
        self.news: dict[str, Any] = {"what": "Asking the Hub", "done": 0, "of": 0}
        self.problem: Exception | None = None
        self.thread = threading.Thread(target=self.work, args=(token,), daemon=True)

    def work(self, token: str | None) -> None:
        try:
            address = api.push(self.run, self.repo, private=self.private, token=token, progress=self.tell)
            remember(self.run, self.repo, address, self.private)
        except Exception as error:  # the outermost border of this thread: who follows it is told
            self.problem = error

    def tell(self, what: str, done: int, of: int) -> None:
        self.news = {"what": what, "done": done, "of": of}

    def follow(self) -> Iterator[dict[str, Any]]:
        """{"what", "done", "of"} whenever something moved, until its end. Raises what went wrong."""
        told = None
        while self.thread.is_alive():
            if self.news is not told:
                told = self.news
                yield told
            self.thread.join(PAUSE)
        if self.problem:
            raise self.problem


GOING: dict[str, Push] = {}  # by run, for pages that are opened meanwhile


def start(run: Run, repo: str, private: bool, token: str | None) -> Push:
    """A new push; the one that goes on already, if there is one."""
    going = ongoing(run)
    if going:
        return going
    push = GOING[run.id] = Push(run, repo.strip(), private, token)
    push.thread.start()
    return push


def ongoing(run: Run) -> Push | None:
    push = GOING.get(run.id)
    return push if push and push.thread.is_alive() else None


def remember(run: Run, repo: str, address: str, private: bool) -> None:
    store.write_json(run.path / KEPT, {"repo": repo, "address": address, "private": private, "time": time.time()})


def place(run: Run) -> dict[str, Any] | None:
    """Where its result was published last: {"repo", "address", "private", "time"}, and whether it has a newer one since."""
    kept = store.load_json(run.path / KEPT)
    return kept | {"newer": run.adapter.stat().st_mtime > kept["time"]} if kept and run.adapter.is_dir() else None


def snippet(run: Run, repo: str) -> str:
    """Python that loads the published result and asks it, as its card shows it."""
    facts = store.load_json(run.path / "facts.json")
    fenced = model_card.loading(run.spec, facts, model_card.About(repo=repo))
    return fenced[fenced.index("```python") + 1]
