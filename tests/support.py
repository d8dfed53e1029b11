"""Helpers shared by many tests: training rows, specs, and runs started through the public functions."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
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
NO_EVALUATIONS_OR_SAVES = {
    "evaluations": 0,
    "eval_answers": 0,
    "saves": 0,
}  # neither evaluations nor checkpoints during training


def conversation_rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Conversations of two turns whose answers differ in length, so that padding and row order have an effect."""
    return [
        {"messages": [
            {"role": "user", "content": f"What is {i} + {i % 7}?"},
            {"role": "assistant", "content": "well, " * (i % 5) + f"it is {i + i % 7}."},
            {"role": "user", "content": "Are you sure?"},
            {"role": "assistant", "content": "Yes." if i % 2 else "Yes, I counted on my fingers."},
        ]}
        for i in range(start, start + count)
    ]  # fmt: skip


def prompt_completion_rows(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"Say {i} and {i % 3}.", "completion": " ".join([str(i)] * (1 + i % 4))} for i in range(count)]


def text_rows(count: int) -> list[dict[str, Any]]:
    return [{"text": f"Day {i}. " + "The sun was warm and the baker sang. " * (1 + i % 3)} for i in range(count)]


def addition_rows(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"What is {i} + {i % 9}?", "answer": str(i + i % 9)} for i in range(count)]


def preference_rows(count: int) -> list[dict[str, Any]]:
    """Preference pairs whose answers differ in length and sometimes have a common beginning."""
    return [{"prompt": f"Count to {2 + i % 5}.", "chosen": f"Gladly. {' '.join(map(str, range(1, 3 + i % 5)))}!",
             "rejected": "Gladly not." if i % 3 else f"No, not {i} times."} for i in range(count)]  # fmt: skip


def stepwise_rows(count: int) -> list[dict[str, Any]]:
    """Solutions of two steps. The second is sometimes wrong and contains “no good”, so that a few training steps suffice to judge it."""
    return [{"prompt": f"What is {i} + {i % 5}?", "completions": [f"I add {i} and {i % 5}.", f"It is {i}, no good." if i % 2 else f"It is {i + i % 5}."],
             "labels": [True, not i % 2]} for i in range(count)]  # fmt: skip


def ranked_rows(count: int) -> list[dict[str, Any]]:
    return [row | {"reference": f"With pleasure, {i}: {row['chosen']}"} for i, row in enumerate(preference_rows(count))]


def unpaired_preference_rows(count: int) -> list[dict[str, Any]]:
    """Rated answers: twice as many rejected as accepted ones, not in alternating order."""
    return [{"prompt": f"Say {i}.", "completion": " ".join([str(i)] * (1 + i % 4)), "label": i % 6 in (0, 1)} for i in range(count)]  # fmt: skip


def write_rows(path: Path, rows: list[dict[str, Any]]) -> str:
    """Writes the rows as JSON lines and returns their source name, `path:FILE`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return f"path:{path}"


def build_spec(method: str, source: str, knobs: dict[str, Any] | None = None, **other_fields: Any) -> Spec:
    """A resolved and checked Spec for the practice model, without held-out rows unless `holdout` is given."""
    spec_fields = {
        "method": method,
        "data": [{"source": source}],
        "holdout": {},
        "knobs": NO_EVALUATIONS_OR_SAVES | (knobs or {}),
    } | other_fields
    return preflight.check_spec(parse_spec(spec_fields))


def start_run(spec: Spec, cold_start: bool = False, **launch: Any) -> Run:
    """Creates a run and starts it with the local backend. cold_start: the engine imports all libraries itself, as for a user."""
    launch_settings = Launch.model_validate(launch)
    run = store.create_run(local_workspace(), spec, launch_settings)
    with contextlib.nullcontext() if cold_start else engine_forkserver.fork_engines():
        local.start(run, launch_settings)
    return run


def wait_for_run(run: Run, seconds: float = 240) -> list[Event]:
    """Waits until the run's engine process has ended and returns all events. Fails with the end of the log after `seconds`."""
    wait_until(lambda: not local.alive(run.handle), seconds, run)
    return events.read_events(run.events)


def train(spec: Spec, **launch: Any) -> Run:
    """Trains to the end and returns the run. Fails with the end of the log if the run did not finish."""
    run = start_run(spec, **launch)
    run_events = wait_for_run(run)
    assert isinstance(run_events[-1], DoneEvent), f"{run_events[-1]}\n{log_tail(run)}"
    return run


def drain_generator(generator: Generator[Any, None, Any]) -> tuple[list[Any], Any]:
    """(the yielded values, the return value) of a generator."""
    yielded_values = []
    while True:
        try:
            yielded_values.append(next(generator))
        except StopIteration as stop:
            return yielded_values, stop.value


def wait_until(condition: Callable[[], Any], seconds: float = 120, run: Run | None = None) -> Any:
    """Polls `condition` until it returns a true value, and returns that value. Fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (outcome := condition()):
        assert time.monotonic() < deadline, f"condition still false after {seconds} s\n{log_tail(run) if run else ''}"
        time.sleep(0.05)
    return outcome


def metrics_by_step(run: Run) -> dict[int, dict[str, Any]]:
    """{step: metrics} of the run, without steps that a resumed attempt repeated."""
    return {
        event.step: event.metrics for event in of_type(events.drop_rewound(events.read_events(run.events)), StepEvent)
    }


def typed_events(*event_dicts: dict[str, Any]) -> list[Event]:
    """Typed events as readers get them: seq counts from 1, all in the first attempt."""
    return [
        msgspec.convert({"seq": seq, "attempt": 1, "time": 0.0} | event, Event)
        for seq, event in enumerate(event_dicts, 1)
    ]


def append_events(run: Run, event_dicts: Iterable[dict[str, Any]]) -> None:
    """Appends complete lines to the run's events file; seq continues from the last event there."""
    last_event = events.last_event(run.events)
    first_seq = last_event.seq + 1 if last_event else 1
    lines = [
        json.dumps({"seq": seq, "attempt": 1, "time": 0.0} | event) for seq, event in enumerate(event_dicts, first_seq)
    ]
    with run.events.open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


def run_losses(run: Run) -> list[float]:
    return [metrics["train/loss"] for _, metrics in sorted(metrics_by_step(run).items())]


def log_tail(run: Run) -> str:
    log_file = run.path / "log.txt"
    return log_file.read_text(errors="replace")[-3000:] if log_file.exists() else "(no log)"


def run_command_line(
    *arguments: str, expected_exit_code: int | None = 0, **env: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command line in a separate process. Fails with its output if the exit code differs from `expected_exit_code`; None accepts any."""
    process = subprocess.run([sys.executable, "-m", "app", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300,
                          env=os.environ | env)  # fmt: skip
    assert expected_exit_code is None or process.returncode == expected_exit_code, (
        f"exit {process.returncode}\n{process.stdout[-2000:]}\n{process.stderr[-2000:]}"
    )
    return process


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mounts a tmpfs of that size, such as 64m, so that the disk can really be full. Needs permission to mount and fails without it."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextlib.contextmanager
def use_home(home: Path) -> Iterator[Path]:
    """Sets TUNESMITH_HOME to `home` inside the block."""
    previous_home = os.environ.get("TUNESMITH_HOME")
    os.environ["TUNESMITH_HOME"] = str(home)
    try:
        yield home
    finally:
        if previous_home is None:
            del os.environ["TUNESMITH_HOME"]
        else:
            os.environ["TUNESMITH_HOME"] = previous_home


def train_preset(name: str, **knobs: Any) -> Run:
    """Trains a preset to the end, with some of its settings changed, and returns the run."""
    spec = presets.preset_spec(name)
    return train(preflight.check_spec(spec.model_copy(update={"knobs": spec.knobs | knobs})))


def generate_greedy(model: Any, tokenizer: Any, prompts: list[Any], max_new_tokens: int) -> list[str]:
    """The greedy completion of each prompt."""
    from app.engine.contracts import SamplingSettings
    from app.engine.generation.generate import generate_completions
    from app.engine.generation.transformers_generator import TransformersGenerator

    sampling = SamplingSettings(max_new_tokens=max_new_tokens)
    return generate_completions(TransformersGenerator(model, tokenizer), prompts, sampling)


def train_in_process(spec: Spec) -> tuple[Run, Any]:
    """(run with adapter and events, trainer): trains in this process, without an engine process."""
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

    def run_evaluation(step: int) -> None:
        with preserve_rng_eval(trainer.model):
            metrics, sample_rows = evaluate(job, trainer, job.data.holdout)
        if metrics:
            emitter.emit(EvalEvent, step=step, set="holdout", metrics={f"eval/{name}": value for name, value in metrics.items()})  # fmt: skip
            emitter.emit(SampleEvent, step=step, rows=sample_rows)

    run_evaluation(0)
    trainer.train()
    run_evaluation(trainer.state.global_step)
    trainer.save_model(str(run.adapter))
    write_json(run.path / "facts.json", build_run_manifest(job, trainer))
    emitter.emit(SavedEvent, step=trainer.state.global_step, what="adapter", path="adapter")
    emitter.emit(DoneEvent, why="finished", adapter="adapter", verdict="")
    trainer.model.eval()
    return run, trainer


def sign_in(address: str) -> tuple[urllib.request.OpenerDirector, str]:
    """A client that a printed address has signed in, and the URL of the page."""
    client = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with client.open(address, timeout=60) as entry:
        base_url = re.search(r"http://tunesmith-\w+\.localhost:\d+", entry.read().decode()).group() + "/"
    with contextlib.suppress(urllib.error.HTTPError):  # 404: any path signs in
        client.open(f"{base_url}none?{address.partition('?')[2]}", timeout=60).close()
    return client, base_url


def _resolve_localhost_names(host: Any, *arguments: Any, **options: Any) -> Any:
    """As browsers do, and as not every system does."""
    is_local_name = isinstance(host, str) and host.endswith(".localhost")
    return _getaddrinfo("127.0.0.1" if is_local_name else host, *arguments, **options)


_getaddrinfo = socket.getaddrinfo
socket.getaddrinfo = _resolve_localhost_names
