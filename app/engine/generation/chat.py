"""Talk: a run's result and its base answer the same prompt side by side, word by word."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from app.core import registry
from app.core.problems import Problem
from app.engine.generation.generate import answer, rendered
from app.engine.generation.sampling import add_stops
from app.runs import store
from app.setup import models

TOKENS = 4  # that one side writes before the other goes on
LONGEST = 4_096  # tokens of one answer, whatever was asked


class Closed(Exception):
    """Ends a `generate` whose answer nobody waits for."""


class Writer:
    """One `generate` in a thread of its own, which stops after each token until it is asked for more.

    So two models take turns within one answer, each written by the very function that anybody calls to use the result.
    The thread computes only while `more` waits for it: there is never more than one that does.
    """

    def __init__(self, generate: Callable[..., Any], place: Callable[[], AbstractContextManager[None]], decode: Callable[[list[int]], str]):  # fmt: skip
        self.generate, self.place, self.decode = generate, place, decode
        self.ids: list[int] = []
        self.seconds, self.sent = 0.0, ""
        self.prompt_seen = self.over = self.closed = False
        self.error: BaseException | None = None
        self.go, self.stopped = threading.Semaphore(0), threading.Semaphore(0)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        self.go.acquire()
        try:
            if not self.closed:
                self.generate(streamer=self)
        except Closed:
            pass
        except BaseException as error:  # handed to the one who asks for more
            self.error = error
        self.over = True
        self.stopped.release()

    def put(self, ids: Any) -> None:
        """What `generate` calls: first with the prompt, then with each token."""
        if self.prompt_seen:
            self.ids += ids.reshape(-1).tolist()
            self.stopped.release()
            self.go.acquire()
        self.prompt_seen = True
        if self.closed:
            raise Closed

    def end(self) -> None:
        """The other thing that `generate` calls."""

    def more(self) -> str:
        """The text of up to TOKENS more tokens; a character of several tokens comes whole."""
        began = time.monotonic()
        with self.place():
            for _ in range(TOKENS):
                self.step()
                if self.over:
                    break
        self.seconds += time.monotonic() - began
        text = self.text()
        if not self.over and (text.endswith("\ufffd") or not text.startswith(self.sent)):
            return ""
        new, self.sent = text[len(self.sent) :], text
        return new

    def step(self) -> None:
        self.go.release()
        self.stopped.acquire()
        if self.error:
            raise self.error

    def close(self) -> None:
        self.closed = True
        if not self.over:
            self.step()

    def text(self) -> str:
        return self.decode(self.ids)


def talk(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """{"who", "text"} as it is written, at last {"done": {who: {"text", "tokens", "seconds", "why"}}}."""
    writers = writers_of(request)
    try:
        while open_ones := [(who, writer) for who, writer in writers.items() if not writer.over]:
            for who, writer in open_ones:
                if new := writer.more():
                    yield {"who": who, "text": new}
        yield {"done": {who: said(writer, ends_of(request["run"])) for who, writer in writers.items()}}
    finally:
        for writer in writers.values():
            writer.close()


def said(writer: Writer, ends: set[int]) -> dict[str, Any]:
    why = "finished" if writer.ids and writer.ids[-1] in ends else "longest"
    return {"text": writer.text(), "tokens": len(writer.ids), "seconds": round(writer.seconds, 2), "why": why}


def writers_of(request: dict[str, Any]) -> dict[str, Writer]:
    import torch

    model, tokenizer = result_of(request["run"])
    tokens = question(request, tokenizer)
    room = room_for(model, tokens["input_ids"].shape[1])
    warmth = request.get("temperature") or 0.0
    how = {"do_sample": True, "temperature": warmth, "top_k": 0} if warmth else {"do_sample": False}
    how |= {"max_new_tokens": max(1, min(request.get("longest", 256), room, LONGEST)),
            "pad_token_id": tokenizer.pad_token_id or tokenizer.eos_token_id}  # fmt: skip

    def writer(model: Any, place: Any = contextlib.nullcontext) -> Writer:
        def generate(streamer: Writer) -> None:
            with torch.no_grad():
                model.generate(**tokens, **how, streamer=streamer)

        return Writer(generate, place, partial(tokenizer.decode, skip_special_tokens=True))

    adapter = hasattr(model, "disable_adapter")
    inner = (
        model.get_base_model() if adapter else model
    )  # the adapter's layers sit inside: the same sums, for both sides
    if not request.get("base"):
        return {"tuned": writer(inner)}
    base = inner if adapter else load_base(request["run"])
    place = model.disable_adapter if adapter else contextlib.nullcontext
    return {"base": writer(base, place), "tuned": writer(inner)}


def question(request: dict[str, Any], tokenizer: Any) -> Any:
    """The tokens of what is asked, after what was said before; a model of plain text goes on from all of it."""
    before, prompt, chat = request.get("messages") or [], request["prompt"], speaks(request["run"])
    asked = [*before, {"role": "user", "content": prompt}] if chat else "".join([turn["content"] for turn in before] + [prompt])  # fmt: skip
    if not chat and not asked:
        raise Problem("There is nothing to go on from.", advice="Write a beginning.")
    return tokenizer(
        rendered(tokenizer, asked, chat), return_tensors="pt", add_special_tokens=not tokenizer.chat_template
    )


def room_for(model: Any, length: int) -> int:
    """How many tokens still fit after the question. Raises Problem when none does."""
    most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if most and length >= most:
        raise Problem(f"This is {length:,} tokens long, and the model reads at most {most:,}.",
                      advice="Ask something shorter, or begin a new conversation.")  # fmt: skip
    return most - length if most else LONGEST


def chat(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Whole answers to many prompts: {"done": {"tuned": […], "base": […] if asked}}."""
    model, tokenizer = result_of(request["run"])
    ask = (tokenizer, request["prompts"], request.get("longest", 128))
    how = {"chat": speaks(request["run"])}
    said = {"tuned": answer(model, *ask, **how)}
    if request.get("base") and hasattr(model, "disable_adapter"):
        with model.disable_adapter():
            said["base"] = answer(model, *ask, **how)
    elif request.get("base"):
        said["base"] = answer(load_base(request["run"]), *ask, **how)
    yield {"done": said}


def check(request: dict[str, Any]) -> None:
    """Before waiting for a turn: is there a result to talk to? Raises Problem."""
    run = has_result(request)
    if getattr(registry.load("methods", run.spec.method), "MODEL", "causal") != "causal":
        raise Problem(
            f"“{store.title(run)}” gives scores and does not write.", advice="Let it score an answer instead."
        )


def has_result(request: dict[str, Any]) -> store.Run:
    """The run. Raises Problem."""
    run = store.find(request["run"])
    store.result(run)
    return run


def speaks(run: str) -> bool:
    """Prompts are questions in a chat; of plain text they are beginnings to go on from."""
    return store.load_json(store.find(run).path / "facts.json").get("chat", True)


def ends_of(run: str) -> set[int]:
    """The tokens that end an answer."""
    model, tokenizer = result_of(run)
    ends = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])}


def result_of(run: str) -> tuple[Any, Any]:
    found = store.find(run)
    folder = store.result(found)
    model, tokenizer = loaded(folder, folder.stat().st_mtime_ns)
    if stops := found.spec.knobs.get("stop"):  # it ends where its answers ended in training
        add_stops(model, tokenizer, stops)
    return model, tokenizer


@lru_cache(maxsize=1)  # one model at a time is in memory; a resumed run's new result is another
def loaded(folder: Path, _changed: int) -> tuple[Any, Any]:
    from app.engine.model.load_model import load_tuned

    return load_tuned(folder)


def load_base(run: str) -> Any:
    model = store.find(run).spec.model
    return base_model(models.locate(model.id), model.revision)


@lru_cache(maxsize=1)
def base_model(name: str, revision: str | None) -> Any:
    from app.engine.model.load_model import plain_model

    return plain_model("causal", name, revision).eval()
