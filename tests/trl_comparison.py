"""Trains each case of tests/trl_cases.py with Tunesmith and with a plain TRL script of the same settings."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.core.paths import ROOT
from app.runs.adapters import locate_model_or_adapter
from app.setup.models import locate_model
from app.setup.spec import Spec
from tests.support import build_spec, metrics_by_step, run_losses, train, write_rows
from tests.trl_cases import TEACHER, Case

STEPS, LEARNING_RATE = 6, 0.001
COMMON_KNOBS = {"steps": STEPS, "batch_size": 8, "learning_rate": LEARNING_RATE}
COMMON_TRL_CONFIG = {"max_steps": STEPS, "per_device_train_batch_size": 8, "learning_rate": LEARNING_RATE, "seed": 7, "gradient_checkpointing": False,
          "max_grad_norm": 1.0}  # fmt: skip
LORA_CONFIG = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}


@dataclass(frozen=True)
class LoggedMetrics:
    """What a training logged at each step. margins: of methods that compare two answers, because TRL rounds some of their losses."""

    losses: list[float]
    rewards: list[float]
    margins: list[float] = field(default_factory=list)


def build_case_spec(case: Case, folder: Path) -> Spec:
    source = write_rows(folder / "ours.jsonl", case.rows)
    return build_spec(
        case.method,
        source,
        COMMON_KNOBS | insert_teacher_folder(case.knobs),
        **({"adapter": {"kind": case.adapter}} | case.spec),
    )


def insert_teacher_folder(settings: dict[str, Any]) -> dict[str, Any]:
    """Replaces the placeholder TEACHER in the settings by the folder of the merged teacher."""
    text = json.dumps(settings)
    return json.loads(text.replace(TEACHER, str(merged_teacher_folder())) if TEACHER in text else text)


@functools.cache
def merged_teacher_folder() -> Path:
    """The shipped teacher with its adapter merged into the weights: TRL does not accept an adapter as teacher."""
    from app.engine.model.load_model import load_tuned

    folder = Path(tempfile.mkdtemp())
    model, tokenizer = load_tuned(locate_model_or_adapter("pocket-teacher"))
    model.merge_and_unload().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def train_with_engine(case: Case, folder: Path) -> LoggedMetrics:
    """Trains in a real engine process."""
    run = train(build_case_spec(case, folder))
    return LoggedMetrics(
        run_losses(run), [metrics.get("reward/mean", 0.0) for metrics in metrics_by_step(run).values()]
    )


def train_without_engine(case: Case, folder: Path) -> LoggedMetrics:
    """Trains in this process with the trainer that the method builds, without an engine process."""
    from transformers import TrainerCallback

    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries
    from app.engine.model.device import Device

    logged = LoggedMetrics([], [], [])

    class RecordMetrics(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            if "loss" in logs:
                logged.losses.append(logs["loss"])
                logged.rewards.append(logs.get("reward", logs.get("objective/scores", 0.0)))
                logged.margins.append(logs.get("rewards/margins", 0.0))

    prepare_libraries()
    job = Job(build_case_spec(case, folder), folder, Device("cpu"))
    job.callbacks.append(RecordMetrics())
    job.method.build(job).train()
    return logged


def train_with_plain_trl(cases: dict[str, Case], folder: Path) -> dict[str, LoggedMetrics]:
    """{case name: metrics}. All cases run in one process without Tunesmith, because importing TRL takes longer than a case."""
    settings_files = [write_settings(case, folder / str(number)) for number, case in enumerate(cases.values())]
    environment = os.environ | {"HF_HUB_DISABLE_TELEMETRY": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": "", "TRL_EXPERIMENTAL_SILENCE": "1"}  # fmt: skip
    process = subprocess.run([sys.executable, str(ROOT / "tests" / "plain_trl.py"), *map(str, settings_files)], cwd=folder, env=environment,
                          text=True, capture_output=True, timeout=60 + 60 * len(settings_files))  # fmt: skip
    assert process.returncode == 0, process.stderr[-3000:]
    logged_by_case = [json.loads(line.removeprefix("RESULT ")) for line in process.stdout.splitlines() if line.startswith("RESULT ")]  # fmt: skip
    return {
        name: LoggedMetrics(logged["losses"], logged["rewards"], logged["margins"])
        for name, logged in zip(cases, logged_by_case, strict=True)
    }


def write_settings(case: Case, folder: Path) -> Path:
    """Writes the rows and the settings file for tests/plain_trl.py; returns the settings file."""
    write_rows(folder / "theirs.jsonl", case.trl_rows or case.rows)
    script_settings = {"trainer": case.trainer, "model": locate_model("pocket"), "rows": str(folder / "theirs.jsonl"),
            "config": COMMON_TRL_CONFIG | case.config | {"output_dir": str(folder / "out")}, "lora": LORA_CONFIG if case.adapter == "lora" else None}  # fmt: skip
    settings_file = folder / "settings.json"
    settings_file.write_text(json.dumps(script_settings | insert_teacher_folder(case.script)))
    return settings_file


def largest_relative_difference(actual: list[float], expected: list[float]) -> float:
    """The largest difference, relative to the expected number where that is above 1; infinite if the lengths differ."""
    if len(actual) != len(expected):
        return float("inf")
    return max(abs(x - y) / max(1.0, abs(y)) for x, y in zip(actual, expected, strict=True))
