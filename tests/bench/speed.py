"""Speed: CPU seconds per training step, compared with a plain TRL script, TRL's defaults and a bare PyTorch loop.

Each variant trains the same model (`--model smollm2` for SmolLM2-135M) with the same LoRA on the same rows, in its own
process, once for a few steps and once for many. The difference in CPU time, divided by the difference in steps, is the cost of one step without the start-up cost.
The variants are measured in turn in every round and the median is reported, so that load on the machine affects all equally.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.core.paths import ROOT
from app.core.workspace import local_workspace
from app.runs import store
from app.setup.models import locate_model
from app.setup.spec import Launch
from tests.bench import _peers
from tests.real_model import real_model_folder
from tests.support import WORDS, build_spec, write_rows

BATCH_SIZE, MAX_LENGTH, LEARNING_RATE = 4, 512, 0.001


@dataclass(frozen=True)
class SpeedCase:
    """What is trained. steps: of a short and of a long run, whose difference counts. config: of TRL, so that it scores the
    same positions. has_peers: the rows suit the peers in environments of their own too."""

    model: str
    make_rows: Callable[[str], list[dict[str, Any]]]
    steps: tuple[int, int]
    rounds: int
    learn_from: str
    config: dict[str, Any]
    has_peers: bool


def log_normal_conversations(count: int = 2000) -> list[dict[str, Any]]:
    """Conversations whose lengths are log-normal, as in real instruction data: most are short, a few very long."""
    rng = random.Random(5)

    def sentence(median_words: float) -> str:
        return " ".join(rng.choices(WORDS, k=max(3, min(400, int(rng.lognormvariate(math.log(median_words), 0.8))))))

    return [{"messages": [{"role": "user", "content": sentence(50)}, {"role": "assistant", "content": sentence(25)}]}
            for _ in range(count)]  # fmt: skip


def even_prompts_and_completions(model: str, count: int = 200) -> list[dict[str, Any]]:
    """Prompts with completions, of 285 to 315 tokens together, so that every batch costs about the same."""
    from transformers import AutoTokenizer

    rng, tokenizer, rows = random.Random(5), AutoTokenizer.from_pretrained(model), []
    while len(rows) < count:
        question, answer = (" ".join(rng.choices(WORDS, k=rng.randint(80, 140))) for _ in range(2))
        prompt, completion = [{"role": "user", "content": question}], [{"role": "assistant", "content": answer}]
        length = len(tokenizer.apply_chat_template([*prompt, *completion], return_dict=True)["input_ids"])
        if 285 <= length <= 315:
            rows.append({"prompt": prompt, "completion": completion})
    return rows


def tunesmith_command(case: SpeedCase, source: Path, folder: Path, steps: int, knobs: dict[str, Any]) -> list[str]:
    common_knobs = {
        "steps": steps,
        "batch_size": BATCH_SIZE,
        "max_length": MAX_LENGTH,
        "learning_rate": LEARNING_RATE,
        "learn_from": case.learn_from,
    }
    run = store.create_run(
        local_workspace(),
        build_spec(
            "sft",
            f"path:{source}",
            common_knobs | knobs,
            model={"id": case.model},
            adapter={"kind": "lora", "r": 8, "alpha": 16},
        ),
        Launch(),
    )
    return [sys.executable, "-m", "app.engine", str(run.path)]


def plain_trl_command(case: SpeedCase, source: Path, folder: Path, steps: int, config: dict[str, Any]) -> list[str]:
    common_config = {"max_steps": steps, "per_device_train_batch_size": BATCH_SIZE, "max_length": MAX_LENGTH, "learning_rate": LEARNING_RATE, "seed": 7,
              "output_dir": str(folder / "out")}  # fmt: skip
    settings = {"trainer": "trl.SFTTrainer", "model": locate_model(case.model), "rows": str(source), "config": common_config | case.config | config,
                "lora": {"r": 8, "lora_alpha": 16}}  # fmt: skip
    settings_file = folder / "plain.json"
    settings_file.write_text(json.dumps(settings))
    return [sys.executable, str(ROOT / "tests" / "plain_trl.py"), str(settings_file)]


def bare_loop_command(case: SpeedCase, source: Path, folder: Path, steps: int, config: dict[str, Any]) -> list[str]:
    settings = {
        "model": locate_model(case.model),
        "rows": str(source),
        "steps": steps,
        "batch": BATCH_SIZE,
        "length": MAX_LENGTH,
        "rate": LEARNING_RATE,
    }
    settings_file = folder / "bare.json"
    settings_file.write_text(json.dumps(settings))
    return [sys.executable, str(ROOT / "tests" / "bare_loop.py"), str(settings_file)]


def llama_factory_command(case: SpeedCase, source: Path, folder: Path, steps: int, config: dict[str, Any]) -> list[str]:
    common_config = {
        "per_device_train_batch_size": BATCH_SIZE,
        "cutoff_len": MAX_LENGTH,
        "learning_rate": LEARNING_RATE,
        "gradient_accumulation_steps": 1,
    }
    return _peers.llama_factory_command(case.model, source, folder, steps, common_config | config)


Variant = tuple[Callable[..., list[str]], dict[str, Any]]
VARIANTS: dict[str, Variant] = {
    "a bare PyTorch loop": (bare_loop_command, {}),
    "ours, equal settings": (tunesmith_command, {"group_by_length": False, "precision": "fp32"}),
    "plain TRL, equal settings": (plain_trl_command, {"gradient_checkpointing": False}),
    "ours, our defaults": (tunesmith_command, {}),
    "plain TRL, its defaults": (plain_trl_command, {}),
}
PEERS: dict[str, Variant] = {
    f"{_peers.LLAMA_FACTORY}, its defaults": (llama_factory_command, {}),
}


def cpu_seconds(command: list[str]) -> float:
    """User and system CPU time of a process and its children."""
    environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_DISABLE_TELEMETRY": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    stderr = process.stderr.read()  # type: ignore[union-attr]
    _, status, resource_usage = os.wait4(process.pid, 0)
    assert status == 0, stderr.decode()[-2000:]
    return resource_usage.ru_utime + resource_usage.ru_stime


def cpu_seconds_per_step(case: SpeedCase, variant: Variant, source: Path, folder: Path) -> float:
    build_command, settings = variant
    short_run_seconds, long_run_seconds = (
        cpu_seconds(build_command(case, source, folder, steps, settings)) for steps in case.steps
    )
    return (long_run_seconds - short_run_seconds) / (case.steps[1] - case.steps[0])


def run(folder: Path, model: str = "pocket") -> list[dict[str, Any]]:
    """model: pocket or smollm2."""
    case = MODELS[model]()
    source = folder / "lessons.jsonl"
    write_rows(source, case.make_rows(locate_model(case.model)))
    variants = VARIANTS | (PEERS if case.has_peers else {})
    cpu_seconds_by_variant: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(case.rounds):
        for name, variant in variants.items():
            cpu_seconds_by_variant[name].append(cpu_seconds_per_step(case, variant, source, folder))
            print(name, cpu_seconds_by_variant[name], file=sys.stderr, flush=True)
    medians = {name: statistics.median(times) for name, times in cpu_seconds_by_variant.items()}
    return [
        {
            "way": name,
            "processor seconds per step": f"{medians[name]:.3f}",
            "lowest to highest": f"{min(cpu_seconds_by_variant[name]):.3f} to {max(cpu_seconds_by_variant[name]):.3f}",
            "speed, bare loop = 1": f"{medians['a bare PyTorch loop'] / medians[name]:.2f}",
            "speed, plain TRL at equal settings = 1": f"{medians['plain TRL, equal settings'] / medians[name]:.2f}",
            "speed, TRL's defaults = 1": f"{medians['plain TRL, its defaults'] / medians[name]:.2f}",
        }
        for name in variants
    ]


def _practice_case() -> SpeedCase:
    rows = log_normal_conversations()
    return SpeedCase("pocket", lambda _: rows, (10, 60), 3, "assistant", {"assistant_only_loss": True}, has_peers=False)


def _real_case() -> SpeedCase:
    return SpeedCase(
        str(real_model_folder()), even_prompts_and_completions, (2, 8), 3, "completion", {}, has_peers=True
    )


MODELS: dict[str, Callable[[], SpeedCase]] = {"pocket": _practice_case, "smollm2": _real_case}
