"""Plain TRL: the script somebody would write without us. It imports nothing of ours. `python plain_trl.py SETTINGS.json`.

settings: {"method": "sft" | "grpo", "model", "rows": a JSON-lines file, "config": arguments of TRL's config,
"lora": {"r", "lora_alpha"} or null, "loss_times": true to time each step}. Prints {"losses", "rewards", "seconds"}.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import datasets
from peft import LoraConfig
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

datasets.disable_progress_bars()


class Log(TrainerCallback):
    def __init__(self) -> None:
        self.losses: list[float] = []
        self.rewards: list[float] = []
        self.times: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.began = time.process_time(), time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.append((time.process_time() - self.began[0], time.perf_counter() - self.began[1]))

    def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
        if "loss" in logs:
            self.losses.append(logs["loss"])
            self.rewards.append(logs.get("reward", 0.0))


def exact(completions: list[Any], answer: list[str], **_: Any) -> list[float]:
    return [
        float(completion[0]["content"].strip() == right) for completion, right in zip(completions, answer, strict=True)
    ]


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    config = {
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "logging_steps": 1,
        "save_strategy": "no",
    }
    config |= settings["config"]
    tokenizer = AutoTokenizer.from_pretrained(settings["model"])
    rows = datasets.Dataset.from_list([json.loads(line) for line in Path(settings["rows"]).read_text().splitlines()])
    lora = (
        LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", **settings["lora"])
        if settings.get("lora")
        else None
    )
    log = Log()
    shared = {
        "model": settings["model"],
        "train_dataset": rows,
        "processing_class": tokenizer,
        "peft_config": lora,
        "callbacks": [log],
    }
    if settings["method"] == "sft":
        trainer = SFTTrainer(args=SFTConfig(**config), **shared)
    else:
        trainer = GRPOTrainer(args=GRPOConfig(**config), reward_funcs=[exact], **shared)
    trainer.train()
    print("RESULT " + json.dumps({"losses": log.losses, "rewards": log.rewards, "times": log.times}))


if __name__ == "__main__":
    main()
