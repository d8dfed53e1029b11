"""Support: the few deeds many tests share, through the front door."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from app.core.json_files import write_json
from app.core.paths import ROOT
from app.core.workspace import local_workspace
from app.planning import preflight, presets
from app.runs import events, store
from app.runs.events import DoneEvent, EvalEvent, Event, SampleEvent, SavedEvent, StepEvent, of_type
from app.runs.store import Run
from app.setup.spec import Launch, Spec, parse_spec
from backends import local
from tests import engine_forkserver

WORDS = ["the", "baker", "sold", "bread", "and", "two", "red", "apples", "near", "a", "quiet", "river", "on", "Monday"]  # fmt: skip
QUIET = {"evaluations": 0, "eval_answers": 0, "saves": 0}  # no tests or checkpoints on the way


def chats(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Conversations of two turns whose answers differ in length, so that padding and order show."""
    return [
        {"messages": [
            {"role": "user", "content": f"What is {i} + {i % 7}?"},
            {"role": "assistant", "content": "well, " * (i % 5) + f"it is {i + i % 7}."},
            {"role": "user", "content": "Are you sure?"},
            {"role": "assistant", "content": "Yes." if i % 2 else "Yes, I counted on my fingers."},
        ]}
        for i in range(start, start + count)
    ]  # fmt: skip


def pairs(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"Say {i} and {i % 3}.", "completion": " ".join([str(i)] * (1 + i % 4))} for i in range(count)]


def texts(count: int) -> list[dict[str, Any]]:
    return [{"text": f"Day {i}. " + "The sun was warm and the baker sang. " * (1 + i % 3)} for i in range(count)]


def sums(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"What is {i} + {i % 9}?", "answer": str(i + i % 9)} for i in range(count)]


def preferences(count: int) -> list[dict[str, Any]]:
    """Pairs whose answers differ in length and sometimes begin alike."""
    return [{"prompt": f"Count to {2 + i % 5}.", "chosen": f"Gladly. {' '.join(map(str, range(1, 3 + i % 5)))}!",
             "rejected": "Gladly not." if i % 3 else f"No, not {i} times."} for i in range(count)]  # fmt: skip


def solutions(count: int) -> list[dict[str, Any]]:
    """In two steps, of which the second is sometimes wrong and says so: a few corrections teach to judge it."""
    return [{"prompt": f"What is {i} + {i % 5}?", "completions": [f"I add {i} and {i % 5}.", f"It is {i}, no good." if i % 2 else f"It is {i + i % 5}."],
             "labels": [True, not i % 2]} for i in range(count)]  # fmt: skip


def ranks(count: int) -> list[dict[str, Any]]:
    return [row | {"reference": f"With pleasure, {i}: {row['chosen']}"} for i, row in enumerate(preferences(count))]


def thumbs(count: int) -> list[dict[str, Any]]:
    """Twice as many disliked answers as liked ones, and not in turn."""
    return [{"prompt": f"Say {i}.", "completion": " ".join([str(i)] * (1 + i % 4)), "label": i % 6 in (0, 1)} for i in range(count)]  # fmt: skip


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    """Writes JSON lines and returns the source that names them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return f"path:{path}"


def spec_of(method: str, source: str, knobs: dict[str, Any] | None = None, **other: Any) -> Spec:
    """A resolved, checked Spec on the practice model with no rows held out unless asked."""
    data = {"method": method, "data": [{"source": source}], "holdout": {}, "knobs": QUIET | (knobs or {})} | other
    return preflight.check_spec(parse_spec(data))


def start(spec: Spec, afresh: bool = False, **launch: Any) -> Run:
    """A run, started by the local backend. afresh: its engine imports everything by itself, as a person's does."""
    chosen = Launch.model_validate(launch)
    run = store.create_run(local_workspace(), spec, chosen)
    with contextlib.nullcontext() if afresh else engine_forkserver.engines():
        local.start(run, chosen)
    return run


def wait(run: Run, seconds: float = 240) -> list[Event]:
    """The run's whole story, once its engine has ended. Fails with the log's end when it takes too long."""
    until(lambda: not local.alive(run.handle), seconds, run)
    return events.read_events(run.events)


def train(spec: Spec, **launch: Any) -> Run:
    """A run that has finished; fails with the log's end when it did not."""
    run = start(spec, **launch)
    story = wait(run)
    assert isinstance(story[-1], DoneEvent), f"{story[-1]}\n{log_end(run)}"
    return run


def run_to_end(parts: Generator[Any, None, Any]) -> tuple[list[Any], Any]:
    """What a generator yields, and what it returns."""
    yielded = []
    while True:
        try:
            yielded.append(next(parts))
        except StopIteration as end:
            return yielded, end.value


def until(happened: Callable[[], Any], seconds: float = 120, run: Run | None = None) -> Any:
    """What `happened` returns once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := happened()):
        assert time.monotonic() < deadline, f"nothing after {seconds} s\n{log_end(run) if run else ''}"
        time.sleep(0.05)
    return found


def steps_of(run: Run) -> dict[int, dict[str, Any]]:
    """{step: metrics} as the story counts."""
    return {e.step: e.metrics for e in of_type(events.drop_rewound(events.read_events(run.events)), StepEvent)}


def typed_events(*story: dict[str, Any]) -> list[Event]:
    """A story as readers get it: each event with its seq from 1, in the first attempt."""
    return [
        msgspec.convert({"seq": seq, "attempt": 1, "time": 0.0} | event, Event) for seq, event in enumerate(story, 1)
    ]


def append_events(run: Run, story: Iterable[dict[str, Any]]) -> None:
    """Appends whole lines to the run's story, counting on from what is there."""
    last = events.last_event(run.events)
    first = last.seq + 1 if last else 1
    lines = [json.dumps({"seq": seq, "attempt": 1, "time": 0.0} | event) for seq, event in enumerate(story, first)]
    with run.events.open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


def losses(run: Run) -> list[float]:
    return [metrics["train/loss"] for _, metrics in sorted(steps_of(run).items())]


def log_end(run: Run) -> str:
    log = run.path / "log.txt"
    return log.read_text(errors="replace")[-3000:] if log.exists() else "(no log)"


def cli(*arguments: str, code: int | None = 0, **env: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own; fails with its output on another exit code than `code`."""
    done = subprocess.run([sys.executable, "-m", "app", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300,
                          env=os.environ | env)  # fmt: skip
    assert code is None or done.returncode == code, (
        f"exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    )
    return done


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A real file system of that size, such as 64m, which can really be full. Needs the right to mount, and fails without."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def in_home(home: Path) -> Iterator[Path]:
    """What is done inside is done in that home."""
    before = os.environ.get("TUNESMITH_HOME")
    os.environ["TUNESMITH_HOME"] = str(home)
    try:
        yield home
    finally:
        if before is None:
            del os.environ["TUNESMITH_HOME"]
        else:
            os.environ["TUNESMITH_HOME"] = before


def train_preset(name: str, **knobs: Any) -> Run:
    """A finished run of a preset, with some of its settings changed."""
    spec = presets.preset_spec(name)
    return train(preflight.check_spec(spec.model_copy(update={"knobs": spec.knobs | knobs})))


def generated(model: Any, tokenizer: Any, prompts: list[Any], max_new_tokens: int) -> list[str]:
    """The greedy completion of each prompt."""
    from app.engine.contracts import SamplingSettings
    from app.engine.generation.generate import generate_completions
    from app.engine.generation.transformers_generator import TransformersGenerator

    sampling = SamplingSettings(max_new_tokens=max_new_tokens)
    return generate_completions(TransformersGenerator(model, tokenizer), prompts, sampling)


def trained_here(spec: Spec) -> tuple[Run, Any]:
    """(a run with a result and a story, its trainer): learned in this process, without an engine around it."""
    from app.engine.emitter import Emitter
    from app.engine.evaluation.evaluate import evaluate
    from app.engine.generation.generate import preserve_rng_eval
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries
    from app.engine.model.device import Device
    from app.engine.run_manifest import build_run_manifest

    prepare_libraries()
    run = store.create_run(local_workspace(), spec, Launch())
    job = Job(run.spec, run.path, Device("cpu"))
    trainer, emitter = job.method.build(job), Emitter(run.path)

    def test(step: int) -> None:
        with preserve_rng_eval(trainer.model):
            found, shown = evaluate(job, trainer, job.data.holdout)
        if found:
            emitter.emit(EvalEvent, step=step, set="holdout", metrics={f"eval/{name}": value for name, value in found.items()})  # fmt: skip
            emitter.emit(SampleEvent, step=step, rows=shown)

    test(0)
    trainer.train()
    test(trainer.state.global_step)
    trainer.save_model(str(run.adapter))
    write_json(run.path / "facts.json", build_run_manifest(job, trainer))
    emitter.emit(SavedEvent, step=trainer.state.global_step, what="adapter", path="adapter")
    emitter.emit(DoneEvent, why="finished", adapter="adapter", verdict="")
    trainer.model.eval()
    return run, trainer
