"""Profiler: records what the processor and the graphics card compute in a few steps of a run that asks for it."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback

from app.engine.emitter import Emitter
from app.runs.events import NoteEvent
from app.runs.result import PROFILE_FILE
from app.runs.store import Run

_SKIPPED_STEPS = 2  # the first fills caches, and at the second the profiler itself warms up
_NAMED_OPERATIONS = 3  # in the note


class ProfilerCallback(TrainerCallback):
    """Writes a trace of a few steps into the run's folder, and says in a note where most of their time went."""

    def __init__(self, run: Run, steps: int, emitter: Emitter):
        """steps: how many are recorded, after the first two of this attempt."""
        self._run, self._steps, self._emitter = run, steps, emitter
        self._is_written = False
        activities = [torch.profiler.ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self._profiler = torch.profiler.profile(
            activities=activities,
            schedule=torch.profiler.schedule(skip_first=_SKIPPED_STEPS - 1, wait=0, warmup=1, active=steps, repeat=1),
            on_trace_ready=self._write,
            profile_memory=True,
        )

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._profiler.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._profiler.step()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._profiler.stop()
        if not self._is_written:
            text = f"Nothing was profiled: that takes more than {_SKIPPED_STEPS} steps in one go."
            self._emitter.emit(NoteEvent, level="careful", text=text)

    def _write(self, profiler: torch.profiler.profile) -> None:
        profiler.export_chrome_trace(str(self._run.path / PROFILE_FILE))
        averages = profiler.key_averages()
        key = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        self._is_written = True
        seconds = {average.key: getattr(average, key) for average in averages}
        total = sum(seconds.values()) or 1
        longest = sorted(seconds, key=lambda name: -seconds[name])[:_NAMED_OPERATIONS]
        operations = ", ".join(f"{name} ({seconds[name] / total:.0%})" for name in longest)
        text = f"{self._steps} steps were profiled. Most of their time went to {operations}. Setup has the trace."
        self._emitter.emit(NoteEvent, level="info", text=text)
