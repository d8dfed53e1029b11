"""Single files of a model: from its folder, or fetched from the Hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypedDict


class AdapterConfig(TypedDict, total=False):
    """Fields of PEFT's adapter_config.json that are read here. peft_type, task_type: as in PEFT. alpha, oft_block_size: of
    kinds other than LoRA. revision: of the base."""

    base_model_name_or_path: str | None
    revision: str | None
    task_type: str | None
    peft_type: str
    r: int
    lora_alpha: float
    alpha: float
    oft_block_size: int
    modules_to_save: list[str] | None
    use_dora: bool
    use_rslora: bool


def find_model_file(name: str, file_name: str, revision: str | None) -> Path | None:
    """One file of a folder or of a Hub model; None where it does not exist. Other errors of the Hub pass through."""
    if Path(name).is_dir():
        path = Path(name) / file_name
        return path if path.exists() else None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(name, file_name, revision=revision))
    except EntryNotFoundError:  # a boundary: the Hub, or its cache on this machine
        return None


def read_json_file(path: Path | None) -> Any:
    """The content of a JSON file; empty for None."""
    return json.loads(path.read_text(encoding="utf-8")) if path else {}


def cached_commit(path: Path | None) -> str | None:
    """The commit of a file in the Hub's cache, where each commit has a folder; None for other files."""
    return path.parent.name if path and path.parent.parent.name == "snapshots" else None
