"""Speed: processor seconds per training step, beside a plain TRL script, TRL's defaults and a bare PyTorch loop.

Each way trains the practice model with the same LoRA on the same rows, in a process of its own, once for a few steps and once
for many; the difference, divided by the steps between, is what a step costs with all that belongs to it. Rounds are
interleaved and the median counts, so that a busy machine disturbs all ways alike.
"""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from app.core.paths import ROOT
from app.core.workspace import local_workspace
from app.runs import store
from app.setup.models import locate_model
from app.setup.spec import Launch
from tests.support import WORDS, spec_of, write_rows

FEW, MANY, ROUNDS = 10, 60, 3
BATCH, LENGTH, RATE = 4, 512, 0.001


def lessons(count: int = 2000) -> list[dict[str, Any]]:
    """Questions and answers whose lengths are log-normal, as in real instruction data: most short, a few very long."""
    chance = random.Random(5)

    def sentence(middle: float) -> str:
        return " ".join(chance.choices(WORDS, k=max(3, min(400, int(chance.lognormvariate(math.log(middle), 0.8))))))

    return [{"messages": [{"role": "user", "content": sentence(50)}, {"role": "assistant", "content": sentence(25)}]}
            for _ in range(count)]  # fmt: skip


def ours(source: Path, folder: Path, steps: int, knobs: dict[str, Any]) -> list[str]:
    shared = {
        "steps": steps,
        "batch_size": BATCH,
        "max_length": LENGTH,
        "learning_rate": RATE,
        "learn_from": "assistant",
    }
    run = store.create_run(
        local_workspace(),
        spec_of("sft", f"path:{source}", shared | knobs, adapter={"kind": "lora", "r": 8, "alpha": 16}),
        Launch(),
    )
    return [sys.executable, "-m", "app.engine", str(run.path)]


def plain(source: Path, folder: Path, steps: int, config: dict[str, Any]) -> list[str]:
    shared = {"max_steps": steps, "per_device_train_batch_size": BATCH, "max_length": LENGTH, "learning_rate": RATE, "seed": 7,
              "assistant_only_loss": True, "output_dir": str(folder / "out")}  # fmt: skip
    settings = {"trainer": "trl.SFTTrainer", "model": locate_model("pocket"), "rows": str(source), "config": shared | config,
                "lora": {"r": 8, "lora_alpha": 16}}  # fmt: skip
    file = folder / "plain.json"
    file.write_text(json.dumps(settings))
    return [sys.executable, str(ROOT / "tests" / "plain_trl.py"), str(file)]


def bare(source: Path, folder: Path, steps: int, config: dict[str, Any]) -> list[str]:
    settings = {
        "model": locate_model("pocket"),
        "rows": str(source),
        "steps": steps,
        "batch": BATCH,
        "length": LENGTH,
        "rate": RATE,
    }
    file = folder / "bare.json"
    file.write_text(json.dumps(settings))
    return [sys.executable, str(ROOT / "tests" / "bare_loop.py"), str(file)]


Way = tuple[Callable[..., list[str]], dict[str, Any]]
WAYS: dict[str, Way] = {
    "a bare PyTorch loop": (bare, {}),
    "ours, equal settings": (ours, {"group_by_length": False}),
    "plain TRL, equal settings": (plain, {"gradient_checkpointing": False}),
    "ours, our defaults": (ours, {}),
    "plain TRL, its defaults": (plain, {}),
}


def processor_seconds(command: list[str]) -> float:
    """User and system time of a process and its children."""
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_DISABLE_TELEMETRY": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read()  # type: ignore[union-attr]
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, said.decode()[-2000:]
    return used.ru_utime + used.ru_stime


def per_step(way: Way, source: Path, folder: Path) -> float:
    make, settings = way
    few, many = (processor_seconds(make(source, folder, steps, settings)) for steps in (FEW, MANY))
    return (many - few) / (MANY - FEW)


def run(folder: Path) -> list[dict[str, Any]]:
    source = folder / "lessons.jsonl"
    write_rows(source, lessons())
    measured: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name, way in WAYS.items():
            measured[name].append(per_step(way, source, folder))
    median = {name: statistics.median(times) for name, times in measured.items()}
    return [
        {
            "way": name,
            "processor seconds per step": f"{median[name]:.3f}",
            "lowest to highest": f"{min(measured[name]):.3f} to {max(measured[name]):.3f}",
            "speed, bare loop = 1": f"{median['a bare PyTorch loop'] / median[name]:.2f}",
            "speed, plain TRL at equal settings = 1": f"{median['plain TRL, equal settings'] / median[name]:.2f}",
            "speed, TRL's defaults = 1": f"{median['plain TRL, its defaults'] / median[name]:.2f}",
        }
        for name in WAYS
    ]
