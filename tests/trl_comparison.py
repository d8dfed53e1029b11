"""Beside TRL: each method beside the plain TRL script with the same settings, as tests/trl_cases.py names them."""

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
from tests.support import losses, spec_of, steps_of, train, write_rows
from tests.trl_cases import TEACHER, Case

STEPS, RATE = 6, 0.001
OURS = {"steps": STEPS, "batch_size": 8, "learning_rate": RATE}
THEIRS = {"max_steps": STEPS, "per_device_train_batch_size": 8, "learning_rate": RATE, "seed": 7, "gradient_checkpointing": False,
          "max_grad_norm": 1.0}  # fmt: skip
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}


@dataclass(frozen=True)
class Told:
    """What a training said at each step. margins: of methods that compare two answers; TRL rounds some of their losses."""

    losses: list[float]
    rewards: list[float]
    margins: list[float] = field(default_factory=list)


def spec_for(case: Case, folder: Path) -> Spec:
    source = write_rows(folder / "ours.jsonl", case.rows)
    return spec_of(case.method, source, OURS | taught(case.knobs), **({"adapter": {"kind": case.adapter}} | case.spec))


def taught(settings: dict[str, Any]) -> dict[str, Any]:
    """With the teacher's folder where the case only names it."""
    text = json.dumps(settings)
    return json.loads(text.replace(TEACHER, str(whole_teacher())) if TEACHER in text else text)


@functools.cache
def whole_teacher() -> Path:
    """The shipped teacher as one whole model: TRL takes no adapter for a teacher."""
    from app.engine.model.load_model import load_tuned

    folder = Path(tempfile.mkdtemp())
    model, tokenizer = load_tuned(locate_model_or_adapter("pocket-teacher"))
    model.merge_and_unload().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def by_engine(case: Case, folder: Path) -> Told:
    """In a real engine process."""
    run = train(spec_for(case, folder))
    return Told(losses(run), [metrics.get("reward/mean", 0.0) for metrics in steps_of(run).values()])


def here(case: Case, folder: Path) -> Told:
    """In this process: the trainer as the method builds it, without the engine around it."""
    from transformers import TrainerCallback

    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries
    from app.engine.model.device import Device

    told = Told([], [], [])

    class Log(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            if "loss" in logs:
                told.losses.append(logs["loss"])
                told.rewards.append(logs.get("reward", logs.get("objective/scores", 0.0)))
                told.margins.append(logs.get("rewards/margins", 0.0))

    prepare_libraries()
    job = Job(spec_for(case, folder), folder, Device("cpu"))
    job.callbacks.append(Log())
    job.method.build(job).train()
    return told


def by_plain_scripts(cases: dict[str, Case], folder: Path) -> dict[str, Told]:
    """Of all cases in one process that cannot import us: importing TRL takes longer than a case."""
    files = [settings(case, folder / str(number)) for number, case in enumerate(cases.values())]
    environment = os.environ | {"HF_HUB_DISABLE_TELEMETRY": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": "", "TRL_EXPERIMENTAL_SILENCE": "1"}  # fmt: skip
    done = subprocess.run([sys.executable, str(ROOT / "tests" / "plain_trl.py"), *map(str, files)], cwd=folder, env=environment,
                          text=True, capture_output=True, timeout=60 + 60 * len(files))  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    results = [json.loads(line.removeprefix("RESULT ")) for line in done.stdout.splitlines() if line.startswith("RESULT ")]  # fmt: skip
    return {name: Told(one["losses"], one["rewards"], one["margins"]) for name, one in zip(cases, results, strict=True)}


def settings(case: Case, folder: Path) -> Path:
    """The file of settings for tests/plain_trl.py."""
    write_rows(folder / "theirs.jsonl", case.theirs or case.rows)
    told = {"trainer": case.trainer, "model": locate_model("pocket"), "rows": str(folder / "theirs.jsonl"),
            "config": THEIRS | case.config | {"output_dir": str(folder / "out")}, "lora": LORA if case.adapter == "lora" else None}  # fmt: skip
    file = folder / "settings.json"
    file.write_text(json.dumps(told | taught(case.script)))
    return file


def difference(one: list[float], other: list[float]) -> float:
    """The largest, relative to the value where that is above 1; infinite when one said less."""
    if len(one) != len(other):
        return float("inf")
    return max(abs(a - b) / max(1.0, abs(b)) for a, b in zip(one, other, strict=True))
