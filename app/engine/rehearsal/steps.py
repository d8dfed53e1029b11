"""The steps of a rehearsal: the run's own trainer on its longest rows, at its own batch size, without saving anything."""

from __future__ import annotations

import copy
import math
import resource
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.core.scratch import ScratchFolder
from app.core.workspace import Workspace
from app.data.fields import Row
from app.engine.job import Job
from app.engine.libraries import remove_overhead
from app.engine.model.device import Device
from app.engine.preview.measured_steps import StepTimes, count_step_tokens, step_timer, time_evaluation
from app.engine.preview.memory_plan import memory_question
from app.engine.preview.preview_job import source_stamps
from app.engine.preview.run_estimate import count_run, relevant_json
from app.engine.preview.time_estimate import EVAL_BATCH_ROWS, MeasuredTimes, Workload, evaluation_seconds
from app.engine.step_metrics import require_finite
from app.planning.memory.changes import cheapest_changes
from app.planning.memory.estimate import estimate_memory
from app.planning.rehearsal import RehearsedSteps, StepsPlan
from app.setup.model_shape import ModelShape, read_model_shape
from app.setup.spec import Spec

if TYPE_CHECKING:
    from datasets import Dataset

_MAX_SEARCHED_ROWS = 100_000  # rows among which the longest are looked for


@dataclass(frozen=True)
class Rehearsal:
    """What is to be rehearsed. memory_limit: bytes for tensors on the processor; None for all that there are."""

    workspace: Workspace
    spec: Spec
    device: Device
    steps: int
    memory_limit: int | None = None


def plan_steps(rehearsal: Rehearsal) -> tuple[StepsPlan, Workload]:
    """What is expected of the run, and which change would come next where the memory does not suffice."""
    _, workload = count_run(relevant_json(rehearsal.spec), source_stamps(rehearsal.spec))
    question = memory_question(workload.job, workload.row_lengths, rehearsal.device)
    if question is None:
        return {"memory": None, "next_change": None}, workload
    estimate = estimate_memory(*question)
    changes = cheapest_changes(*question, until_it_fits=False)
    return {"memory": (estimate["low"], estimate["high"]), "next_change": changes[0] if changes else None}, workload


def rehearse(rehearsal: Rehearsal, workload: Workload, on_step: Callable[[int], None]) -> RehearsedSteps:
    """Trains the steps and measures them. Raises what the trainer raises, also when memory runs out."""
    times = StepTimes()
    _forget_memory_peak(rehearsal.device)
    with ScratchFolder(rehearsal.workspace) as folder:
        job = _rehearsal_job(rehearsal, workload, folder)
        job.callbacks.append(step_timer(times, on_step))
        if rehearsal.memory_limit is not None:
            _limit_memory(rehearsal.memory_limit)
        trainer = job.method.build(job)
        remove_overhead(trainer)
        count_step_tokens(trainer, times)
        trainer.train()
        for step, loss in enumerate(times.losses, 1):
            require_finite({"train/loss": loss}, step)
        measured = MeasuredTimes(times.average(workload.step_tokens), *time_evaluation(job, trainer))
        shape = _model_shape(job)
    seconds = measured.step * workload.steps + evaluation_seconds(measured, workload)
    return {
        "steps": len(times.seconds),
        "step_seconds": round(measured.step, 4),
        "run_steps": workload.steps,
        "run_seconds": round(seconds, 1),
        "peak_bytes": _memory_peak(rehearsal.device),
        "counts_freed": rehearsal.device.is_cpu,
        "first_loss": times.losses[0] if times.losses else None,
        "guessing_loss": math.log(shape.vocab_size) if shape and _learns_tokens(job) else None,
    }


def _rehearsal_job(rehearsal: Rehearsal, workload: Workload, folder: Path) -> Job:
    """The run's job with few steps, and with its longest rows where they are not joined to full length anyway."""
    knobs = workload.job.spec.knobs | {"steps": rehearsal.steps, "warmup_steps": 0}
    job = Job(workload.job.spec.model_copy(update={"knobs": knobs}), folder, rehearsal.device)
    job.data = copy.copy(workload.job.data)
    job.data.holdout, job.data.eval_sets = _longest_evaluated_rows(job), {}
    if not job.streaming and not knobs.get("packing"):
        wanted = rehearsal.steps * job.knobs.batch_size * job.knobs.accumulation
        job.data.train = job.data.train.select(longest_first(job.data.train)[:wanted])
    return job


def _longest_evaluated_rows(job: Job) -> list[Row]:
    """The longest rows of the evaluated set that has the longest one: they need the most memory."""
    longest = [[rows[i] for i in longest_first(rows)[:EVAL_BATCH_ROWS]] for rows in job.data.evaluated_sets.values()]
    return max(longest, key=lambda rows: text_length(rows[0]), default=[])


def longest_first(rows: Sequence[Row] | Dataset) -> list[int]:
    """The indices of the rows, those with the most text first."""
    lengths = [text_length(rows[i]) for i in range(min(len(rows), _MAX_SEARCHED_ROWS))]
    return sorted(range(len(lengths)), key=lambda i: -lengths[i])


def text_length(content: object) -> int:
    """Characters of all texts in a row."""
    if isinstance(content, str):
        return len(content)
    if isinstance(content, dict):
        return sum(text_length(field) for field in content.values())
    return sum(text_length(element) for element in content) if isinstance(content, list) else 0


def _model_shape(job: Job) -> ModelShape | None:
    return read_model_shape(job.model.config.to_dict()) if job.is_generative else None


def _learns_tokens(job: Job) -> bool:
    """Whether the loss is the cross-entropy of tokens, which a model that guesses has at the logarithm of their number."""
    return job.spec.method in ("sft", "pretrain") and job.spec.knobs.get("loss", "nll") == "nll"


# -- memory -------------------------------------------------------------------------------------------------------


def _limit_memory(size: int) -> None:
    """Lets this process hold so many bytes more than now; what goes beyond fails as on a device without them."""
    if sys.platform != "linux":  # elsewhere the limit does not hold for what PyTorch allocates
        return
    now = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()  # data and stack
    resource.setrlimit(resource.RLIMIT_DATA, (now + size, now + size))


def _forget_memory_peak(device: Device) -> None:
    import torch

    if not device.is_cpu and torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif sys.platform == "linux":
        Path("/proc/self/clear_refs").write_text("5")  # see `man 5 proc_pid_clear_refs`


def _memory_peak(device: Device) -> int:
    """Bytes on the device at most: what the allocator took of a card, or what this process had of the machine's."""
    import torch

    if not device.is_cpu and torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        library_bytes = total - free - torch.cuda.memory_reserved()  # the libraries' own, and other programs
        return torch.cuda.max_memory_reserved() + max(0, library_bytes)
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024
