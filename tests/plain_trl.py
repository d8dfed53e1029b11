"""Plain TRL: the script somebody would write without us. It imports nothing of ours. `python plain_trl.py SETTINGS.json …`.

settings: {"trainer": such as "trl.SFTTrainer", whose config is called alike, "model", "rows": a JSON-lines file, "config":
arguments of that config, "lora": arguments of peft's LoraConfig or null, "keywords": more arguments of the trainer,
"template": a chat template instead of the model's own, "shuffle": a seed}. Prints {"losses", "rewards", "margins", "times"} for each file.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import datasets
from peft import LoraConfig
from plain_features import whitened_meaning  # beside this script
from transformers import AutoTokenizer, TrainerCallback

datasets.disable_progress_bars()

ALWAYS = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "bf16": False, "logging_steps": 1, "save_strategy": "no"}  # fmt: skip


class Log(TrainerCallback):
    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rewards: list[float] = []
        self.margins: list[float] = []
        self.times: list[tuple[float, float]] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.began = time.process_time(), time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.append((time.process_time() - self.began[0], time.perf_counter() - self.began[1]))

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        if "loss" in logs:
            self.losses.append(logs["loss"])
            self.rewards.append(logs.get("reward", logs.get("objective/scores", 0.0)))
            self.margins.append(logs.get("rewards/margins", 0.0))


def exact(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    return [
        float(completion[0]["content"].strip() == right) for completion, right in zip(completions, answer, strict=True)
    ]


def short(completions: list[Any], **_: Any) -> list[float]:
    """1 for an answer of one or two letters, less the longer, 0 for none."""
    lengths = [len(completion[0]["content"].strip()) for completion in completions]
    return [max(0.0, min(1.0, 3.0 - length)) if length else 0.0 for length in lengths]


def calculator(expression: str) -> str:
    """
    Works out an arithmetic expression.

    Args:
        expression: What to work out, such as (3 + 4) * 2 or sqrt(16).
    """
    first, _, second = expression.split()
    return str(int(first) + int(second))


REWARDS = {
    "exact": exact,
    "short": short,
    "whitened_meaning": whitened_meaning,
}  # what "keywords" may name in "reward_funcs"; any other name is a model's


def named(trainer: str) -> tuple[type, type]:
    """(trainer, config) of a name such as trl.experimental.cpo.CPOTrainer."""
    place, _, name = trainer.rpartition(".")
    module = importlib.import_module(place)
    return getattr(module, name), getattr(module, name.removesuffix("Trainer") + "Config")


def main(settings: dict[str, Any]) -> dict[str, Any]:
    trainer, config = named(settings["trainer"])
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    tokenizer.chat_template = settings.get("template") or tokenizer.chat_template
    rows = datasets.Dataset.from_list([json.loads(line) for line in Path(settings["rows"]).read_text().splitlines()])
    rows = rows.shuffle(seed=settings["shuffle"]) if "shuffle" in settings else rows
    lora = {"task_type": "CAUSAL_LM", "target_modules": "all-linear"} | (settings.get("lora") or {})
    more = dict(settings.get("keywords") or {})
    if "reward_funcs" in more:
        more["reward_funcs"] = [REWARDS.get(name, name) for name in more["reward_funcs"]]
    if "tools" in more:
        more["tools"] = [calculator]
    log = Log()
    trainer(
        model=settings["model"],
        args=config(**ALWAYS | settings["config"]),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=LoraConfig(**lora) if settings.get("lora") else None,
        callbacks=[log],
        **more,
    ).train()
    return {"losses": log.losses, "rewards": log.rewards, "margins": log.margins, "times": log.times}


if __name__ == "__main__":
    for file in sys.argv[1:]:
        print("RESULT " + json.dumps(main(json.loads(Path(file).read_text()))), flush=True)
