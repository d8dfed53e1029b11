"""Peers in environments of their own: what a bench compares with, and what does not fit beside the pinned packages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from app.core.paths import ROOT

_FOLDER = ROOT / "tests" / ".cache"
LLAMA_FACTORY = "llamafactory==0.9.5"


def peer_environment(requirement: str) -> Path:
    """The folder with the programs of an environment that has this package; made where it is missing. Raises
    CalledProcessError where the package index does not have it."""
    environment = _FOLDER / requirement.replace("==", "-")
    if not (environment / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        pip = [str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "torch==2.13.0", requirement], check=True)
        (environment / "complete").touch()
    return environment / "bin"


def llama_factory_command(model: str, source: Path, folder: Path, steps: int, settings: dict[str, Any]) -> list[str]:
    """Its SFT with LoRA on rows with prompt and completion, as a person starts it. settings: beside those for the same work."""
    lessons = [
        {"messages": [*row["prompt"], *row["completion"]]} for row in map(json.loads, source.read_text().splitlines())
    ]
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    description = {
        "file_name": "chats.json",
        "formatting": "sharegpt",
        "columns": {"messages": "messages"},
        "tags": tags,
    }
    (folder / "chats.json").write_text(json.dumps(lessons))
    (folder / "dataset_info.json").write_text(json.dumps({"chats": description}))
    configuration = {
        "model_name_or_path": model,
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": 8,
        "lora_alpha": 16,
        "lora_target": "all",
        "dataset": "chats",
        "dataset_dir": str(folder),
        "template": "smollm2",
        "max_steps": steps,
        "output_dir": str(folder / "peer"),
        "overwrite_output_dir": True,
        "report_to": "none",
        "use_cpu": True,
    }
    file = folder / "peer.json"
    file.write_text(json.dumps(configuration | settings))
    return [str(peer_environment(LLAMA_FACTORY) / "llamafactory-cli"), "train", str(file)]
