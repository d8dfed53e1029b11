"""A plain TRL training script. It imports no Tunesmith code. `python plain_trl.py SETTINGS.json …`.

settings: {"trainer": such as "trl.SFTTrainer", whose config class is "trl.SFTConfig", "model", "rows": a JSON-lines file,
"config": arguments of that config, "lora": arguments of peft's LoraConfig or null, "keywords": more arguments of the trainer,
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
from plain_features import whitened_feature_reward  # beside this script
from transformers import AutoTokenizer, TrainerCallback

datasets.disable_progress_bars()

COMMON_CONFIG = {"report_to": "none", "disable_tqdm": True, "use_cpu": True, "bf16": False, "logging_steps": 1, "save_strategy": "no"}  # fmt: skip


class MetricsLog(TrainerCallback):
    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rewards: list[float] = []
        self.margins: list[float] = []
        self.times: list[tuple[float, float]] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.step_start = time.process_time(), time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.append((time.process_time() - self.step_start[0], time.perf_counter() - self.step_start[1]))

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        if "loss" in logs:
            self.losses.append(logs["loss"])
            self.rewards.append(logs.get("reward", logs.get("objective/scores", 0.0)))
            self.margins.append(logs.get("rewards/margins", 0.0))


def exact_match_reward(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    return [
        float(completion[0]["content"].strip() == expected_answer)
        for completion, expected_answer in zip(completions, answer, strict=True)
    ]


def brevity_reward(completions: list[Any], **_: Any) -> list[float]:
    """1 for a completion of one or two characters, falling to 0 at three, and 0 for an empty one."""
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
    "exact": exact_match_reward,
    "short": brevity_reward,
    "whitened_meaning": whitened_feature_reward,
}  # names for "reward_funcs" in "keywords"; any other name is that of a reward model


def import_trainer_and_config(trainer: str) -> tuple[type, type]:
    """(trainer class, config class) for a name such as trl.experimental.cpo.CPOTrainer."""
    module_name, _, name = trainer.rpartition(".")
    module = importlib.import_module(module_name)
    return getattr(module, name), getattr(module, name.removesuffix("Trainer") + "Config")


def main(settings: dict[str, Any]) -> dict[str, Any]:
    trainer_class, config_class = import_trainer_and_config(settings["trainer"])
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    tokenizer.chat_template = settings.get("template") or tokenizer.chat_template
    rows = datasets.Dataset.from_list([json.loads(line) for line in Path(settings["rows"]).read_text().splitlines()])
    rows = rows.shuffle(seed=settings["shuffle"]) if "shuffle" in settings else rows
    lora = {"task_type": "CAUSAL_LM", "target_modules": "all-linear"} | (settings.get("lora") or {})
    trainer_kwargs = dict(settings.get("keywords") or {})
    if "reward_funcs" in trainer_kwargs:
        trainer_kwargs["reward_funcs"] = [REWARDS.get(name, name) for name in trainer_kwargs["reward_funcs"]]
    if "tools" in trainer_kwargs:
        trainer_kwargs["tools"] = [calculator]
    log = MetricsLog()
    trainer_class(
        model=settings["model"],
        args=config_class(**COMMON_CONFIG | settings["config"]),
        train_dataset=rows,
        processing_class=tokenizer,
        peft_config=LoraConfig(**lora) if settings.get("lora") else None,
        callbacks=[log],
        **trainer_kwargs,
    ).train()
    return {"losses": log.losses, "rewards": log.rewards, "margins": log.margins, "times": log.times}


if __name__ == "__main__":
    for file in sys.argv[1:]:
        print("RESULT " + json.dumps(main(json.loads(Path(file).read_text()))), flush=True)
