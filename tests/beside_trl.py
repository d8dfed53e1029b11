"""Beside TRL: each method beside the plain TRL script with the same settings. A case is one entry of CASES."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.models import locate
from app.rooms import ROOT
from app.spec import Spec
from tests.support import chats, losses, pairs, spec_of, steps_of, sums, texts, train, write_rows

STEPS, RATE = 6, 0.001
OURS = {"steps": STEPS, "batch_size": 8, "learning_rate": RATE}
THEIRS = {"max_steps": STEPS, "per_device_train_batch_size": 8, "learning_rate": RATE, "seed": 7, "gradient_checkpointing": False,
          "max_grad_norm": 1.0}  # fmt: skip
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0}
GROUPED = {"train_sampling_strategy": "group_by_length"}
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """method, knobs, spec: ours. trainer, config, script: TRL's, in the words of tests/plain_trl.py.

    theirs: the rows as somebody would write them for TRL, where that differs. short: runs in CI. adapter: lora or none.
    """

    method: str
    trainer: str
    rows: Rows
    knobs: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    theirs: Rows | None = None
    spec: dict[str, Any] = field(default_factory=dict)
    script: dict[str, Any] = field(default_factory=dict)
    adapter: str = "lora"
    short: bool = True


def as_turns(rows: Rows) -> Rows:
    """Plain prompts and answers as chat messages, as a person writing a script would do by hand."""
    return [{key: [{"role": ROLES[key], "content": told}] if key in ROLES else told for key, told in row.items()} for row in rows]  # fmt: skip


ROLES = {"prompt": "user", **dict.fromkeys(("completion", "chosen", "rejected", "reference"), "assistant")}

CASES = {
    "sft on conversations": Case("sft", "trl.SFTTrainer", chats(200), {"learn_from": "assistant"}, {"assistant_only_loss": True, **GROUPED}),
    "sft on conversations, all weights": Case("sft", "trl.SFTTrainer", chats(200), {"learn_from": "assistant"},
        {"assistant_only_loss": True, **GROUPED}, adapter="none"),
    "sft on pairs": Case("sft", "trl.SFTTrainer", pairs(200), {}, {"completion_only_loss": True, **GROUPED}, as_turns(pairs(200))),
    "sft packed": Case("sft", "trl.SFTTrainer", chats(200), {"packing": True, "learn_from": "everything", "max_length": 256},
        {"packing": True, "max_length": 256}),
    "pretrain": Case("pretrain", "trl.SFTTrainer", texts(200), {"max_length": 128},
        {"packing": True, "packing_strategy": "wrapped", "max_length": 128}),
    "grpo": Case("grpo", "trl.GRPOTrainer", sums(64), {"batch_size": 16, "attempts": 4, "max_completion_length": 8},
        {"per_device_train_batch_size": 16, "num_generations": 4, "max_completion_length": 8, "loss_type": "dapo"}, as_turns(sums(64)),
        spec={"rewards": [{"name": "exact_match"}]}, script={"keywords": {"reward_funcs": ["exact"]}}),
}  # fmt: skip


@dataclass(frozen=True)
class Told:
    """What a training said at each step."""

    losses: list[float]
    rewards: list[float]


def spec_for(case: Case, folder: Path) -> Spec:
    source = write_rows(folder / "ours.jsonl", case.rows)
    return spec_of(case.method, source, OURS | case.knobs, **({"adapter": {"kind": case.adapter}} | case.spec))


def by_engine(case: Case, folder: Path) -> Told:
    """In a real engine process."""
    run = train(spec_for(case, folder))
    return Told(losses(run), [metrics.get("reward/mean", 0.0) for metrics in steps_of(run).values()])


def here(case: Case, folder: Path) -> Told:
    """In this process: the trainer as the method builds it, without the engine around it."""
    from transformers import TrainerCallback

    from app.engine.device import Device
    from app.engine.job import Job
    from app.engine.libraries import prepare_libraries

    told = Told([], [])

    class Log(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            if "loss" in logs:
                told.losses.append(logs["loss"])
                told.rewards.append(logs.get("reward", 0.0))

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
    return {name: Told(one["losses"], one["rewards"]) for name, one in zip(cases, results, strict=True)}


def settings(case: Case, folder: Path) -> Path:
    """The file of settings for tests/plain_trl.py."""
    write_rows(folder / "theirs.jsonl", case.theirs or case.rows)
    told = {"trainer": case.trainer, "model": locate("pocket"), "rows": str(folder / "theirs.jsonl"),
            "config": THEIRS | case.config | {"output_dir": str(folder / "out")}, "lora": LORA if case.adapter == "lora" else None}  # fmt: skip
    file = folder / "settings.json"
    file.write_text(json.dumps(told | case.script))
    return file


def difference(one: list[float], other: list[float]) -> float:
    """The largest, relative to the value where that is above 1; infinite when one said less."""
    if len(one) != len(other):
        return float("inf")
    return max(abs(a - b) / max(1.0, abs(b)) for a, b in zip(one, other, strict=True))
